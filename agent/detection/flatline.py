"""Flat lines: channels that used to change and are now constant, at any value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number
from agent.detection.running import learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["FlatLine"]

# All constants of this file are chosen by hand.
# Memory of the share of changing readings, in seconds and in readings at least.
_SHARE_S, _SHARE_ROWS = 600.0, 60
# Share of changing readings above which a channel can have flat lines.
_LIVELY = 0.2
# Shortest flat line, in seconds and in readings at least.
_RUN_S, _RUN_ROWS = 60.0, 12
# Probability below which a run of equal readings is not due to chance.
_LOG_CHANCE = np.log(1e-6)
# Multiple of the longest earlier run, and the time in which that run's length decays to half.
_TIMES_LONGEST = 5.0
_HALF_LIFE_S = 7 * 86400.0


class FlatLineState(State):
    """Fields of a `FlatLine` that outlive a restart."""

    seen: Float64Array = array("readings", CHANNEL)
    # First value and number of readings of the present run.
    value: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    run: Float64Array = array("readings", CHANNEL)
    longest: Float64Array = array("readings", CHANNEL)
    # Share of changing readings, now and when the present run began.
    share: Float64Array = array("share of readings", CHANNEL)
    share_before: Float64Array = array("share of readings", CHANNEL)
    # Whether every channel has readings for the whole memory of the share.
    settled: bool = number("flag", initial=False, after_reset=False)
    # Upper bound of all present runs.
    most: float = number("readings", initial=0.0)


class FlatLine:
    """Compares the present run of equal values with a channel's earlier runs.

    A channel is stuck if it changed in more than a fifth of the readings in the ten minutes before the run began, and
    the run is longer than a minute, than five times the longest earlier run, whose length decays by half in a week, and
    than chance allows once in a million times. Missing readings neither end nor lengthen a run.

    Parameters
    ----------
    n_channels
        Number of channels.
    interval_s
        Seconds between rows. The ten minutes are at least 60 readings, weighted exponentially; the minute is at least
        12 readings.
    floor
        Changes up to this size count as none; a float or float64[n_channels], on the channels' scales.

    Examples
    --------
    >>> rule, all_valid = FlatLine(1, interval_s=1.0, floor=0.0), np.array([True])
    >>> lively = [rule.step(np.array([float(row % 7)]), all_valid)[0] for row in range(1000)]
    >>> stuck = [rule.step(np.array([3.0]), all_valid)[0] for row in range(90)]
    >>> bool(max(lively) < 1.0), bool(stuck[50] < 1.0), bool(stuck[-1] >= 1.0)
    (True, True, True)
    """

    def __init__(self, n_channels: int, interval_s: float, floor: Float64Array | float) -> None:
        self._floor = floor
        self._exact = isinstance(floor, float) and not floor
        self._share_rows = max(_SHARE_ROWS, _SHARE_S / interval_s)
        self._shortest = max(_RUN_ROWS, _RUN_S / interval_s)
        self._kept = 0.5 ** (interval_s / _HALF_LIFE_S)
        self._state = FlatLineState(channel=n_channels)
        #: Returned by `step` while no channel can be stuck; zeros, float64[n_channels].
        self.never = np.zeros(n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    def step(self, scaled: Float64Array, valid: BoolArray) -> Float64Array:
        """Update with a row; strength of the flat line, float64[n_channels]: stuck from 1 on, smaller values may be 0.

        Parameters
        ----------
        scaled
            float64[n_channels] on the channels' scales; ignored where not valid.
        valid
            bool[n_channels].
        """
        state = self._state
        state.seen += valid
        # Comparing with NaN gives False, so the first reading is a change.
        same = scaled == state.value if self._exact else np.abs(scaled - state.value) <= self._floor
        changed = valid & ~same
        if state.settled:
            rate = valid / self._share_rows
        else:
            rate = valid * learning_rate(state.seen, 1.0 / self._share_rows)
            state.settled = bool(state.seen.min() >= self._share_rows)
        state.share += rate * (changed - state.share)
        state.longest *= self._kept
        np.maximum(state.longest, state.run, out=state.longest, where=changed)
        np.copyto(state.share_before, state.share, where=changed)
        np.copyto(state.value, scaled, where=changed)
        state.run = np.where(changed, 1.0, state.run + valid)
        state.most += 1.0
        if state.most < self._shortest:
            return self.never
        state.most = float(state.run.max())
        if state.most < self._shortest:
            return self.never
        share = np.minimum(state.share_before, 1.0 - 1e-9)
        lively = (share > _LIVELY) & (state.seen - state.run >= self._share_rows)
        chance = _LOG_CHANCE / np.log1p(-np.maximum(share, _LIVELY))
        strength: Float64Array = (
            lively * state.run / np.maximum(np.maximum(self._shortest, chance), _TIMES_LONGEST * state.longest)
        )
        return strength

    def accept(self, which: BoolArray) -> None:
        """Accept the present runs of these channels, bool[n_channels]: they are not stuck until their value changes."""
        self._state.share_before = np.where(which, 0.0, self._state.share_before)
