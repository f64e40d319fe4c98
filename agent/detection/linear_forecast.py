"""Linear forecast of each channel's next block from its last blocks and the network's recurrent state.

It learns on the device, without back-propagation, what the universal network was not trained for, such as a channel's
own period and shape. It is a ridge regression, solved in closed form (a readout, as in reservoir computing). Second
moments are summed with exponential forgetting, 32 blocks at a time; the equations are solved again whenever the number
of blocks learned has grown by half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, number
from agent.core.ring_buffer import RingBuffer
from agent.detection.running import learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["LAGS", "LinearForecast"]

# All constants of this file are chosen by hand.
#: Number of past blocks among the inputs.
LAGS = 64
# Blocks learned before the first solution, and their growth before the next.
_FIRST_SOLVED = 4 * LAGS
_GROWTH = 1.5
# Added to the diagonal of the moments, as a share of the variance; keeps them invertible for deterministic series.
_RIDGE = 1e-4
# Time constant of exponential forgetting, blocks.
_MEMORY = 20_000.0
# Blocks added to the moments at once, and channels solved at once; bounds the work of one step.
_CHUNK = 32
_AT_ONCE = 32
_TINY = 1e-12
# Clipping of inputs: sums of their squares do not overflow float32.
_LARGEST = 1e15


class LinearForecastState(State):
    """Fields of a `LinearForecast` that outlive a restart."""

    forecast: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    count: Float64Array = array("blocks learned", CHANNEL)
    next_solved: Float64Array = array("blocks learned at which to solve next", CHANNEL, initial=float(_FIRST_SOLVED))
    centre: Float64Array = array("channel's scale", CHANNEL)
    last: Float64Array = array("channel's scale", CHANNEL)
    inputs: Float32Array = array("channel's scale", CHANNEL, "input", dtype=np.float32)
    # Inputs and target of blocks not yet added to the moments; zeros for blocks that are not learned.
    chunk: Float32Array = array("channel's scale", CHANNEL, _CHUNK, "moment", dtype=np.float32)
    filled: int = number("blocks in the chunk", initial=0)
    moments: Float32Array = array("channel's scale, squared", CHANNEL, "moment", "moment", dtype=np.float32)
    weights: Float32Array = array("share", CHANNEL, "input", dtype=np.float32)


class LinearForecast:
    """Forecasts each channel's next block from its last 64 and from the state of the network.

    Parameters
    ----------
    n_channels
        Number of channels; each takes about 50 kB.
    n_inputs
        Inputs per channel from the network.
    used
        False disables the forecast and takes no memory; `forecast` stays NaN.

    Examples
    --------
    >>> linear, present = LinearForecast(1, 0), np.array([True])
    >>> for t in range(400):
    ...     linear.learn(np.array([np.sin(t / 5.0)]), np.zeros((1, 0), np.float32), present, present)
    >>> bool(abs(linear.forecast[0] - np.sin(400 / 5.0)) < 0.05)
    True
    """

    def __init__(self, n_channels: int, n_inputs: int, *, used: bool = True) -> None:
        self._used = used
        n = LAGS + n_inputs if used else 0
        self._state = LinearForecastState(channel=n_channels, input=n, moment=n + 1 if used else 0)
        self._lags = RingBuffer(n_channels, LAGS if used else 0)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        if self._used:
            yield Part("", self._state, large=True)
            yield from below("lags", self._lags, large=True)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)
        self._lags.reset(channels)

    @property
    def forecast(self) -> Float64Array:
        """Forecast of the next block mean, float64[n_channels]; NaN before the first solution (256 blocks)."""
        return self._state.forecast

    def learn(self, values: Float64Array, inputs: Float32Array, present: BoolArray, which: BoolArray) -> None:
        """Learn the newest block means of the chosen channels, and forecast the next of all channels.

        Parameters
        ----------
        values
            float64[n_channels] on the channels' scales.
        inputs
            float32[n_channels, n_inputs] on the channels' scales: recurrent state of the network after these blocks.
        present
            bool[n_channels], channels with a value; the others repeat their last value.
        which
            bool[n_channels], present channels to learn from. Anomalous channels are left out, but their values are
            inputs of later forecasts, which would otherwise stay wrong until the anomaly has left the lags.
        """
        state = self._state
        if not self._used:
            return
        first = which & (state.count == 0)
        state.centre = np.where(first, values, state.centre)
        # Missing values are not replaced by the forecast: feeding it back could diverge.
        state.last = values = np.where(present, values, state.last)
        state.count += which
        state.centre += which * learning_rate(state.count, 1.0 / _MEMORY) * (values - state.centre)
        beyond = np.maximum(np.minimum(values - state.centre, _LARGEST), -_LARGEST)
        # The first blocks have fewer than 64 blocks before them.
        known = (which & (state.count > LAGS))[:, None]
        row = state.chunk[:, state.filled]
        row[:, :-1] = state.inputs * known
        row[:, -1:] = beyond[:, None] * known
        state.filled += 1
        if state.filled == _CHUNK:
            self._sum_up()
        self._lags.push(beyond)
        state.inputs[:, :LAGS] = self._lags.view()
        np.maximum(np.minimum(inputs, _LARGEST), -_LARGEST, out=state.inputs[:, LAGS:])
        forecast = state.centre + np.einsum("nk,nk->n", state.weights, state.inputs)
        state.forecast = np.where(state.next_solved > _FIRST_SOLVED, forecast, np.nan)

    def _sum_up(self) -> None:
        state = self._state
        state.filled = 0
        state.moments *= np.float32(1.0 - _CHUNK / _MEMORY)
        state.moments += state.chunk.transpose(0, 2, 1) @ state.chunk
        due = np.flatnonzero(state.count >= state.next_solved)
        if due.size:
            self._solve(due[:_AT_ONCE])

    def _solve(self, channels: IntArray) -> None:
        state = self._state
        moments = state.moments[channels].astype(np.float64)
        variance = moments[:, LAGS - 1, LAGS - 1]
        diagonal = np.arange(moments.shape[1] - 1)
        moments[:, diagonal, diagonal] += (_RIDGE * variance + _TINY)[:, None]
        state.weights[channels] = np.linalg.solve(moments[:, :-1, :-1], moments[:, :-1, -1:])[:, :, 0]
        state.next_solved[channels] = np.minimum(_GROWTH * state.count[channels], state.count[channels] + _MEMORY / 4)
