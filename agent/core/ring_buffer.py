"""Ring buffer of the newest rows, readable as one contiguous view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import Float32Array, Float64Array, IntArray

__all__ = ["RingBuffer"]


class RingBufferState(State):
    """Fields of a `RingBuffer` that outlive a restart."""

    rows: Float32Array = array("unit of the rows pushed; each row is stored twice", CHANNEL, "row", dtype=np.float32)
    next: int = number("index of the row to be written", initial=0)


class RingBuffer:
    """The newest ``capacity`` rows of every channel.

    Rows are stored twice, ``capacity`` apart, so that the newest are always contiguous and `view` needs no copy.

    Parameters
    ----------
    n_channels, capacity
        Shape of `view`.

    Examples
    --------
    >>> ring = RingBuffer(1, 3)
    >>> for value in (1.0, 2.0, 3.0, 4.0):
    ...     ring.push(np.array([value]))
    >>> ring.view().tolist()
    [[2.0, 3.0, 4.0]]
    """

    def __init__(self, n_channels: int, capacity: int) -> None:
        self.capacity = capacity
        self._state = RingBufferState(channel=n_channels, row=2 * capacity)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget the rows of these channels, int64[m]."""
        self._state.reset(channels)

    def push(self, row: Float64Array | Float32Array) -> None:
        """Append a row, float[n_channels]; it replaces the oldest."""
        state = self._state
        state.rows[:, state.next] = row
        state.rows[:, state.next + self.capacity] = row
        state.next = (state.next + 1) % self.capacity

    def amend(self, row: Float64Array) -> None:
        """Replace the newest row, float64[n_channels]."""
        state = self._state
        newest = state.next - 1 if state.next else self.capacity - 1
        state.rows[:, newest] = row
        state.rows[:, newest + self.capacity] = row

    def view(self) -> Float32Array:
        """View of float32[n_channels, capacity], oldest row first; rows not written yet are 0."""
        state = self._state
        return state.rows[:, state.next : state.next + self.capacity]
