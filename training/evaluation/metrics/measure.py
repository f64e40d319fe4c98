"""All metrics of a detector, and those of random scores and of flagging every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from training.evaluation.metrics.events import Events, Tally, tally
from training.evaluation.metrics.points import Points, count_points
from training.evaluation.metrics.ranking import Ranking, highest_inside, rank
from training.evaluation.metrics.scored import Scored
from training.evaluation.metrics.volume import MAX_ROWS, volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import Float64Array

__all__ = ["DetectionMetrics", "Scored", "all_positive", "mean", "measure", "numbers", "random"]

_SEEDS = 5  # random draws that are averaged; chosen by hand
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class DetectionMetrics(msgspec.Struct, frozen=True):
    """All metrics of one detector.

    Parameters
    ----------
    points, events, ranking
        Metrics per row, per event, and over all thresholds.
    undefined
        Reason why a metric is None, by name, such as ``points.recall``.
    """

    points: Points
    events: Events
    ranking: Ranking
    undefined: dict[str, str] = {}


def measure(
    parts: Sequence[Scored], merge_s: float, *, vus: bool = True, vus_buffer: int | None = None
) -> DetectionMetrics:
    """Measure one detector over one recording, or over several as if they were one.

    Parameters
    ----------
    parts
        Labels and scores by recording, at least one.
    merge_s
        Distance in seconds below which detections are merged.
    vus
        Whether to compute VUS, which takes longest; only for a single recording.
    vus_buffer
        Largest buffer in rows, see `volume`.
    """
    labels, flags = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "flags"))
    score = np.concatenate([part.score for part in parts])
    single = len(parts) == 1
    points = count_points(labels, flags)
    tallies = (tally(part.labels, part.flags, part.interval_s, part.merge_rows(merge_s)) for part in parts)
    events = sum(tallies, Tally()).events()
    ranking = rank(
        labels,
        score,
        volume=volume(labels, score, vus_buffer) if vus and single else None,
        inside=highest_inside(labels, score) if single else None,
    )
    metrics = DetectionMetrics(points, events, ranking)
    undefined = {name: _reason(name, parts, vus) for name, number in numbers(metrics).items() if number is None}
    return msgspec.structs.replace(metrics, undefined=undefined)


def random(
    parts: Sequence[Scored], merge_s: float, *, vus: bool = True, vus_buffer: int | None = None
) -> DetectionMetrics:
    """Measure random scores that flag as many rows as the given detector; mean over five seeds."""
    draws = []
    for seed in range(_SEEDS):
        rng = np.random.default_rng(seed)
        drawn = [_with_score(part, rng.random(part.score.size)) for part in parts]
        draws.append(measure(drawn, merge_s, vus=vus, vus_buffer=vus_buffer))
    return mean(draws)


def all_positive(parts: Sequence[Scored], merge_s: float) -> DetectionMetrics:
    """Measure a detector that flags every row."""
    always = [Scored(p.labels, np.ones(p.score.size), np.ones(p.score.size, bool), p.interval_s) for p in parts]
    return measure(always, merge_s, vus=False)


def mean(metrics: Sequence[DetectionMetrics]) -> DetectionMetrics:
    """Mean of every metric over the elements in which it is defined."""
    undefined = {name: why for each in metrics for name, why in each.undefined.items()}
    groups = [_mean([getattr(each, group) for each in metrics]) for group in ("points", "events", "ranking")]
    averaged = DetectionMetrics(*groups)
    return msgspec.structs.replace(
        averaged, undefined={name: undefined[name] for name, number in numbers(averaged).items() if number is None}
    )


def numbers(metrics: DetectionMetrics) -> dict[str, float | None]:
    """Every metric by name: ``points.f1``, ``events.false_a_day``, ``ranking.vus_pr``."""
    groups = (("points", metrics.points), ("events", metrics.events), ("ranking", metrics.ranking))
    return {f"{name}.{key}": number for name, group in groups for key, number in msgspec.structs.asdict(group).items()}


def _mean(structs: Sequence[_Struct]) -> _Struct:
    rows = [msgspec.structs.asdict(struct) for struct in structs]
    found = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    return type(structs[0])(**{name: float(np.mean(values)) if values else None for name, values in found.items()})


def _with_score(part: Scored, score: Float64Array) -> Scored:
    """Same labels with another score; as many rows as before are flagged, those with the highest scores."""
    flags = np.zeros(score.size, bool)
    flags[np.argsort(-score)[: np.count_nonzero(part.flags)]] = True
    return Scored(part.labels, score, flags, part.interval_s)


def _reason(name: str, parts: Sequence[Scored], vus: bool) -> str:
    """Reason why a metric is None: the first that applies."""
    labels, flags = (np.concatenate([getattr(part, field) for part in parts]) for field in ("labels", "flags"))
    single, of_vus = len(parts) == 1, name.startswith("ranking.vus")
    constant = all(part.score.min() == part.score.max() for part in parts)
    return next(
        reason
        for holds, reason in (
            (not labels.any(), "no row is labelled anomalous"),
            (name == "ranking.highest_inside", "there is not exactly one anomaly in one recording"),
            (labels.all(), "every row is labelled anomalous"),
            (of_vus and constant, "the score is the same everywhere"),
            (of_vus and not single, "it is averaged over recordings, not pooled"),
            (of_vus and not vus, "it was not requested"),
            (of_vus, f"there are more than {MAX_ROWS:,} rows"),
            (not flags.any(), "nothing was flagged"),
            (True, "nothing was found"),
        )
        if holds
    )
