"""Relations between channels: a linear forecast of each channel from all others, learned in closed form.

Second moments of the normalised values are summed with exponential forgetting. The inverse of their matrix gives the
linear forecast of each channel from all others (conditional mean of a Gaussian; Whittaker 1990, section 5.8). It
detects load without requests, or a sensor that moves against its neighbours, although each reading by itself is usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["CrossChannelForecast"]

# All constants of this file are chosen by hand.
# Rows before the first solution, and growth of the number of rows learned before the next.
_FIRST_SOLVED = 100
_GROWTH = 1.25
# Time constant of exponential forgetting, rows.
_MEMORY = 20_000.0
# Added to the diagonal of the moments: a share of the channel's own moment, against nearly identical channels, and a
# share of the largest moment, so that nearly constant channels predict nothing.
_RIDGE, _LEAST = 0.1, 1e-3
# Clipping of normalised values, spreads.
_CLIP = 6.0
# A channel whose residual exceeds this is not used to forecast the others, usual residuals.
_FAR = 3.0


class CrossChannelForecastState(State):
    """Fields of a `CrossChannelForecast` that outlive a restart."""

    rows: int = number("rows learned", initial=0)
    next_solved: int = number("rows learned at which to solve next", initial=_FIRST_SOLVED)
    # Sum of the weights of all rows in `moments`.
    weight: float = number("rows", initial=0.0)
    moments: Float32Array = array("squared spreads", CHANNEL, "other", dtype=np.float32)
    # Matrix that maps normalised values to residuals; columns of channels without a forecast are NaN.
    unexpected: Float32Array = array("share", "other", CHANNEL, initial=np.nan, dtype=np.float32)
    # Standard deviation of the residuals.
    usual: Float64Array = array("spreads", CHANNEL, initial=1.0)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels: no forecast of them, and no influence on the forecasts of others."""
        super().reset(channels)
        self.moments[:, channels] = 0.0
        others = np.ones(len(self.unexpected), bool)
        others[channels] = False
        self.unexpected[np.ix_(channels, others)] = 0.0


class CrossChannelForecast:
    """Forecasts each channel from all others.

    Parameters
    ----------
    n_channels
        Number of channels; memory grows with its square.

    Examples
    --------
    >>> relation, rng, both = CrossChannelForecast(2), np.random.default_rng(0), np.array([True, True])
    >>> for common in rng.normal(size=500):
    ...     relation.learn(np.array([common, -common]) + rng.normal(scale=0.1, size=2), both)
    >>> bool(relation.unexpected(np.array([1.0, 1.0]))[1] > 1.8)
    True
    """

    def __init__(self, n_channels: int) -> None:
        self._state = CrossChannelForecastState(channel=n_channels, other=n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state, large=True)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    def unexpected(self, normalised: Float64Array) -> Float64Array:
        """Residual of each channel: its value less its forecast from the others, float64[n_channels] in spreads.

        NaN before the first solution. A faulty channel would distort the forecasts of its neighbours. Therefore the
        channel with the largest residual, while beyond three usual residuals, is left out of the forecasts of the
        others, at most for half of the channels.

        Parameters
        ----------
        normalised
            float64[n_channels], zero mean and unit spread; 0 where missing.
        """
        unexpected: Float64Array = _clipped(normalised) @ self._state.unexpected
        found: Float64Array = unexpected.copy()
        relative = np.abs(np.nan_to_num(unexpected)) / self._state.usual
        for _ in range(normalised.size // 2):
            farthest = int(relative.argmax())
            if relative[farthest] <= _FAR:
                break
            unexpected = unexpected - unexpected[farthest] * self._state.unexpected[farthest]
            others = relative >= 0.0
            others[farthest] = False
            relative = np.where(others, np.abs(np.nan_to_num(unexpected)) / self._state.usual, -1.0)
            found = np.where(others, unexpected, found)
        return found

    def learn(self, normalised: Float64Array, which: BoolArray) -> None:
        """Add a row, float64[n_channels]; channels not in ``which``, bool[n_channels], count as at their mean."""
        row = (_clipped(normalised) * which).astype(np.float32)
        kept = 1.0 - 1.0 / _MEMORY
        self._state.weight = kept * self._state.weight + 1.0
        self._state.moments *= np.float32(kept)
        self._state.moments += np.outer(row, row)
        self._state.rows += 1
        if self._state.rows >= self._state.next_solved:
            self._solve()

    def _solve(self) -> None:
        moments = self._state.moments.astype(np.float64)
        own = np.diagonal(moments)
        moments += np.diag(_RIDGE * own + _LEAST * max(float(own.max()), 1.0))
        precision = np.linalg.inv(moments)
        self._state.unexpected = (precision / np.diagonal(precision)).astype(np.float32)
        self._state.usual = 1.0 / np.sqrt(self._state.weight * np.diagonal(precision))
        self._state.next_solved = round(min(_GROWTH * self._state.rows, self._state.rows + _MEMORY / 10)) + 1


def _clipped(normalised: Float64Array) -> Float64Array:
    clipped: Float64Array = np.maximum(np.minimum(normalised, _CLIP), -_CLIP)
    return clipped
