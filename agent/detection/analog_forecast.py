"""The moment of the past that was most like now, and what followed then: what repeats has been there before.

A forecast by analogues (Lorenz 1969) without a search: how far the present is from what was so many blocks ago is kept
for every lag, and brought up to date with each block by one difference. The smallest of these distances is that of the
matrix profile (Yeh et al. 2016) to the left, over a window that fades instead of one that ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["MEMORY", "AnalogForecast"]

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


class AnalogForecastState(State):
    """Fields of an `AnalogForecast` that outlive a restart."""

    distance: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    error: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    count: Float64Array = array("blocks", CHANNEL)
    first: Float64Array = array("channel's scale", CHANNEL)
    # Values less the first, in a circle whose oldest is next; before its first a channel stood still at it.
    past: Float32Array = array("channel's scale", CHANNEL, "memory", dtype=np.float32)
    next: int = number("index of the block to be written", initial=0)
    # Mean squares of the difference from what was `MEMORY` blocks ago, one less, ..., one.
    squares: Float32Array = array("channel's scale, squared", CHANNEL, "memory", dtype=np.float32)
    expected: Float32Array = array("channel's scale", CHANNEL, 2 * _TOLERANCE + 1, dtype=np.float32)


class AnalogForecast:
    """Holds each channel's present against its own past.

    Parameters
    ----------
    n_channels
        How many; a channel takes 16 kB.
    used
        Without, nothing is kept and nothing said.

    Examples
    --------
    >>> analogue, seen = AnalogForecast(1), np.array([True])
    >>> for t in range(800):
    ...     analogue.follow(np.array([t % 50.0]), seen)
    >>> analogue.distance.round(3).tolist(), analogue.error.round(3).tolist()
    ([0.0], [0.0])
    >>> analogue.follow(np.array([70.0]), seen)
    >>> analogue.error.tolist(), bool(analogue.distance[0] > 3.0)
    ([21.0], True)
    """

    def __init__(self, n_channels: int, *, used: bool = True) -> None:
        self._used = used
        self._state = AnalogForecastState(channel=n_channels, memory=MEMORY if used else 0)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        if self._used:
            yield Part("", self._state, large=True)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    @property
    def distance(self) -> Float64Array:
        """Root mean square difference from the past most like it, float64[n_channels]; NaN until enough is known."""
        return self._state.distance

    @property
    def error(self) -> Float64Array:
        """Of the newest block, from the nearest of those that came then, float64[n_channels]; NaN alike."""
        return self._state.error

    def follow(self, values: Float64Array, valid: BoolArray) -> None:
        """Take in the newest block means.

        Parameters
        ----------
        values
            float64[n_channels].
        valid
            bool[n_channels]; of the others nothing is said, and they stay where they are.
        """
        state = self._state
        if not self._used:
            return
        state.first = np.where(valid & (state.count == 0), values, state.first)
        state.count += valid
        known = valid & (state.count > _FEWEST)
        value = np.clip(values - state.first, -_LARGEST, _LARGEST).astype(np.float32)
        value = np.where(valid, value, state.past[:, state.next - 1])
        error = np.abs(state.expected - value[:, None]).min(axis=1)
        state.error = np.where(known, error.astype(np.float64), np.nan)
        self._compare(value, (valid / _WINDOW).astype(np.float32))
        state.past[:, state.next] = value
        state.next = (state.next + 1) % MEMORY
        every = np.arange(value.size)
        old_enough = slice(_TOLERANCE, MEMORY - _WINDOW + 1)
        best = state.squares[:, old_enough].argmin(axis=1) + _TOLERANCE
        state.distance = np.where(known, np.sqrt(state.squares[every, best], dtype=np.float64), np.nan)
        # Places count from the oldest of the circle, which has turned by one: what was at `best` came before `around`.
        around = best[:, None] + np.arange(-_TOLERANCE, _TOLERANCE + 1)
        state.expected = state.past[every[:, None], (state.next + around) % MEMORY]

    @property
    def covered(self) -> Float64Array:
        """Share of the memory that is filled, float64[n_channels]: to be unlike a short past says little."""
        share: Float64Array = np.minimum(self._state.count / MEMORY, 1.0)
        return share

    def _compare(self, value: Float32Array, rate: Float32Array) -> None:
        state = self._state
        # In two parts, since the circle is not turned.
        cut = MEMORY - state.next
        for mine, past in ((slice(cut), slice(state.next, None)), (slice(cut, None), slice(state.next))):
            squares = state.squares[:, mine]
            step = state.past[:, past] - value[:, None]
            np.square(step, out=step)
            step -= squares
            step *= rate[:, None]
            np.add(squares, step, out=squares)
        if state.next % _RAISED_EVERY == 0:
            np.maximum(state.squares, _SMALLEST, out=state.squares)
