"""Results of an evaluation, as ``metrics.json`` has them."""

from __future__ import annotations

from typing import Any

import msgspec

from training.evaluation.metrics.measure import DetectionMetrics  # noqa: TC001 - msgspec resolves the hint at run time
from training.evaluation.metrics.points import ClassReport  # noqa: TC001 - msgspec resolves the hint at run time
from training.evaluation.metrics.sweep import SweepPoint  # noqa: TC001 - msgspec resolves the hint at run time

__all__ = ["FORMAT", "Alarms", "Evaluation", "Result", "Summary", "View"]

#: Of ``metrics.json``.
FORMAT = 1


class Alarms(msgspec.Struct, frozen=True):
    """What one detector raised, whether or not somebody knows the truth.

    Parameters
    ----------
    flagged
        Rows.
    alarms
        Runs of flagged rows, near ones merged.
    alarms_a_day
        Alarms per day of recording.
    threshold
        Score at which a row is flagged; None for a combination. A baseline must exceed its largest score in the second
        half of what was there to learn from.
    score_quantiles
        Score by level: 0.5 is the median, 1.0 the largest.
    """

    flagged: int
    alarms: int
    alarms_a_day: float
    threshold: float | None
    score_quantiles: dict[str, float]


class View(msgspec.Struct, frozen=True):
    """Figures by detector; and of random scores, with as many flagged rows as the main one, and of flagging all."""

    detectors: dict[str, DetectionMetrics]
    random: DetectionMetrics
    all_positive: DetectionMetrics


class Result(msgspec.Struct, frozen=True):
    """One recording.

    Parameters
    ----------
    name, interval_s, channels, notes
        As the reader gave them.
    rows, first
        How many there are, and the first that counts.
    alarms
        By detector.
    anomalous_rows, true_intervals
        Rows and intervals labelled, among those that count; None, as all that follows, when nobody said what is wrong.
    by_point, by_window
        Figures per row, and per window where that was asked for.
    classes
        Classification report of the main detector.
    sweep
        What other thresholds of the main detector's score would have given.
    """

    name: str
    interval_s: float
    channels: list[str]
    notes: list[str]
    rows: int
    first: int
    alarms: dict[str, Alarms]
    anomalous_rows: int | None = None
    true_intervals: int | None = None
    by_point: View | None = None
    by_window: View | None = None
    classes: dict[str, ClassReport] = {}
    sweep: list[SweepPoint] = []


class Summary(msgspec.Struct, frozen=True):
    """All labelled recordings together.

    Parameters
    ----------
    recordings
        How many are labelled.
    pooled, pooled_windows
        Figures over all rows (windows) as if of one recording.
    mean, mean_windows
        Mean over recordings of each figure, where it is defined.
    classes, sweep
        As in `Result`, pooled.
    """

    recordings: int
    pooled: View
    mean: View
    pooled_windows: View | None
    mean_windows: View | None
    classes: dict[str, ClassReport]
    sweep: list[SweepPoint]


class Evaluation(msgspec.Struct, frozen=True):
    """``metrics.json``.

    Parameters
    ----------
    format
        Of this file.
    bundle
        Name and version.
    main
        Name of the detector that the agent would be with this config.
    settings
        What was asked for.
    results
        One a recording, in order.
    skipped
        Recordings that could not be evaluated, and why.
    summary
        None when no recording is labelled.
    """

    format: int
    bundle: str
    main: str
    settings: dict[str, Any]
    results: list[Result]
    skipped: dict[str, str]
    summary: Summary | None
