"""The state head: how far each channel is from its usual state, whether that is news or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, lanes
from agent.detection.analog_forecast import AnalogForecast
from agent.detection.linear_forecast import LinearForecast
from agent.detection.relative_error import Level, RelativeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["STATE_BLOCKS", "StateHead"]

#: Memory, in blocks, of the usual size of errors.
STATE_BLOCKS = 1500.0
# The same of levels; blocks over which ratios of errors, which are spiky, are averaged, and those of the readout once
# more, for a shape that is slightly wrong for long, in which one counts for so much at most.
_LEVEL_STATE_BLOCKS = 400.0
_SMOOTH_BLOCKS = 8.0
_SHAPE_BLOCKS = 32.0
_SHAPE_CLIP = 5.0
# Within that average, what an error of the readout counts for against one of a forecast by the network; and weights of
# that average, of a shape, of what is unlike all that was, of single errors, and of the level.
_READOUT_WEIGHT = 30.0
_SWING_WEIGHT, _SHAPE_WEIGHT, _UNLIKE_WEIGHT, _SPIKE_WEIGHT, _LEVEL_WEIGHT = 0.5, 150.0, 24.0, 9.0, 2.0

# Kinds of deviations with a usual size of their own: errors of the readout, distances of the analogue, its errors.
_USUAL_KINDS = 3


class StateHeadState(State):
    """Fields of a `StateHead` that outlive a restart."""

    # Root of the sum of the squares of the other ratios, and the readout's alone, averaged over time.
    swing: Float64Array = array("usual sizes", CHANNEL)
    shape: Float64Array = array("usual sizes", CHANNEL)
    state: Float64Array = array("usual sizes", CHANNEL)


class StateHead:
    """Weighs deviations of several kinds, each by its usual size.

    Parameters
    ----------
    n_channels
        How many.
    n_inputs
        Numbers that the network knows of each channel's past.
    n_scales
        How many ratios of forecast errors there are.
    sparing
        Leaves out what takes much memory, the readout and the analogue.
    """

    def __init__(self, n_channels: int, n_inputs: int, n_scales: int, *, sparing: bool = False) -> None:
        n = n_channels
        self._level = Level(n, _LEVEL_STATE_BLOCKS)
        self._state = StateHeadState(channel=n)
        self._readout = LinearForecast(n, n_inputs, used=not sparing)
        self._analogue = AnalogForecast(n, used=not sparing)
        self._usual = RelativeError(_USUAL_KINDS * n, STATE_BLOCKS)
        self._all_weights = (
            _SWING_WEIGHT * (n_scales + _READOUT_WEIGHT)
            + _SHAPE_WEIGHT
            + _UNLIKE_WEIGHT
            + _SPIKE_WEIGHT
            + _LEVEL_WEIGHT
        )

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("level", self._level)
        yield from below("linear_forecast", self._readout)
        yield from below("analog_forecast", self._analogue)
        yield from below("usual", self._usual)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        for part in (self._state, self._level, self._readout, self._analogue):
            part.reset(channels)
        self._usual.reset(lanes(channels, self.state.size, _USUAL_KINDS))

    @property
    def state(self) -> Float64Array:
        """Weighted root mean square over kinds of deviations, float64[n_channels] ≥ 0."""
        return self._state.state

    @property
    def floor(self) -> Float64Array:
        """The smallest usual size that a deviation of a channel can have, float64[n_channels]."""
        return self._level.floor

    def follow(
        self, values: Float64Array, valid: BoolArray, usual_change: Float64Array, ratios: Iterable[Float64Array]
    ) -> None:
        """Bring `state` up to date, before anything is learned of the newest block.

        Parameters
        ----------
        values, valid
            float64[n_channels] and bool[n_channels], means of the newest block and whether there is one.
        usual_change
            float64[n_channels], of one block from the last.
        ratios
            float64[n_channels] each, the newest error of the network's forecast over its usual size, a scale.
        """
        state = self._state
        floor = self.floor
        analogue = self._analogue
        analogue.follow(values, valid)
        sizes = np.concatenate((np.abs(values - self._readout.forecast), analogue.distance, analogue.error))
        floors = np.concatenate((floor, floor, floor))
        linear, unlike, analogous = self._usual.of(sizes, floors).reshape(3, -1)
        squares = _READOUT_WEIGHT * np.square(linear)
        for ratio in ratios:
            squares += np.square(ratio)
        state.swing += (np.sqrt(squares) - state.swing) / _SMOOTH_BLOCKS
        state.shape += (np.minimum(linear, _SHAPE_CLIP) - state.shape) / _SHAPE_BLOCKS
        unlike = analogue.covered * np.minimum(unlike, _SHAPE_CLIP)
        # An error counts as far as it is one of both forecasts, once there are both.
        both = linear * np.where(np.isnan(analogue.error), linear, analogous)
        # Where the readout does better than the last block would, there is a shape, which can be slightly wrong for
        # long; where it does not, a single error is all there is.
        rough = np.minimum(self._usual.usual[: values.size] / usual_change, 1.0)
        skill = 1.0 - np.square(rough)
        total = (
            _SWING_WEIGHT * np.square(state.swing)
            + _SHAPE_WEIGHT * np.square(skill * state.shape)
            + _UNLIKE_WEIGHT * np.square(skill * unlike)
            + _SPIKE_WEIGHT * rough**3 * both
            + _LEVEL_WEIGHT * np.square(self._level.follow(values, valid))
        )
        state.state = np.sqrt(total / self._all_weights)
        self._usual.learn(sizes, np.isfinite(sizes) & np.concatenate((valid, valid, valid)), floors)

    def learn(self, values: Float64Array, insight: Float32Array, valid: BoolArray, which: BoolArray) -> None:
        """Look ahead; see `LinearForecast.learn`."""
        self._readout.learn(values, insight, valid, which)
