"""A closed-form linear forecast from a channel's own recent blocks, for what is periodic in a way of its own.

Autoregression by the Yule–Walker equations (Yule 1927; Walker 1931) on running autocovariances: a block costs one
product with the newest lags, and the equations are solved anew only when half as much again has been seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.ring import Ring

if TYPE_CHECKING:
    from agent.types import BoolArray, Float64Array, IntArray

__all__ = ["LAGS", "Readout"]

#: Blocks back that a forecast rests on.
LAGS = 64
_FIRST_SOLVED = 4 * LAGS
_GROWTH = 1.5
# Added to the variance, as a share of it: keeps the equations solvable for what is all but deterministic.
_RIDGE = 1e-6
# Blocks after which the covariances have largely forgotten.
_MEMORY = 20_000.0
_AT_ONCE = 256
_TINY = 1e-12


class Readout:
    """Forecasts each channel's next block from its last 64.

    Parameters
    ----------
    n_channels
        How many.

    Examples
    --------
    >>> readout, seen = Readout(1), np.array([True])
    >>> for t in range(400):
    ...     readout.learn(np.array([np.sin(t / 5.0)]), seen)
    >>> bool(abs(readout.forecast[0] - np.sin(400 / 5.0)) < 0.05)
    True
    """

    def __init__(self, n_channels: int) -> None:
        self._lags = Ring(n_channels, LAGS + 1)
        self._count = np.zeros(n_channels)
        self._next_solved = np.full(n_channels, float(_FIRST_SOLVED))
        self._centre = np.zeros(n_channels)
        self._last = np.zeros(n_channels)
        self._covariance = np.zeros((n_channels, LAGS + 1))
        self._weights = np.zeros((n_channels, LAGS))
        #: float64[n_channels], NaN until enough is known.
        self.forecast = np.full(n_channels, np.nan)

    def learn(self, values: Float64Array, which: BoolArray) -> None:
        """Take in the newest block means, of the chosen channels; the others stay at their last value."""
        first = which & (self._count == 0)
        self._centre = np.where(first, values, self._centre)
        # Not its own forecast, which could run away where nothing holds it.
        self._last = values = np.where(which, values, self._last)
        self._count += which
        rate = which / np.minimum(np.maximum(self._count, 1.0), _MEMORY)
        self._centre += rate * (values - self._centre)
        self._lags.push(values - self._centre)
        lags = self._lags.view()
        newest = lags[:, -1:].astype(np.float64)
        self._covariance += rate[:, None] * (newest * lags[:, ::-1] - self._covariance)
        due = self._count >= self._next_solved
        if due.any():
            self._solve(np.flatnonzero(due))
        forecast = self._centre + np.einsum("nk,nk->n", self._weights, lags[:, :0:-1])
        self.forecast = np.where(self._count >= _FIRST_SOLVED, forecast, np.nan)

    def _solve(self, channels: IntArray) -> None:
        distance = np.abs(np.arange(LAGS)[:, None] - np.arange(LAGS))
        for part in np.split(channels, range(_AT_ONCE, channels.size, _AT_ONCE)):
            covariance = self._covariance[part]
            toeplitz = covariance[:, distance]
            variance = covariance[:, 0]
            toeplitz[:, distance == 0] += (_RIDGE * variance + _TINY)[:, None]
            self._weights[part] = np.linalg.solve(toeplitz, covariance[:, 1:, None])[:, :, 0]
        self._next_solved[channels] *= _GROWTH
