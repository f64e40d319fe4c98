"""The state head: distance of each channel from its usual state, whether new or recurring."""

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

# All constants of this file are a compromise between SKAB, SMD, AIOps and the shared half of UCR (`tools.benchmark
# skab`, `smd`, `aiops`, `ucr`).
#: Memory of the usual size of errors, blocks.
STATE_BLOCKS = 1500.0
# Memory of the usual deviation of levels, blocks.
_LEVEL_STATE_BLOCKS = 400.0
# Averaging of the swing and of the shape, blocks.
_SMOOTH_BLOCKS = 8.0
_SHAPE_BLOCKS = 32.0
# Clipping of the deviations in shape and unlikeness, usual sizes.
_SHAPE_CLIP = 5.0
# Weight of the linear forecast's squared relative error within the swing; that of each time scale is 1.
_LINEAR_WEIGHT = 30.0
# Weights of the parts of the state; docs/detection.md describes them.
_SWING_WEIGHT, _SHAPE_WEIGHT, _UNLIKE_WEIGHT, _SPIKE_WEIGHT, _LEVEL_WEIGHT = 0.5, 150.0, 24.0, 9.0, 2.0

# Kinds of deviations with their own usual size: linear forecast error, analog distance, analog forecast error.
_USUAL_KINDS = 3


class StateHeadState(State):
    """Fields of a `StateHead` that outlive a restart."""

    # Averages over time: root of the weighted sum of squared relative errors; clipped relative error of the linear
    # forecast. Then the state itself.
    swing: Float64Array = array("usual sizes", CHANNEL)
    shape: Float64Array = array("usual sizes", CHANNEL)
    state: Float64Array = array("usual sizes", CHANNEL)


class StateHead:
    """Combines deviations of several kinds, each relative to its usual size, into the state of every channel.

    Parameters
    ----------
    n_channels
        Number of channels.
    n_inputs
        Inputs of the linear forecast per channel, see `TimeScale.network_inputs`.
    n_scales
        Number of time scales.
    sparing
        Leave out the linear and the analog forecast, to save memory.
    """

    def __init__(self, n_channels: int, n_inputs: int, n_scales: int, *, sparing: bool = False) -> None:
        n = n_channels
        self._level = Level(n, _LEVEL_STATE_BLOCKS)
        self._state = StateHeadState(channel=n)
        self._linear = LinearForecast(n, n_inputs, used=not sparing)
        self._analog = AnalogForecast(n, used=not sparing)
        self._usual = RelativeError(_USUAL_KINDS * n, STATE_BLOCKS)
        self._all_weights = (
            _SWING_WEIGHT * (n_scales + _LINEAR_WEIGHT) + _SHAPE_WEIGHT + _UNLIKE_WEIGHT + _SPIKE_WEIGHT + _LEVEL_WEIGHT
        )

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("level", self._level)
        yield from below("linear_forecast", self._linear)
        yield from below("analog_forecast", self._analog)
        yield from below("usual", self._usual)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        for part in (self._state, self._level, self._linear, self._analog):
            part.reset(channels)
        self._usual.reset(lanes(channels, self.state.size, _USUAL_KINDS))

    @property
    def state(self) -> Float64Array:
        """Weighted root mean square of the relative deviations, float64[n_channels] ≥ 0."""
        return self._state.state

    @property
    def floor(self) -> Float64Array:
        """Smallest usual size of a deviation, float64[n_channels]."""
        return self._level.floor

    @property
    def lowest(self) -> Float64Array:
        """Smallest value so far, float64[n_channels] on the channels' scales; infinite before the first."""
        return self._level.lowest

    @property
    def highest(self) -> Float64Array:
        """Largest value so far, float64[n_channels] on the channels' scales; minus infinity before the first."""
        return self._level.highest

    @property
    def forecast(self) -> Float64Array:
        """Linear forecast of the next block, float64[n_channels] on the channels' scales; NaN where there is none."""
        return self._linear.forecast

    def follow(
        self, values: Float64Array, valid: BoolArray, usual_change: Float64Array, ratios: Iterable[Float64Array]
    ) -> None:
        """Update `state` with the newest block of the finest scale, before the block is learned.

        Parameters
        ----------
        values, valid
            float64[n_channels] and bool[n_channels], block means on the channels' scales and their validity.
        usual_change
            float64[n_channels] > 0, usual difference between consecutive blocks.
        ratios
            float64[n_channels] per time scale, relative error of the network's newest forecast.
        """
        state = self._state
        floor = self.floor
        analog = self._analog
        analog.follow(values, valid)
        sizes = np.concatenate((np.abs(values - self._linear.forecast), analog.distance, analog.error))
        floors = np.concatenate((floor, floor, floor))
        linear, unlike, analogous = self._usual.of(sizes, floors).reshape(3, -1)
        squares = _LINEAR_WEIGHT * np.square(linear)
        for ratio in ratios:
            squares += np.square(ratio)
        state.swing += (np.sqrt(squares) - state.swing) / _SMOOTH_BLOCKS
        state.shape += (np.minimum(linear, _SHAPE_CLIP) - state.shape) / _SHAPE_BLOCKS
        unlike = analog.covered * np.minimum(unlike, _SHAPE_CLIP)
        # Geometric mean, squared: an error counts only if both forecasts were wrong, once both exist.
        both = linear * np.where(np.isnan(analog.error), linear, analogous)
        # Compare the linear forecast with repeating the last block. If it is better, the channel has a shape, which may
        # be slightly wrong for long; if not, only single errors count.
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

    def accept(self, which: BoolArray) -> None:
        """Begin the linear forecasts of these channels, bool[n_channels], anew: they expect the former level."""
        if np.count_nonzero(which):
            self._linear.reset(np.flatnonzero(which))

    def learn(self, values: Float64Array, network_inputs: Float32Array, valid: BoolArray, which: BoolArray) -> None:
        """Learn the newest block and forecast the next; see `LinearForecast.learn`."""
        self._linear.learn(values, network_inputs, valid, which)
