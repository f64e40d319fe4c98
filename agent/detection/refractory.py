"""Refractory time after an alarm, in which only a clearly stronger alarm of the same channel counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["Refractory"]

# An alarm counts within the refractory time if it is stronger than the last by this factor. Chosen on NAB
# (`tools.benchmark nab`).
_STRONGER = 1.25


class RefractoryState(State):
    """Fields of a `Refractory` that outlive a restart."""

    silent_until: Float64Array = array("rows", CHANNEL)
    # Strength of the alarm that began the refractory time.
    alarm: Float64Array = array("limits", CHANNEL)


class Refractory:
    """Suppresses alarms of a channel for some time after an alarm.

    Parameters
    ----------
    n_channels
        Number of channels.
    rows
        Length of the refractory time.
    """

    def __init__(self, n_channels: int, rows: int) -> None:
        self._rows = rows
        self._state = RefractoryState(channel=n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    def suppress(self, strength: Float64Array, ready: BoolArray, row: int) -> Float64Array:
        """Set the strength of channels in their refractory time to 0; any other alarm begins a new one.

        Parameters
        ----------
        strength
            float64[n_channels], in limits; 1 and more is an alarm.
        ready
            bool[n_channels], channels past their learning phase; the strength of others is set to 0.
        row
            Number of the present row.

        Returns
        -------
        Strength, float64[n_channels].
        """
        state = self._state
        counts = (row >= state.silent_until) | (strength >= _STRONGER * state.alarm)
        strength = strength * (ready & counts)
        alarm = strength >= 1.0
        state.alarm = np.where(alarm, strength, state.alarm)
        state.silent_until = np.where(alarm, row + self._rows, state.silent_until)
        return strength
