"""A closed-form readout: a linear forecast of each channel from its last blocks and the network's state.

What the universal network was not trained for – a channel's own period and shape – a linear forecast learns on the
device: ridge regression on the channel's lags and on the network's state, without back-propagation. Second moments are
summed up with exponential forgetting, some blocks at a time; when a channel's experience has grown by half, the
equations are solved anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from agent.ring import Ring

if TYPE_CHECKING:
    from agent.types import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["LAGS", "Readout"]

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


class Readout:
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
    >>> readout, seen = Readout(1, 0), np.array([True])
    >>> for t in range(400):
    ...     readout.learn(np.array([np.sin(t / 5.0)]), np.zeros((1, 0), np.float32), seen, seen)
    >>> bool(abs(readout.forecast[0] - np.sin(400 / 5.0)) < 0.05)
    True
    """

    _SLOW: ClassVar[bool] = True

    def __init__(self, n_channels: int, n_inputs: int, *, used: bool = True) -> None:
        #: float64[n_channels], NaN until enough is known.
        self.forecast = np.full(n_channels, np.nan)
        self._used = used
        if not used:
            return
        n = LAGS + n_inputs
        self._lags = Ring(n_channels, LAGS)
        self._count = np.zeros(n_channels)
        self._next_solved = np.full(n_channels, float(_FIRST_SOLVED))
        self._centre = np.zeros(n_channels)
        self._last = np.zeros(n_channels)
        self._inputs = np.zeros((n_channels, n), np.float32)
        # Inputs and target of blocks that are not summed up yet; rows of zeros where nothing was learned.
        self._chunk = np.zeros((n_channels, _CHUNK, n + 1), np.float32)
        self._filled = 0
        self._moments = np.zeros((n_channels, n + 1, n + 1), np.float32)
        self._weights = np.zeros((n_channels, n), np.float32)

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
        if not self._used:
            return
        first = which & (self._count == 0)
        self._centre = np.where(first, values, self._centre)
        # Not its own forecast, which could run away where nothing holds it.
        self._last = values = np.where(present, values, self._last)
        self._count += which
        self._centre += which / np.minimum(np.maximum(self._count, 1.0), _MEMORY) * (values - self._centre)
        beyond = np.maximum(np.minimum(values - self._centre, _LARGEST), -_LARGEST)
        # The first blocks have no whole window before them.
        known = (which & (self._count > LAGS))[:, None]
        row = self._chunk[:, self._filled]
        row[:, :-1] = self._inputs * known
        row[:, -1:] = beyond[:, None] * known
        self._filled += 1
        if self._filled == _CHUNK:
            self._sum_up()
        self._lags.push(beyond)
        self._inputs[:, :LAGS] = self._lags.view()
        np.maximum(np.minimum(inputs, _LARGEST), -_LARGEST, out=self._inputs[:, LAGS:])
        forecast = self._centre + np.einsum("nk,nk->n", self._weights, self._inputs)
        self.forecast = np.where(self._next_solved > _FIRST_SOLVED, forecast, np.nan)

    def _sum_up(self) -> None:
        self._filled = 0
        self._moments *= np.float32(1.0 - _CHUNK / _MEMORY)
        self._moments += self._chunk.transpose(0, 2, 1) @ self._chunk
        due = np.flatnonzero(self._count >= self._next_solved)
        if due.size:
            self._solve(due[:_AT_ONCE])

    def _solve(self, channels: IntArray) -> None:
        moments = self._moments[channels].astype(np.float64)
        variance = moments[:, LAGS - 1, LAGS - 1]
        diagonal = np.arange(moments.shape[1] - 1)
        moments[:, diagonal, diagonal] += (_RIDGE * variance + _TINY)[:, None]
        self._weights[channels] = np.linalg.solve(moments[:, :-1, :-1], moments[:, :-1, -1:])[:, :, 0]
        self._next_solved[channels] = np.minimum(_GROWTH * self._count[channels], self._count[channels] + _MEMORY / 4)
