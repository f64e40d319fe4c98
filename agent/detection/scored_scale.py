"""A time scale with its threshold: errors of the newest block and their strength."""

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

#: Largest strength of one kind of error at one scale, in limits. Chosen on NAB (`tools.benchmark nab`).
MOST_STRENGTH = 4.0
#: Divisor of the smallest effect that gives the smallest spread of the normalisation. Chosen by hand.
STILL = 10.0
# Errors learned before their strength counts; matters at coarse scales only. Chosen by hand.
_FEWEST_BLOCKS = 8.0


class ScoredScaleState(State):
    """Fields of a `ScoredScale` that outlive a restart."""

    errors: Float64Array = array("channel's scale", "kind", CHANNEL, initial=np.nan)
    ratio: Float64Array = array("usual sizes", CHANNEL)


class ScoredScale:
    """Computes the strength of the newest block of a time scale, then learns the block.

    Parameters
    ----------
    time_scale
        Computes the errors.
    threshold
        Threshold of all lanes (channel × kind of error).
    n_channels
        Number of channels.
    memory
        Memory of the usual size of forecast errors, blocks.
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
        """Forget these channels, int64[m]; ``effect``, float64[m], is that of the channels that replace them."""
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
        """Strength of each kind of error of the newest block, float64[kinds, n_channels] in 0..4 limits.

        Parameters
        ----------
        floor
            float64[n_channels], smallest usual size of an error.
        """
        state = self._state
        state.errors = self.time_scale.errors()
        strength = self.threshold.strength(state.errors.ravel()).reshape(state.errors.shape)
        state.ratio = self._usual.of(np.abs(state.errors[0]), floor)
        known = self.threshold.count.reshape(state.errors.shape) >= _FEWEST_BLOCKS
        return np.minimum(strength, MOST_STRENGTH) * known

    def learn(self, allowed: BoolArray, frozen: BoolArray, floor: Float64Array) -> None:
        """Learn the newest block.

        Parameters
        ----------
        allowed
            bool[n_channels], channels that normalisation, networks and usual sizes learn.
        frozen
            bool[n_channels], channels whose limits do not learn.
        floor
            As for `judge`.
        """
        state = self._state
        self.threshold.learn(state.errors.ravel(), (np.isfinite(state.errors) & ~frozen).ravel())
        size = np.abs(state.errors[0])
        self._usual.learn(size, np.isfinite(size) & allowed, floor)
        self.time_scale.learn(allowed)
