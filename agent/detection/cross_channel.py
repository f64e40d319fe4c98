"""How channels go together: what the others say that a channel should be, learned on the device in closed form.

Second moments of the channels' normalised values are summed up with exponential forgetting; from the inverse of their
matrix follows for each channel the linear forecast from all others (the conditional mean of a Gaussian; Whittaker 1990,
section 5.8). A load without requests, or a sensor that moves against its neighbours, is seen though each reading by
itself is usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["CrossChannelDeviation", "CrossChannelForecast"]

_FIRST_SOLVED = 100
_GROWTH = 1.25
# Rows after which the moments have largely forgotten.
_MEMORY = 20_000.0
# Share of a channel's own moment added to it, and of the largest: the first keeps channels that nearly repeat each
# other from cancelling, the second those that hardly move from telling anything.
_RIDGE, _LEAST = 0.1, 1e-3
# Most that a normalised value counts for.
_CLIP = 6.0
# Usual sizes from which a channel is asked nothing of the others.
_FAR = 3.0
# Strength from which a channel is a stranger to the others, and share of its largest error below which it is none more.
_STRANGE = 0.5
_LASTS = 0.5


class CrossChannelForecastState(State):
    """Fields of a `CrossChannelForecast` that outlive a restart."""

    rows: int = number("rows learned", initial=0)
    next_solved: int = number("rows learned", initial=_FIRST_SOLVED)
    # Sum of the weights of the rows in the moments.
    weight: float = number("rows", initial=0.0)
    moments: Float32Array = array("squared spreads", CHANNEL, "other", dtype=np.float32)
    # From values it gives what is unexpected of them; NaN in columns of channels of which too little is known.
    unexpected: Float32Array = array("share", "other", CHANNEL, initial=np.nan, dtype=np.float32)
    # Usual size of what is unexpected.
    usual: Float64Array = array("spreads", CHANNEL, initial=1.0)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels: they mean nothing to the others, and the others say nothing of them."""
        super().reset(channels)
        self.moments[:, channels] = 0.0
        others = np.ones(len(self.unexpected), bool)
        others[channels] = False
        self.unexpected[np.ix_(channels, others)] = 0.0


class CrossChannelForecast:
    """Expects of each channel what all others tell.

    Parameters
    ----------
    n_channels
        How many; two matrices of as many rows and columns are kept.

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
        """How far each channel is from what the others tell of it; NaN before enough is known.

        One that is far off would pull what is expected of its neighbours along. So the farthest, as long as there is
        one beyond three usual sizes, stands for itself alone, and the others are asked again without it.

        Parameters
        ----------
        normalised
            float64[n_channels], of zero mean and unit size; 0 where missing.
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
        """Take in a row; channels that are not chosen count as usual."""
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


class CrossChannelDeviationState(State):
    """Fields of an `CrossChannelDeviation` that outlive a restart."""

    # The largest error so far; 0 where all is well.
    largest: Float64Array = array("channel's scale", CHANNEL)


class CrossChannelDeviation:
    """Where a channel no longer goes with the others, for as long as it does not.

    What limits learn of it makes it less strong; that its error is still large they do not change.

    Parameters
    ----------
    n_channels
        How many.
    """

    def __init__(self, n_channels: int) -> None:
        self._state = CrossChannelDeviationState(channel=n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    @property
    def lasts(self) -> BoolArray:
        """Which channels are strangers to the others, bool[n]."""
        lasts: BoolArray = self._state.largest > 0.0
        return lasts

    def follow(self, error: Float64Array, strength: Float64Array) -> None:
        """Take in the newest errors, float64[n], NaN where nothing is known, and how strongly they speak."""
        size = np.abs(np.nan_to_num(error))
        largest = np.where(strength >= _STRANGE, np.maximum(self._state.largest, size), self._state.largest)
        self._state.largest = np.where(np.isfinite(error) & (size < _LASTS * largest), 0.0, largest)

    def forgive(self, which: BoolArray) -> None:
        """Take these channels, bool[n], for what they are from now on."""
        self._state.largest[which] = 0.0


def _clipped(normalised: Float64Array) -> Float64Array:
    clipped: Float64Array = np.maximum(np.minimum(normalised, _CLIP), -_CLIP)
    return clipped
