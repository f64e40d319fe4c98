"""Metrics of a detector as a function of its threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.evaluation.metrics.events import Tally, tally
from training.evaluation.metrics.points import count_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.evaluation.metrics.scored import Scored

__all__ = ["SweepPoint", "sweep"]

_THRESHOLDS = 50  # before duplicates are removed; chosen by hand


class SweepPoint(msgspec.Struct, frozen=True):
    """Metrics if rows that reach ``threshold`` are flagged; see `Points` and `Events`."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    event_recall: float | None
    false_a_day: float | None


def sweep(parts: Sequence[Scored], merge_s: float) -> list[SweepPoint]:
    """Measure at about fifty increasing thresholds, denser towards high scores.

    Parameters
    ----------
    parts
        Labels and scores of the same detector by recording.
    merge_s
        Distance in seconds below which detections are merged.
    """
    labels = np.concatenate([part.labels for part in parts])
    score = np.concatenate([part.score for part in parts])
    flagged_shares = np.geomspace(1.0, 1.0 / score.size, _THRESHOLDS)
    points = []
    for threshold in np.unique(np.quantile(score, 1.0 - flagged_shares, method="higher")).tolist():
        rows = count_points(labels, score >= threshold)
        tallies = [tally(p.labels, p.score >= threshold, p.interval_s, p.merge_rows(merge_s)) for p in parts]
        events = sum(tallies, Tally()).events()
        points.append(SweepPoint(threshold, rows.precision, rows.recall, rows.f1, events.recall, events.false_a_day))
    return points
