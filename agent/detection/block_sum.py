"""Sums of readings over blocks of equal length; all time scales compute their block means from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["BlockSum"]


class BlockSumState(State):
    """Fields of a `BlockSum` that outlive a restart."""

    row: int = number("rows so far, including skipped ones", initial=0)
    # Skipped rows short of a whole block.
    skipped: int = number("rows", initial=0)
    total: Float64Array = array("channel's scale", CHANNEL)
    present: Float64Array = array("readings", CHANNEL)


class BlockSum:
    """Sums the valid readings of the present, incomplete block.

    Parameters
    ----------
    n_channels
        Number of channels.
    rows
        Rows per block.
    phase
        Rows by which blocks end earlier; spreads the work of several groups of channels over time.
    """

    def __init__(self, n_channels: int, rows: int, phase: int = 0) -> None:
        self._rows = rows
        self._state = BlockSumState(channel=n_channels)
        self._state.row = phase

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    @property
    def row(self) -> int:
        """Rows so far, including skipped ones."""
        return self._state.row

    @property
    def total(self) -> Float64Array:
        """Sum of the valid readings, float64[n_channels]."""
        return self._state.total

    @property
    def present(self) -> Float64Array:
        """Number of the valid readings, float64[n_channels]."""
        return self._state.present

    def push(self, scaled: Float64Array, valid: BoolArray) -> bool:
        """Add a row; return whether it completes a block.

        Parameters
        ----------
        scaled
            float64[n_channels] on the channels' scales, 0 where not valid.
        valid
            bool[n_channels].
        """
        state = self._state
        state.row += 1
        state.total += scaled
        state.present += valid
        return state.row % self._rows == 0

    def clear(self) -> None:
        """Start the next block."""
        self._state.total[:] = 0.0
        self._state.present[:] = 0.0

    def skip(self, rows: int) -> tuple[int, int]:
        """Skip missed rows in whole blocks, so that the present block is still completed.

        Returns
        -------
        Number of completed blocks, before and after.
        """
        state = self._state
        blocks, state.skipped = divmod(state.skipped + rows, self._rows)
        before = state.row // self._rows
        state.row += blocks * self._rows
        return before, before + blocks
