"""One time scale with its threshold: errors of the newest block, and how strongly they speak for an anomaly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, lanes
from agent.detection.relative_error import RelativeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.detection.thresholds.base import Threshold
    from agent.detection.time_scale import TimeScale

__all__ = ["MOST_STRENGTH", "STILL", "ScoredScale"]

#: Most strength, in limits, of one kind of error at one scale.
MOST_STRENGTH = 4.0
#: A deviation below the smallest effect worth an alert, divided by this, counts as none.
STILL = 10.0
# Blocks of a coarse scale that are learned before it is heard; for the finest scale the learning time decides.
_FEWEST_BLOCKS = 8.0


class ScoredScaleState(State):
    """Fields of a `ScoredScale` that outlive a restart."""

    errors: Float64Array = array("channel's scale", "kind", CHANNEL, initial=np.nan)
    ratio: Float64Array = array("usual sizes", CHANNEL)


class ScoredScale:
    """Judges the newest block of a time scale, then learns from it.

    Parameters
    ----------
    time_scale
        Gives the errors.
    threshold
        Of all channels and kinds of error.
    n_channels
        Number of channels.
    memory
        Blocks after which the usual size of forecast errors is largely forgotten.
    """

    def __init__(self, time_scale: TimeScale, threshold: Threshold, n_channels: int, memory: float) -> None:
        self.time_scale = time_scale
        self.threshold = threshold
        self._usual = RelativeError(n_channels, memory)
        self._state = ScoredScaleState(kind=len(time_scale.kinds), channel=n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("time_scale", self.time_scale)
        yield from below("threshold", self.threshold)
        yield from below("usual", self._usual)

    def reset(self, channels: IntArray, effect: Float64Array) -> None:
        """Forget these channels, int64[m]; float64[m] is the smallest effect of those that come instead."""
        kinds = len(self.time_scale.kinds)
        self.threshold.reset(lanes(channels, self.ratio.size, kinds), np.tile(effect, kinds))
        self.time_scale.reset(channels, effect / STILL)
        self._state.reset(channels)
        self._usual.reset(channels)

    @property
    def errors(self) -> Float64Array:
        """Errors of the newest block, float64[kinds, n_channels]; NaN where unknown."""
        return self._state.errors

    @property
    def ratio(self) -> Float64Array:
        """Forecast error of the newest block over its usual size, float64[n_channels]."""
        return self._state.ratio

    def judge(self, floor: Float64Array) -> Float64Array:
        """Give the strength of each kind of error of the newest block, float64[kinds, n_channels].

        Parameters
        ----------
        floor
            float64[n_channels], the smallest usual size of an error.
        """
        state = self._state
        state.errors = self.time_scale.errors()
        strength = self.threshold.strength(state.errors.ravel()).reshape(state.errors.shape)
        state.ratio = self._usual.of(np.abs(state.errors[0]), floor)
        known = self.threshold.count.reshape(state.errors.shape) >= _FEWEST_BLOCKS
        return np.minimum(strength, MOST_STRENGTH) * known

    def learn(self, allowed: BoolArray, frozen: BoolArray, floor: Float64Array) -> None:
        """Learn from the newest block.

        Parameters
        ----------
        allowed
            bool[n_channels], channels of which forecasts and usual sizes learn.
        frozen
            bool[n_channels], channels of which limits do not learn.
        floor
            As for `judge`.
        """
        state = self._state
        self.threshold.learn(state.errors.ravel(), (np.isfinite(state.errors) & ~frozen).ravel())
        size = np.abs(state.errors[0])
        self._usual.learn(size, np.isfinite(size) & allowed, floor)
        self.time_scale.learn(allowed)
