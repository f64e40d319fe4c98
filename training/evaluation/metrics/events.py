"""Event-based metrics: true intervals found, delay, and false detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.evaluation.metrics.ratio import f1, ratio

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, IntArray

__all__ = ["Events", "Tally", "intervals", "merged", "tally"]

_DAY_S = 86400.0


class Events(msgspec.Struct, frozen=True):
    """Metrics of detections compared with true intervals; None where undefined.

    Parameters
    ----------
    true, found, missed
        Number of true intervals, of those with a flagged row, and of the others.
    detections, false
        Number of runs of flagged rows, close ones merged; number of those without an anomalous row.
    precision
        Share of detections that are not false.
    recall
        Share of true intervals that are found.
    f1
        Harmonic mean of precision and recall.
    delay_median_s, delay_max_s
        Seconds from the first row of an interval to its first flagged row, over the found intervals.
    false_a_day
        False detections per day of recording.
    """

    true: float
    found: float
    missed: float
    detections: float
    false: float
    precision: float | None
    recall: float | None
    f1: float | None
    delay_median_s: float | None
    delay_max_s: float | None
    false_a_day: float | None


@dataclass(frozen=True)
class Tally:
    """Counts behind `Events`, which can be added over recordings.

    Parameters
    ----------
    delays_s
        Delay of each found interval in seconds.
    true, detections, false
        See `Events`.
    days
        Length of the evaluated rows in days.
    """

    delays_s: tuple[float, ...] = ()
    true: int = 0
    detections: int = 0
    false: int = 0
    days: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.delays_s + other.delays_s,
            self.true + other.true,
            self.detections + other.detections,
            self.false + other.false,
            self.days + other.days,
        )

    def events(self) -> Events:
        """Metrics from the counts."""
        found = len(self.delays_s)
        precision, recall = ratio(self.detections - self.false, self.detections), ratio(found, self.true)
        return Events(
            true=self.true,
            found=found,
            missed=self.true - found,
            detections=self.detections,
            false=self.false,
            precision=precision,
            recall=recall,
            f1=f1(precision, recall),
            delay_median_s=float(np.median(self.delays_s)) if found else None,
            delay_max_s=max(self.delays_s, default=None),
            false_a_day=ratio(self.false, self.days),
        )


def tally(labels: BoolArray, flags: BoolArray, interval_s: float, merge_rows: int) -> Tally:
    """Compare the detections of one recording with its true intervals.

    Parameters
    ----------
    labels, flags
        bool[rows], anomalous and flagged rows.
    interval_s
        Seconds between rows.
    merge_rows
        Distance in rows below which runs are merged, see `merged`.
    """
    true = intervals(labels)
    detections = merged(intervals(flags), merge_rows)
    right = flags & labels
    hits = np.flatnonzero(right)
    # The first correctly flagged row at or after the begin of each interval; it counts if it lies within.
    after = np.searchsorted(hits, true[:, 0])
    first = np.append(hits, labels.size)[after]
    found = first < true[:, 1]
    delays = (first - true[:, 0])[found] * interval_s
    rights = np.concatenate(([0], np.cumsum(right)))
    false = int(np.count_nonzero(rights[detections[:, 1]] == rights[detections[:, 0]]))
    return Tally(tuple(delays.tolist()), len(true), len(detections), false, labels.size * interval_s / _DAY_S)


def intervals(mask: BoolArray) -> IntArray:
    """Runs of True in a mask, bool[rows].

    Returns
    -------
    int64[n, 2], begin and end (exclusive) of each run.

    Examples
    --------
    >>> intervals(np.array([True, False, True, True])).tolist()
    [[0, 1], [2, 4]]
    """
    padded = np.zeros(mask.size + 2, np.int8)
    padded[1:-1] = mask
    edges = np.flatnonzero(np.diff(padded))
    runs: IntArray = edges.reshape(-1, 2).astype(np.int64)
    return runs


def merged(runs: IntArray, merge_rows: int) -> IntArray:
    """Merge runs, int64[n, 2], with fewer than ``merge_rows`` rows between them.

    Examples
    --------
    >>> merged(np.array([[0, 1], [3, 4], [9, 10]]), 3).tolist()
    [[0, 4], [9, 10]]
    """
    if not len(runs):
        return runs
    apart = runs[1:, 0] - runs[:-1, 1] >= merge_rows
    begins = runs[np.concatenate(([True], apart)), 0]
    ends = runs[np.concatenate((apart, [True])), 1]
    return np.stack((begins, ends), axis=1)
