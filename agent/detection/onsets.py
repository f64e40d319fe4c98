"""Onsets: the first block of a channel beyond its limits, and whether the limits learn it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["Onsets"]


class OnsetsState(State):
    """Fields of `Onsets` that outlive a restart."""

    beyond: BoolArray = array("flag", CHANNEL, dtype=bool)
    new: BoolArray = array("flag", CHANNEL, dtype=bool)
    # Row from which the next onset may be learned.
    next_learned: Float64Array = array("rows", CHANNEL)


class Onsets:
    """Finds onsets and decides which of them a channel's limits learn.

    Otherwise short anomalies that recur within minutes would soon widen the limits and raise no more alerts.

    Parameters
    ----------
    n_channels
        Number of channels.
    between_rows
        Minimum rows between learned onsets.
    """

    def __init__(self, n_channels: int, between_rows: float) -> None:
        self._between_rows = between_rows
        self._state = OnsetsState(channel=n_channels)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    def follow(self, beyond: BoolArray) -> None:
        """Update with the channels whose newest blocks are beyond their limits, bool[n_channels]."""
        state = self._state
        state.new = beyond & ~state.beyond
        state.beyond = beyond

    def frozen(self, row: int, already: BoolArray) -> BoolArray:
        """Mask of onsets that the limits must not learn, bool[n_channels].

        Parameters
        ----------
        row
            Number of the present row.
        already
            bool[n_channels], channels whose limits are frozen for another reason; their onsets are ignored.
        """
        state = self._state
        new = state.new & ~already
        frozen = new & (row < state.next_learned)
        state.next_learned = np.where(new & ~frozen, row + self._between_rows, state.next_learned)
        return frozen
