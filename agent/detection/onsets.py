"""Onsets: when a channel begins to be beyond its limits, and whether the limits learn from it."""

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
    # Row from which an onset is learned again.
    next_learned: Float64Array = array("rows", CHANNEL)


class Onsets:
    """Finds onsets, and limits how often a channel's limits learn from one.

    Short anomalies that recur within minutes would otherwise teach the limits their size and soon raise no alert.

    Parameters
    ----------
    n_channels
        Number of channels.
    between_rows
        Least rows from one onset that is learned to the next.
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
        """Take in where the newest blocks are beyond the limits, bool[n_channels]."""
        state = self._state
        state.new = beyond & ~state.beyond
        state.beyond = beyond

    def frozen(self, row: int, already: BoolArray) -> BoolArray:
        """Tell where the limits must not learn the newest onset, bool[n_channels].

        Parameters
        ----------
        row
            The present one.
        already
            bool[n_channels], channels whose limits are frozen anyway; their onsets do not count.
        """
        state = self._state
        new = state.new & ~already
        frozen = new & (row < state.next_learned)
        state.next_learned = np.where(new & ~frozen, row + self._between_rows, state.next_learned)
        return frozen
