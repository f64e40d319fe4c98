"""What one detector said of one recording, beside the truth: all that metrics need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float64Array

__all__ = ["Scored"]


@dataclass(frozen=True)
class Scored:
    """The rows of a recording that count.

    Parameters
    ----------
    labels
        bool[rows], True where something is truly wrong.
    score
        float64[rows], finite, larger is stranger.
    flags
        bool[rows], the detector's own verdict.
    interval_s
        Seconds between rows.
    """

    labels: BoolArray
    score: Float64Array
    flags: BoolArray
    interval_s: float

    def merge_rows(self, merge_s: float) -> int:
        """Rows in ``merge_s`` seconds, at least 1."""
        return max(1, round(merge_s / self.interval_s))
