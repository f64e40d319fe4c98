"""A closed-form readout: a linear forecast of each channel from its last blocks and the network's state.

What the universal network was not trained for – a channel's own period and shape – a linear forecast learns on the
device: ridge regression on the channel's lags and on the network's state, without back-propagation. Second moments are
summed up with exponential forgetting, some blocks at a time; when a channel's experience has grown by half, the
equations are solved anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, number
from agent.core.ring_buffer import RingBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["LAGS", "LinearForecast"]

#: Blocks back that a forecast rests on.
LAGS = 64
_FIRST_SOLVED = 4 * LAGS
_GROWTH = 1.5
# Share of the variance added to it: keeps the equations solvable for what is all but deterministic.
_RIDGE = 1e-4
# Blocks after which the moments have largely forgotten.
_MEMORY = 20_000.0
# Blocks that are summed up at once, and channels that are solved for at once.
_CHUNK = 32
_AT_ONCE = 32
_TINY = 1e-12
# What is larger than this has no place in sums of squares of single precision.
_LARGEST = 1e15


class LinearForecastState(State):
    """Fields of a `LinearForecast` that outlive a restart."""

    forecast: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    count: Float64Array = array("blocks learned", CHANNEL)
    next_solved: Float64Array = array("blocks learned", CHANNEL, initial=float(_FIRST_SOLVED))
    centre: Float64Array = array("channel's scale", CHANNEL)
    last: Float64Array = array("channel's scale", CHANNEL)
    inputs: Float32Array = array("channel's scale", CHANNEL, "input", dtype=np.float32)
    # Inputs and target of blocks that are not summed up yet; rows of zeros where nothing was learned.
    chunk: Float32Array = array("channel's scale", CHANNEL, _CHUNK, "moment", dtype=np.float32)
    filled: int = number("blocks in the chunk", initial=0)
    moments: Float32Array = array("channel's scale, squared", CHANNEL, "moment", "moment", dtype=np.float32)
    weights: Float32Array = array("share", CHANNEL, "input", dtype=np.float32)


class LinearForecast:
    """Forecasts each channel's next block from its last 64 and from the state of the network.

    Parameters
    ----------
    n_channels
        How many; a channel's moments take about 50 kB.
    n_inputs
        Numbers that come from the network, a channel.
    used
        Without, nothing is kept and nothing forecast.

    Examples
    --------
    >>> readout, seen = LinearForecast(1, 0), np.array([True])
    >>> for t in range(400):
    ...     readout.learn(np.array([np.sin(t / 5.0)]), np.zeros((1, 0), np.float32), seen, seen)
    >>> bool(abs(readout.forecast[0] - np.sin(400 / 5.0)) < 0.05)
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
        """Forecast of the next block, float64[n_channels]; NaN until enough is known."""
        return self._state.forecast

    def learn(self, values: Float64Array, inputs: Float32Array, present: BoolArray, which: BoolArray) -> None:
        """Take in the newest block means, and learn from those of the chosen channels.

        Parameters
        ----------
        values
            float64[n_channels].
        inputs
            float32[n_channels, n_inputs], in the values' unit: what the network makes of the blocks up to this one.
        present
            bool[n_channels]; the others stay at their last value.
        which
            bool[n_channels], of these. Of a channel that is anomalous the forecast rests on what it does, too: else it
            would be wrong for as long as that lasts, and for a while after.
        """
        state = self._state
        if not self._used:
            return
        first = which & (state.count == 0)
        state.centre = np.where(first, values, state.centre)
        # Not its own forecast, which could run away where nothing holds it.
        state.last = values = np.where(present, values, state.last)
        state.count += which
        state.centre += which / np.minimum(np.maximum(state.count, 1.0), _MEMORY) * (values - state.centre)
        beyond = np.maximum(np.minimum(values - state.centre, _LARGEST), -_LARGEST)
        # The first blocks have no whole window before them.
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
