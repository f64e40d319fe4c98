"""Relative errors of the state head: deviations over their usual size, per channel and for the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below
from agent.detection.running import learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["Level", "RelativeError", "node_state"]

# The constants of the level and of the usual size are a compromise between SKAB, SMD, AIOps and UCR (`tools.benchmark
# skab`, `smd`, `aiops`, `ucr`), unless marked as chosen by hand.
# Deviations learned before relative errors are given. Chosen by hand.
_FEWEST = 20.0
# Largest deviation learned, in usual sizes.
_CLIP = 5.0
# Rows over which values are averaged before they are compared with the centre.
_LEVEL_SMOOTH = 6.0
# The first rows are learned with rate 1/n, later ones with 1/memory at once, so that an early shift is not learned.
_LEVEL_SETTLED = 60.0
# Largest deviation that the centre follows, in usual deviations.
_LEVEL_STEP = 1.0
# Smallest usual size, as a share of the range of values seen; guards against the instrument's resolution.
_SHARE_OF_RANGE = 0.002
_TINY = 1e-9
# Relative error of a channel that gives it a state score of one half. Chosen by hand.
_HALF = 14.0


class RelativeErrorState(State):
    """Fields of a `RelativeError` that outlive a restart."""

    count: Float64Array = array("deviations learned", CHANNEL)
    usual: Float64Array = array("unit of the deviations", CHANNEL)


class RelativeError:
    """Size of deviations over their exponentially weighted mean, per lane (channel × kind of deviation).

    Parameters
    ----------
    n_lanes
        Number of lanes.
    memory
        Time constant of exponential forgetting, rows.
    settled
        Rows after which the learning rate is ``1 / memory`` at once; by default it falls as ``1 / n`` until then.

    Examples
    --------
    >>> relative, all_lanes = RelativeError(1, memory=1500.0), np.array([True])
    >>> for size in (1.0, 3.0) * 50:
    ...     relative.learn(np.array([size]), all_lanes, floor=np.zeros(1))
    >>> relative.of(np.array([8.0]), floor=np.zeros(1)).round(3).tolist()
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
        """Usual size: running mean of the deviations, float64[n_lanes] ≥ 0."""
        return self._state.usual

    def of(self, size: Float64Array, floor: Float64Array) -> Float64Array:
        """Size over usual size, float64[n_lanes] ≥ 0; 0 where NaN or before 20 deviations.

        Parameters
        ----------
        size
            float64[n_lanes] ≥ 0, or NaN.
        floor
            float64[n_lanes], smallest usual size.
        """
        state = self._state
        known = state.count > _FEWEST
        ratio: Float64Array = np.fmax(size / np.maximum(state.usual, floor + _TINY), 0.0) * known
        return ratio

    def rate(self) -> Float64Array:
        """Learning rate at the newest row, float64[n_lanes]."""
        count = self._state.count
        return np.where(count <= self._settled, learning_rate(count, self._slowest), self._slowest)

    def learn(self, size: Float64Array, which: BoolArray, floor: Float64Array) -> None:
        """Learn sizes ≥ 0, float64[n_lanes], of the chosen lanes, bool[n_lanes]; the others may be NaN."""
        state = self._state
        state.count += which
        rate = self.rate() * which
        most = np.where(state.count > _FEWEST, _CLIP * np.maximum(state.usual, floor + _TINY), np.inf)
        state.usual += rate * (np.minimum(np.where(which, size, 0.0), most) - state.usual)

    def raise_to(self, size: Float64Array) -> None:
        """Make sizes, float64[n_lanes] ≥ 0, usual ones where they exceed the usual size."""
        self._state.usual = np.maximum(self._state.usual, size)


class LevelState(State):
    """Fields of a `Level` that outlive a restart."""

    mean: Float64Array = array("channel's scale", CHANNEL)
    centre: Float64Array = array("channel's scale", CHANNEL)
    # Largest value, and largest negated value.
    ends: Float64Array = array("channel's scale", 2, CHANNEL, initial=-np.inf)
    floor: Float64Array = array("channel's scale", CHANNEL)


class Level:
    """Deviation of a short mean from a slow centre, which follows deviations clipped at the usual one.

    Parameters
    ----------
    n_channels
        Number of channels.
    memory
        Time constant of the centre and of the usual deviation, rows.
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
        """Smallest usual size of a deviation: 0.2 % of the range of values, float64[n_channels]."""
        return self._state.floor

    @property
    def lowest(self) -> Float64Array:
        """Smallest value so far, float64[n_channels]; infinite before the first."""
        lowest: Float64Array = -self._state.ends[1]
        return lowest

    @property
    def highest(self) -> Float64Array:
        """Largest value so far, float64[n_channels]; minus infinity before the first."""
        highest: Float64Array = self._state.ends[0]
        return highest

    def follow(self, values: Float64Array, which: BoolArray) -> Float64Array:
        """Relative deviation of the newest values, float64[n_channels] ≥ 0; then learn them.

        Parameters
        ----------
        values
            float64[n_channels] on the channels' scales.
        which
            bool[n_channels], channels with a value; the others are 0 and are not learned.
        """
        state, ratio = self._state, self._ratio
        floor = state.floor
        first = which & (ratio.count == 0)
        state.mean = np.where(first, values, state.mean)
        state.centre = np.where(first, values, state.centre)
        state.mean += which * learning_rate(ratio.count + 1.0, 1.0 / _LEVEL_SMOOTH) * (values - state.mean)
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
    """State score of the node, 0..1: mean of ``r / (r + 14)``, r being the channels' states, float64[n_channels].

    Each channel contributes at most 1/n, so a spike in one channel counts less than small deviations in all.
    """
    return float(np.mean(state / (state + _HALF))) if state.size else 0.0
