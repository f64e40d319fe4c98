"""The state head: deviations against their usual size, for what recurs, lasts or shows in many channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["Level", "RelativeError", "node_state"]

# Readings before a usual size is known.
_FEWEST = 20.0
# Most that one deviation counts for in the usual size, in usual sizes.
_CLIP = 5.0
# Of levels: values are averaged over so many rows; what is learned of the first so many counts in full, and then hardly
# any more, so that a shift soon after is not taken for normal; and most that the centre follows, in usual deviations.
_LEVEL_SMOOTH = 6.0
_LEVEL_SETTLED = 60.0
_LEVEL_STEP = 1.0
# The usual size is at least this share of the range of values seen: below lies the last digit of an instrument.
_SHARE_OF_RANGE = 0.002
_TINY = 1e-9
# A channel that deviates by so many times its usual size counts for one half.
_HALF = 14.0


class RelativeErrorState(State):
    """Fields of a `RelativeError` that outlive a restart."""

    count: Float64Array = array("deviations learned", CHANNEL)
    usual: Float64Array = array("unit of the deviations", CHANNEL)


class RelativeError:
    """Size of a deviation over its exponentially weighted mean, one lane a channel and kind.

    Parameters
    ----------
    n_lanes
        How many.
    memory
        Rows after which a deviation is largely forgotten.
    settled
        Rows after which one row is no more than ``1 / memory``; until then all count alike.

    Examples
    --------
    >>> ratio, everything = RelativeError(1, memory=1500.0), np.array([True])
    >>> for size in (1.0, 3.0) * 50:
    ...     ratio.learn(np.array([size]), everything, floor=np.zeros(1))
    >>> ratio.of(np.array([8.0]), floor=np.zeros(1)).round(3).tolist()
    [4.0]
    """

    def __init__(self, n_lanes: int, memory: float, settled: float = np.inf) -> None:
        self._slowest = 1.0 / memory
        self._settled = settled
        self._state = RelativeErrorState(channel=n_lanes)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray) -> None:
        """Forget these lanes, int64[m]."""
        self._state.reset(lanes)

    @property
    def count(self) -> Float64Array:
        """Deviations learned so far, float64[n_lanes]."""
        return self._state.count

    @property
    def usual(self) -> Float64Array:
        """Mean size of the deviations, float64[n_lanes]."""
        return self._state.usual

    def of(self, size: Float64Array, floor: Float64Array) -> Float64Array:
        """Size over usual size, float64[n_lanes] ≥ 0; 0 where it is NaN or too little is known."""
        state = self._state
        known = state.count > _FEWEST
        ratio: Float64Array = np.fmax(size / np.maximum(state.usual, floor + _TINY), 0.0) * known
        return ratio

    def rate(self) -> Float64Array:
        """Share of the newest row in what is usual, float64[n_lanes]."""
        count = self._state.count
        young = np.where(count <= self._settled, 1.0 / np.maximum(count, 1.0), 0.0)
        rate: Float64Array = np.maximum(young, self._slowest)
        return rate

    def learn(self, size: Float64Array, which: BoolArray, floor: Float64Array) -> None:
        """Take in sizes ≥ 0 of the chosen lanes; the others may hold NaN."""
        state = self._state
        state.count += which
        rate = self.rate() * which
        most = np.where(state.count > _FEWEST, _CLIP * np.maximum(state.usual, floor + _TINY), np.inf)
        state.usual += rate * (np.minimum(np.where(which, size, 0.0), most) - state.usual)


class LevelState(State):
    """Fields of a `Level` that outlive a restart."""

    mean: Float64Array = array("channel's scale", CHANNEL)
    centre: Float64Array = array("channel's scale", CHANNEL)
    # The largest value, and the smallest with its sign turned.
    ends: Float64Array = array("channel's scale", 2, CHANNEL, initial=-np.inf)
    floor: Float64Array = array("channel's scale", CHANNEL)


class Level:
    """Deviation of a value's short mean from its slow centre, which follows no more than a usual deviation at once.

    Parameters
    ----------
    n_channels
        How many.
    memory
        Rows.
    """

    def __init__(self, n_channels: int, memory: float) -> None:
        self._ratio = RelativeError(n_channels, memory, _LEVEL_SETTLED)
        self._state = LevelState(channel=n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("ratio", self._ratio)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)
        self._ratio.reset(channels)

    @property
    def floor(self) -> Float64Array:
        """The smallest usual size that a deviation can have, float64[n_channels]."""
        return self._state.floor

    def follow(self, values: Float64Array, which: BoolArray) -> Float64Array:
        """Deviation over usual deviation, before the values are taken in; float64[n_channels]."""
        state, ratio = self._state, self._ratio
        floor = state.floor
        first = which & (ratio.count == 0)
        state.mean = np.where(first, values, state.mean)
        state.centre = np.where(first, values, state.centre)
        share = which / np.minimum(ratio.count + 1.0, _LEVEL_SMOOTH)
        state.mean += share * (values - state.mean)
        deviation = np.where(which, state.mean - state.centre, 0.0)
        relative = ratio.of(np.abs(deviation), floor) * which
        most = np.where(ratio.count > _FEWEST, _LEVEL_STEP * np.maximum(ratio.usual, floor + _TINY), np.inf)
        ratio.learn(np.abs(deviation), which, floor)
        state.centre += ratio.rate() * which * np.maximum(np.minimum(deviation, most), -most)
        np.maximum(state.ends[0], values, out=state.ends[0], where=which)
        np.maximum(state.ends[1], -values, out=state.ends[1], where=which)
        span = state.ends[0] + state.ends[1]
        state.floor = _SHARE_OF_RANGE * np.where(np.isfinite(span), span, 0.0)
        return relative


def node_state(state: Float64Array) -> float:
    """Bring the channels' ratios r, float64[n_channels], to one number for the node, 0 to 1: the mean of r / (r + 14).

    One channel counts for 1/n at most, so that a spike in one is less than a little of everything,
    as an incident shows.
    """
    return float(np.mean(state / (state + _HALF))) if state.size else 0.0
