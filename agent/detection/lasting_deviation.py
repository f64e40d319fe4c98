"""How long a deviation lasts that single readings do not show: from the other channels, or from the season."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.core.persistent_state import Record

__all__ = ["LastingDeviation"]

# A deviation begins at this strength of its error. It ends when so many errors in succession lie below this share of
# its largest. Chosen by hand.
_BEGINS, _ENDS, _CALM = 0.5, 0.5, 2


class LastingDeviationState(State):
    """Fields of a `LastingDeviation` that outlive a restart; version 2 added `calm`."""

    VERSION = 2

    # Largest error of the present deviation; 0 without one.
    largest: Float64Array = array("channel's scale", CHANNEL)
    # Newest errors in succession that were small.
    calm: IntArray = array("errors", CHANNEL, dtype=np.int64)

    @classmethod
    def migrated(cls, version: int, record: Record) -> Record:
        """See `State.migrated`."""
        return super().migrated(version, record) | {"calm": np.zeros(np.size(record.get("largest", 0.0)), np.int64)}


class LastingDeviation:
    """Follows how long a channel deviates from its relation to the others, or from its season.

    The strength of a lasting deviation falls, because its usual size is learned. The size of its error does not;
    therefore a deviation ends when two errors in succession lie below half of its largest.

    Parameters
    ----------
    n_channels
        Number of channels.
    """

    def __init__(self, n_channels: int) -> None:
        self._state = LastingDeviationState(channel=n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    @property
    def largest(self) -> Float64Array:
        """Largest error of the present deviation, float64[n_channels]; 0 without one."""
        return self._state.largest

    @property
    def lasts(self) -> BoolArray:
        """Channels that deviate, bool[n_channels]."""
        lasts: BoolArray = self._state.largest > 0.0
        return lasts

    def follow(self, error: Float64Array, strength: Float64Array) -> None:
        """Update with the newest errors.

        Parameters
        ----------
        error
            float64[n_channels] on the channels' scales, NaN where unknown.
        strength
            float64[n_channels] ≥ 0, in limits.
        """
        state = self._state
        size, known = np.abs(np.nan_to_num(error)), np.isfinite(error)
        state.largest = np.where(strength >= _BEGINS, np.maximum(state.largest, size), state.largest)
        state.calm = np.where(size < _ENDS * state.largest, state.calm + known, state.calm * ~known)
        state.largest = np.where(state.calm >= _CALM, 0.0, state.largest)

    def accept(self, which: BoolArray) -> None:
        """End the deviations of these channels, bool[n_channels]: they are normal now."""
        self._state.largest[which] = 0.0
