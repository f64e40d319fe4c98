"""Flat-lines: a channel that used to change and is stuck, at whatever value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["FlatLine"]

_SHARE_S, _SHARE_ROWS = 600.0, 60
_LIVELY = 0.2
_RUN_S, _RUN_ROWS = 60.0, 12
# A run is no chance that a channel which changes as often as this one has with less than this probability.
_LOG_CHANCE = np.log(1e-6)
_TIMES_LONGEST = 5.0
_HALF_LIFE_S = 7 * 86400.0


class FlatLineState(State):
    """Fields of a `FlatLine` that outlive a restart."""

    seen: Float64Array = array("readings", CHANNEL)
    # The value that the present run began with, and the run's readings.
    value: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    run: Float64Array = array("readings", CHANNEL)
    longest: Float64Array = array("readings", CHANNEL)
    # Share of changes until now, and as it was when the present run began.
    share: Float64Array = array("share of readings", CHANNEL)
    share_before: Float64Array = array("share of readings", CHANNEL)
    # Whether every channel has so many readings that the share of changes is that of the ten minutes.
    settled: bool = number("flag", initial=False, after_reset=False)
    # No run is longer than this.
    most: float = number("readings", initial=0.0)


class FlatLine:
    """Holds the present run of equal values against what runs a channel is used to.

    A channel is stuck when it changed in more than a fifth of the readings of the ten minutes before the run began, and
    the run is longer than a minute, than five times the longest run before, which is forgotten by half in a week, and
    than chance would have it once in a million times. Missing readings neither end a run nor lengthen it.

    Parameters
    ----------
    n_channels
        How many.
    interval_s
        Seconds between rows. The ten minutes are at least 60 readings and weighted exponentially, the minute at least
        12.
    floor
        Changes no larger count as none: a float, or float64[n_channels], on the scale of the values.

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
        #: What is given where nothing is stuck.
        self.never = np.zeros(n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    def step(self, scaled: Float64Array, valid: BoolArray) -> Float64Array:
        """Take in a row; give the strength of the rule, float64[n_channels]: 1 and more is stuck, 0 may stand for less.

        Parameters
        ----------
        scaled
            float64[n_channels], meaningless where not valid.
        valid
            bool[n_channels].
        """
        state = self._state
        state.seen += valid
        # A comparison with NaN is False: the first reading is a change.
        same = scaled == state.value if self._exact else np.abs(scaled - state.value) <= self._floor
        changed = valid & ~same
        if state.settled:
            rate = valid / self._share_rows
        else:
            rate = valid / np.minimum(np.maximum(state.seen, 1.0), self._share_rows)
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
