"""The moment of the past that was most like now, and what followed then: what repeats has been there before.

A forecast by analogues (Lorenz 1969) without a search: how far the present is from what was so many blocks ago is kept
for every lag, and brought up to date with each block by one difference. The smallest of these distances is that of the
matrix profile (Yeh et al. 2016) to the left, over a window that fades instead of one that ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from agent.types import BoolArray, Float32Array, Float64Array

__all__ = ["MEMORY", "Analogue"]

#: Blocks back that are compared: a day of minutes, a week of five minutes.
MEMORY = 2048
# Blocks over which a distance is averaged; what is not older is the present itself.
_WINDOW = 32
# What followed then may have come so many blocks sooner or later.
_TOLERANCE = 4
# Before so many blocks nothing can be said to be unlike all that was.
_FEWEST = 4.0 * _WINDOW
# What is larger than this has no place in squares of single precision; squares are kept above what is slow to reckon
# with, by raising them every so many blocks.
_LARGEST, _SMALLEST = 1e15, 1e-30
_RAISED_EVERY = 128


class Analogue:
    """Holds each channel's present against its own past.

    Parameters
    ----------
    n_channels
        How many; a channel takes 16 kB.
    used
        Without, nothing is kept and nothing said.

    Examples
    --------
    >>> analogue, seen = Analogue(1), np.array([True])
    >>> for t in range(800):
    ...     analogue.follow(np.array([t % 50.0]), seen)
    >>> analogue.distance.round(3).tolist(), analogue.error.round(3).tolist()
    ([0.0], [0.0])
    >>> analogue.follow(np.array([70.0]), seen)
    >>> analogue.error.tolist(), bool(analogue.distance[0] > 3.0)
    ([21.0], True)
    """

    _SLOW: ClassVar[bool] = True

    def __init__(self, n_channels: int, *, used: bool = True) -> None:
        #: float64[n_channels], root mean square difference from the past most like it; NaN until enough is known.
        self.distance = np.full(n_channels, np.nan)
        #: float64[n_channels], of the newest block from the nearest of those that came then; NaN alike.
        self.error = np.full(n_channels, np.nan)
        self._count = np.zeros(n_channels)
        self._used = used
        if not used:
            return
        self._first = np.zeros(n_channels)
        # Values less the first, in a circle whose oldest is next; before its first a channel stood still at it.
        self._past = np.zeros((n_channels, MEMORY), np.float32)
        self._next = 0
        # Mean squares of the difference from what was `MEMORY` blocks ago, one less, ..., one.
        self._squares = np.zeros((n_channels, MEMORY), np.float32)
        self._expected = np.zeros((n_channels, 2 * _TOLERANCE + 1), np.float32)

    def follow(self, values: Float64Array, valid: BoolArray) -> None:
        """Take in the newest block means.

        Parameters
        ----------
        values
            float64[n_channels].
        valid
            bool[n_channels]; of the others nothing is said, and they stay where they are.
        """
        if not self._used:
            return
        self._first = np.where(valid & (self._count == 0), values, self._first)
        self._count += valid
        known = valid & (self._count > _FEWEST)
        value = np.clip(values - self._first, -_LARGEST, _LARGEST).astype(np.float32)
        value = np.where(valid, value, self._past[:, self._next - 1])
        error = np.abs(self._expected - value[:, None]).min(axis=1)
        self.error = np.where(known, error.astype(np.float64), np.nan)
        self._compare(value, (valid / _WINDOW).astype(np.float32))
        self._past[:, self._next] = value
        self._next = (self._next + 1) % MEMORY
        every = np.arange(value.size)
        old_enough = slice(_TOLERANCE, MEMORY - _WINDOW + 1)
        best = self._squares[:, old_enough].argmin(axis=1) + _TOLERANCE
        self.distance = np.where(known, np.sqrt(self._squares[every, best], dtype=np.float64), np.nan)
        # Places count from the oldest of the circle, which has turned by one: what was at `best` came before `around`.
        around = best[:, None] + np.arange(-_TOLERANCE, _TOLERANCE + 1)
        self._expected = self._past[every[:, None], (self._next + around) % MEMORY]

    @property
    def covered(self) -> Float64Array:
        """Share of the memory that is filled, float64[n_channels]: to be unlike a short past says little."""
        share: Float64Array = np.minimum(self._count / MEMORY, 1.0)
        return share

    def _compare(self, value: Float32Array, rate: Float32Array) -> None:
        # In two parts, since the circle is not turned.
        cut = MEMORY - self._next
        for mine, past in ((slice(cut), slice(self._next, None)), (slice(cut, None), slice(self._next))):
            squares = self._squares[:, mine]
            step = self._past[:, past] - value[:, None]
            np.square(step, out=step)
            step -= squares
            step *= rate[:, None]
            np.add(squares, step, out=squares)
        if self._next % _RAISED_EVERY == 0:
            np.maximum(self._squares, _SMALLEST, out=self._squares)
