"""Labels and scores of one detector on one recording, the input of the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float64Array

__all__ = ["Scored"]


@dataclass(frozen=True)
class Scored:
    """Measured rows of a recording.

    Parameters
    ----------
    labels
        bool[rows], True where labelled anomalous.
    score
        float64[rows], finite, higher means more anomalous.
    flags
        bool[rows], True where the detector flags the row.
    interval_s
        Seconds between rows.
    """

    labels: BoolArray
    score: Float64Array
    flags: BoolArray
    interval_s: float

    def merge_rows(self, merge_s: float) -> int:
        """Number of rows in ``merge_s`` seconds, at least 1."""
        return max(1, round(merge_s / self.interval_s))
