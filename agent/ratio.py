"""The state head: deviations against their usual size, for what recurs, lasts or shows in many channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.types import BoolArray, Float64Array

__all__ = ["Level", "Ratio", "node_state"]

# Readings before a usual size is known.
_FEWEST = 20.0
# Most that one deviation counts for in the usual size, in usual sizes: of errors, and of levels, which stay away.
_CLIP = 5.0
_LEVEL_CLIP = 2.0
# Most that the slow centre follows a value, in usual deviations.
_LEVEL_STEP = 1.0
# The usual size is at least this share of the range of values seen: below lies the last digit of an instrument.
_SHARE_OF_RANGE = 0.002
_TINY = 1e-9
# A node whose channels deviate by so many times their usual size has a state score of one half.
_HALF_SCORE = 5.0


class Ratio:
    """Size of a deviation over its exponentially weighted mean, one lane a channel and kind.

    Parameters
    ----------
    n_lanes
        How many.
    memory
        Rows after which a deviation is largely forgotten.
    clip
        Most that one deviation counts for, in usual sizes.

    Examples
    --------
    >>> ratio, everything = Ratio(1, memory=1500.0), np.array([True])
    >>> for size in (1.0, 3.0) * 50:
    ...     ratio.learn(np.array([size]), everything, floor=np.zeros(1))
    >>> ratio.of(np.array([8.0]), floor=np.zeros(1)).round(3).tolist()
    [4.0]
    """

    def __init__(self, n_lanes: int, memory: float, clip: float = _CLIP) -> None:
        self._slowest = 1.0 / memory
        self._clip = clip
        self.count = np.zeros(n_lanes)
        self.usual = np.zeros(n_lanes)

    def of(self, size: Float64Array, floor: Float64Array) -> Float64Array:
        """Size over usual size, float64[n_lanes] ≥ 0; 0 where it is NaN or too little is known."""
        known = self.count > _FEWEST
        ratio: Float64Array = np.fmax(size / np.maximum(self.usual, floor + _TINY), 0.0) * known
        return ratio

    def learn(self, size: Float64Array, which: BoolArray, floor: Float64Array) -> None:
        """Take in sizes ≥ 0 of the chosen lanes; the others may hold NaN."""
        self.count += which
        rate = np.maximum(1.0 / np.maximum(self.count, 1.0), self._slowest) * which
        most = np.where(self.count > _FEWEST, self._clip * np.maximum(self.usual, floor + _TINY), np.inf)
        self.usual += rate * (np.minimum(np.where(which, size, 0.0), most) - self.usual)


class Level:
    """Deviation of a value from its slow centre, which follows no more than a usual deviation at once.

    Parameters
    ----------
    n_channels
        How many.
    memory
        Rows.
    """

    def __init__(self, n_channels: int, memory: float) -> None:
        self._ratio = Ratio(n_channels, memory, _LEVEL_CLIP)
        self._slowest = 1.0 / memory
        self._centre = np.zeros(n_channels)
        # float64[2, n], the largest value and the smallest with its sign turned.
        self._ends = np.full((2, n_channels), -np.inf)

    @property
    def floor(self) -> Float64Array:
        """The smallest usual size that a deviation can have, float64[n_channels]."""
        span = self._ends[0] + self._ends[1]
        floor: Float64Array = _SHARE_OF_RANGE * np.where(np.isfinite(span), span, 0.0)
        return floor

    def follow(self, values: Float64Array, which: BoolArray) -> Float64Array:
        """Deviation over usual deviation of the values, before they are taken in; float64[n_channels]."""
        floor, ratio = self.floor, self._ratio
        first = which & (ratio.count == 0)
        self._centre = np.where(first, values, self._centre)
        deviation = np.where(which, values - self._centre, 0.0)
        relative = ratio.of(np.abs(deviation), floor) * which
        most = np.where(ratio.count > _FEWEST, _LEVEL_STEP * np.maximum(ratio.usual, floor + _TINY), np.inf)
        rate = np.maximum(1.0 / (ratio.count + 1.0), self._slowest) * which
        self._centre += rate * np.clip(deviation, -most, most)
        ratio.learn(np.abs(deviation), which, floor)
        both = np.stack((values, -values))
        np.maximum(self._ends, both, out=self._ends, where=which)
        return relative


def node_state(state: Float64Array) -> float:
    """Bring the channels' ratios, float64[n_channels], to one number for the node, 0 to 1.

    The mean of their roots: one channel's spike counts less than a little of everything, as an incident shows.
    """
    mean = float(np.sqrt(state).mean()) ** 2 if state.size else 0.0
    return mean / (mean + _HALF_SCORE)
