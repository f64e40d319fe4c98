"""The refractory time after an alarm, in which a channel raises no other unless it is clearly stronger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["Refractory"]

# A stronger alarm breaks the silence from so many times the strength of the alarm before. Chosen on NAB.
_BREAKS_SILENCE = 1.25


class RefractoryState(State):
    """Fields of a `Refractory` that outlive a restart."""

    silent_until: Float64Array = array("rows", CHANNEL)
    # Strength of the alarm that began the silence.
    alarm: Float64Array = array("limits", CHANNEL)


class Refractory:
    """Silences channels after an alarm.

    Parameters
    ----------
    n_channels
        Number of channels.
    rows
        Length of the silence.
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

    def heard(self, strength: Float64Array, ready: BoolArray, row: int) -> Float64Array:
        """Set the strength of silenced channels to 0; an alarm that is heard begins a new silence.

        Parameters
        ----------
        strength
            float64[n_channels], an alarm from 1 on.
        ready
            bool[n_channels]; other channels are silent in any case.
        row
            The present one.

        Returns
        -------
        float64[n_channels].
        """
        state = self._state
        audible = (row >= state.silent_until) | (strength >= _BREAKS_SILENCE * state.alarm)
        strength = strength * (ready & audible)
        alarm = strength >= 1.0
        state.alarm = np.where(alarm, strength, state.alarm)
        state.silent_until = np.where(alarm, row + self._rows, state.silent_until)
        return strength
