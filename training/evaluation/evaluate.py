"""Evaluation of the agent, combinations and baselines on recordings, compared with random and all-positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.core.errors import UserError
from agent.detection.verdict import SCORE_THRESHOLD
from training.evaluation.baselines import FROZEN_LIMIT, baselines, frozen_heads, highest_before
from training.evaluation.metrics.events import intervals, merged
from training.evaluation.metrics.measure import all_positive, mean, measure, random
from training.evaluation.metrics.points import count_points, window_labels
from training.evaluation.metrics.scored import Scored
from training.evaluation.metrics.sweep import sweep
from training.evaluation.results import FORMAT, Alarms, Evaluation, Result, Summary, View
from training.evaluation.run import first_counted, fitted, judge
from training.evaluation.threshold_voting import combine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeAlias

    from agent.alerting.settings import AlertsConfig
    from agent.core.arrays import BoolArray, Float64Array
    from agent.detection.settings import DetectionConfig, ThresholdConfig
    from agent.models.bundle import Bundle
    from training.data.recording import Recording
    from training.evaluation.outcome import Outcome

    #: Called with the name and number of rows of a run; returns a function to call with the rows done.
    Stage: TypeAlias = Callable[[str, int], Callable[[int], object]]


__all__ = ["EvaluationPlan", "Examined", "evaluate", "examine", "summarise"]

_DAY_S = 86400.0
# State score of deviations of 14 times their usual size, see `agent.detection.relative_error`.
_STATE_LIMIT = 0.5
# Levels of the reported score quantiles.
_SCORE_LEVELS = (0.5, 0.9, 0.99, 0.999, 1.0)


@dataclass(frozen=True)
class EvaluationPlan:
    """Options of an evaluation.

    Parameters
    ----------
    detection, alerts
        Sections of the configuration.
    thresholds
        Rolling thresholds to compare, at least one; the first is the main detector.
    rules
        Combinations of the thresholds to add, see `training.evaluation.threshold_voting.RULES`.
    train_share
        Share of each recording for learning, which is not measured; None: as the data set defines, else the learning
        time of the agent.
    label_window
        Rows per window, to measure per window too; None: per row only.
    vus_buffer
        Largest buffer of VUS in rows, see `training.evaluation.metrics.volume`.
    """

    detection: DetectionConfig
    alerts: AlertsConfig
    thresholds: tuple[ThresholdConfig, ...]
    rules: tuple[str, ...] = ()
    train_share: float | None = None
    label_window: int | None = None
    vus_buffer: int | None = None

    @property
    def main(self) -> str:
        """Name of the main detector."""
        return _method(self.thresholds[0])

    def settings(self) -> dict[str, Any]:
        """Options as they are written to ``metrics.json``."""
        return {
            "thresholds": [msgspec.to_builtins(threshold) for threshold in self.thresholds],
            "combine": list(self.rules),
            "memory_s": self.detection.memory_s,
            "accept_after_s": self.detection.accept_after_s,
            "learning_s": self.alerts.learning_s,
            "merge_s": self.alerts.merge_s,
            "train_share": self.train_share,
            "label_window": self.label_window,
            "vus_buffer": self.vus_buffer,
        }


@dataclass(frozen=True)
class Examined:
    """Result of a recording, with the scores behind it.

    Parameters
    ----------
    result
        Figures for `Evaluation`.
    points, windows
        Labels and scores by detector, per row and per window; empty without labels.
    """

    result: Result
    points: dict[str, Scored]
    windows: dict[str, Scored]


@dataclass(frozen=True)
class _Detector:
    """Score, float64[rows], and flags, bool[rows], of a recording; and the score from which a row is flagged."""

    score: Float64Array
    flags: BoolArray
    threshold: float | None = None


def evaluate(
    recordings: Iterable[Recording],
    bundle: Bundle,
    plan: EvaluationPlan,
    stage: Stage,
    seen: Callable[[Outcome], object],
) -> tuple[Evaluation, list[Examined]]:
    """Evaluate recordings one after the other.

    Parameters
    ----------
    recordings
        Read lazily, so that only one is in memory at a time.
    bundle
        Models of the agent.
    plan
        Options.
    stage
        Start of a stage of progress, see `examine`.
    seen
        Called with the outcome of each recording before it is released.

    Returns
    -------
    All figures, and the scores behind them.

    Raises
    ------
    UserError
        No recording can be evaluated. If some can, the others are listed as skipped.
    """
    examined: list[Examined] = []
    skipped: dict[str, UserError] = {}
    for recording in recordings:
        try:
            each, outcome = examine(recording, bundle, plan, stage)
        except UserError as error:
            skipped[recording.name] = error
            continue
        examined.append(each)
        seen(outcome)
    if not examined:
        raise next(
            iter(skipped.values()), UserError("there are no recordings", remedy="name files or folders with --data")
        )
    evaluation = Evaluation(
        format=FORMAT,
        bundle=bundle.label,
        main=plan.main,
        settings=plan.settings(),
        results=[each.result for each in examined],
        skipped={name: str(error) for name, error in skipped.items()},
        summary=summarise(examined, plan),
    )
    return evaluation, examined


def examine(recording: Recording, bundle: Bundle, plan: EvaluationPlan, stage: Stage) -> tuple[Examined, Outcome]:
    """Run every detector over a recording and measure it.

    Parameters
    ----------
    stage
        Called with the name and the number of rows of each run; returns a function to call with the rows done.

    Returns
    -------
    The result, and the outcome of the main detector.

    Raises
    ------
    UserError
        The recording is too short, or does not fit the bundle.
    """
    recording = fitted(recording, bundle)
    outcomes = []
    for threshold in plan.thresholds:
        detection = msgspec.structs.replace(plan.detection, threshold=threshold)
        advance = stage(f"{recording.name}: {_method(threshold)}", recording.rows)
        first = first_counted(recording, plan.train_share)
        outcomes.append(judge(recording, bundle, detection, plan.alerts, first=first, advance=advance))
    detectors = _detectors(outcomes, plan, bundle)
    first = outcomes[0].first
    points: dict[str, Scored] = {}
    windows: dict[str, Scored] = {}
    if recording.labels is not None:
        points = _scored(detectors, recording.labels, first, recording.interval_s)
        if plan.label_window:
            touched = window_labels(recording.labels, plan.label_window)
            windows = _scored(detectors, touched, first, recording.interval_s)
    result = Result(
        name=recording.name,
        interval_s=recording.interval_s,
        channels=[channel.name for channel in recording.channels],
        notes=list(recording.notes),
        rows=recording.rows,
        first=first,
        alarms={name: _alarms(detector, first, recording.interval_s, plan) for name, detector in detectors.items()},
    )
    if points:
        main = points[plan.main]
        result = msgspec.structs.replace(
            result,
            anomalous_rows=int(np.count_nonzero(main.labels)),
            true_intervals=len(intervals(main.labels)),
            by_point=_view([points], plan, vus=True),
            by_window=_view([windows], plan, vus=False) if windows else None,
            classes=count_points(main.labels, main.flags).classes(),
            sweep=sweep([main], plan.alerts.merge_s),
        )
    return Examined(result, points, windows), outcomes[0]


def summarise(examined: Sequence[Examined], plan: EvaluationPlan) -> Summary | None:
    """Put all labelled recordings together; None when there is none."""
    labelled = [each for each in examined if each.points]
    if not labelled:
        return None
    pooled = _view([each.points for each in labelled], plan, vus=False)
    windows = [each.windows for each in labelled if each.windows]
    return Summary(
        recordings=len(labelled),
        pooled=pooled,
        mean=_mean([each.result.by_point for each in labelled if each.result.by_point]),
        pooled_windows=_view(windows, plan, vus=False) if windows else None,
        mean_windows=_mean([each.result.by_window for each in labelled if each.result.by_window]) if windows else None,
        classes=pooled.detectors[plan.main].points.classes(),
        sweep=sweep([each.points[plan.main] for each in labelled], plan.alerts.merge_s),
    )


def _detectors(outcomes: Sequence[Outcome], plan: EvaluationPlan, bundle: Bundle) -> dict[str, _Detector]:
    """All detectors: the agent with each threshold, combinations, the state score, baselines."""
    detectors = {
        _method(threshold): _Detector(outcome.score, outcome.flagged, SCORE_THRESHOLD)
        for threshold, outcome in zip(plan.thresholds, outcomes, strict=True)
    }
    scores, flags = [outcome.score for outcome in outcomes], [outcome.flagged for outcome in outcomes]
    for rule in plan.rules:
        detectors[rule] = _Detector(*combine(rule, scores, flags))
    main = outcomes[0]
    detectors["state"] = _Detector(main.state_score, main.state_score >= _STATE_LIMIT, _STATE_LIMIT)
    for name, score in baselines(main).items():
        threshold = highest_before(score, main.first)
        detectors[name] = _Detector(score, score > threshold, threshold)
    if bundle.manifest.start is not None:
        for name, score in frozen_heads(main, bundle.manifest.start).items():
            detectors[name] = _Detector(score, score > FROZEN_LIMIT, FROZEN_LIMIT)
    return detectors


def _scored(detectors: dict[str, _Detector], labels: BoolArray, first: int, interval_s: float) -> dict[str, Scored]:
    return {name: Scored(labels[first:], d.score[first:], d.flags[first:], interval_s) for name, d in detectors.items()}


def _alarms(detector: _Detector, first: int, interval_s: float, plan: EvaluationPlan) -> Alarms:
    score, flags = detector.score[first:], detector.flags[first:]
    part = Scored(flags, score, flags, interval_s)
    alarms = len(merged(intervals(flags), part.merge_rows(plan.alerts.merge_s)))
    return Alarms(
        flagged=int(np.count_nonzero(flags)),
        alarms=alarms,
        alarms_a_day=alarms * _DAY_S / (flags.size * interval_s),
        threshold=detector.threshold,
        score_quantiles={str(level): float(np.quantile(score, level)) for level in _SCORE_LEVELS},
    )


def _view(recordings: Sequence[dict[str, Scored]], plan: EvaluationPlan, *, vus: bool) -> View:
    """Metrics of every detector over one recording, or over several as if they were one."""
    merge_s, buffer = plan.alerts.merge_s, plan.vus_buffer
    detectors = {
        name: measure([parts[name] for parts in recordings], merge_s, vus=vus, vus_buffer=buffer)
        for name in recordings[0]
    }
    main = [parts[plan.main] for parts in recordings]
    return View(detectors, random(main, merge_s, vus=vus, vus_buffer=buffer), all_positive(main, merge_s))


def _mean(views: Sequence[View]) -> View:
    return View(
        {name: mean([view.detectors[name] for view in views]) for name in views[0].detectors},
        mean([view.random for view in views]),
        mean([view.all_positive for view in views]),
    )


def _method(threshold: ThresholdConfig) -> str:
    return str(threshold.__struct_config__.tag)
