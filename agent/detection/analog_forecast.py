"""Analog forecast: the values that followed the most similar moment of the past (Lorenz 1969).

No search is needed. The distance between the present and the past at every lag is stored, and each block updates it by
one difference. The smallest distance is that of a left matrix profile (Yeh et al. 2016), over a window that fades
exponentially instead of ending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["MEMORY", "AnalogForecast"]

#: Blocks remembered: a day of one-minute blocks, a week of five-minute blocks. Memory and window are a compromise
#: between SKAB, SMD, AIOps and UCR (`tools.benchmark skab`, `smd`, `aiops`, `ucr`).
MEMORY = 2048
# Time constant of the fading window, blocks. Smaller lags overlap with the present.
_WINDOW = 32
# Blocks by which the analog may run early or late. Chosen by hand.
_TOLERANCE = 4
# Blocks before distance and error are given. Chosen by hand.
_FEWEST = 4.0 * _WINDOW
# Bounds in float32: squares of values up to `_LARGEST` do not overflow. Mean squares are raised to `_SMALLEST` every
# `_RAISED_EVERY` blocks, because arithmetic with denormal numbers is slow.
_LARGEST, _SMALLEST = 1e15, 1e-30
_RAISED_EVERY = 128


class AnalogForecastState(State):
    """Fields of an `AnalogForecast` that outlive a restart."""

    distance: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    error: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    count: Float64Array = array("blocks", CHANNEL)
    first: Float64Array = array("channel's scale", CHANNEL)
    # Circular buffer of values less the first value; `next` is the oldest. Entries before the first value are 0.
    past: Float32Array = array("channel's scale", CHANNEL, "memory", dtype=np.float32)
    next: int = number("index of the block to be written", initial=0)
    # Mean squared difference between the present and the past at the lags `MEMORY`, `MEMORY` - 1, …, 1.
    squares: Float32Array = array("channel's scale, squared", CHANNEL, "memory", dtype=np.float32)
    expected: Float32Array = array("channel's scale", CHANNEL, 2 * _TOLERANCE + 1, dtype=np.float32)


class AnalogForecast:
    """Compares each channel's newest blocks with its own past.

    Parameters
    ----------
    n_channels
        Number of channels; each takes 16 kB.
    used
        False disables the forecast and takes no memory; `distance` and `error` stay NaN.

    Examples
    --------
    >>> analog, valid = AnalogForecast(1), np.array([True])
    >>> for t in range(800):
    ...     analog.follow(np.array([t % 50.0]), valid)
    >>> analog.distance.round(3).tolist(), analog.error.round(3).tolist()
    ([0.0], [0.0])
    >>> analog.follow(np.array([70.0]), valid)
    >>> analog.error.tolist(), bool(analog.distance[0] > 3.0)
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
        """RMS difference from the most similar past, float64[n_channels]; NaN for the first 128 blocks."""
        return self._state.distance

    @property
    def error(self) -> Float64Array:
        """Difference of the newest block from the nearest of nine predicted ones, float64[n_channels] ≥ 0, or NaN."""
        return self._state.error

    def follow(self, values: Float64Array, valid: BoolArray) -> None:
        """Compare the newest block means with the forecast, then update the distances.

        Parameters
        ----------
        values
            float64[n_channels] on the channels' scales.
        valid
            bool[n_channels]; other channels keep their last value and get NaN as distance and error.
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
        # `best` counts from the oldest entry. The buffer has just advanced by one, so `around` are the blocks after it.
        around = best[:, None] + np.arange(-_TOLERANCE, _TOLERANCE + 1)
        state.expected = state.past[every[:, None], (state.next + around) % MEMORY]

    @property
    def covered(self) -> Float64Array:
        """Filled share of the memory, float64[n_channels] in 0..1; distances from a short past mean little."""
        share: Float64Array = np.minimum(self._state.count / MEMORY, 1.0)
        return share

    def _compare(self, value: Float32Array, rate: Float32Array) -> None:
        state = self._state
        # In two parts, because the circular buffer is not rotated.
        cut = MEMORY - state.next
        for lags, past in ((slice(cut), slice(state.next, None)), (slice(cut, None), slice(state.next))):
            squares = state.squares[:, lags]
            step = state.past[:, past] - value[:, None]
            np.square(step, out=step)
            step -= squares
            step *= rate[:, None]
            np.add(squares, step, out=squares)
        if state.next % _RAISED_EVERY == 0:
            np.maximum(state.squares, _SMALLEST, out=state.squares)
