"""What each threshold of a score would have given."""

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

_THRESHOLDS = 50


class SweepPoint(msgspec.Struct, frozen=True):
    """Figures when rows of this score and above count as flagged; see `Points` and `Events`."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    event_recall: float | None
    false_a_day: float | None


def sweep(parts: Sequence[Scored], merge_s: float) -> list[SweepPoint]:
    """Try about fifty thresholds, denser towards high scores, rising.

    Parameters
    ----------
    parts
        The recordings, all scored by the same detector.
    merge_s
        Detections closer than this are one.
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
