"""A fixed memory of the newest rows, readable as one contiguous view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.types import Float32Array, Float64Array

__all__ = ["Ring"]


class Ring:
    """The newest ``capacity`` rows of every channel.

    Each row is written twice, a capacity apart, so that the newest rows always lie side by side and `view` copies
    nothing.

    Parameters
    ----------
    n_channels, capacity
        Shape of the memory.

    Examples
    --------
    >>> ring = Ring(1, 3)
    >>> for value in (1.0, 2.0, 3.0, 4.0):
    ...     ring.push(np.array([value]))
    >>> ring.view().tolist()
    [[2.0, 3.0, 4.0]]
    """

    def __init__(self, n_channels: int, capacity: int) -> None:
        self.capacity = capacity
        self._rows = np.zeros((n_channels, 2 * capacity), np.float32)
        self._next = 0

    def push(self, row: Float64Array | Float32Array) -> None:
        """Append one row, dropping the oldest when full."""
        self._rows[:, self._next] = row
        self._rows[:, self._next + self.capacity] = row
        self._next = (self._next + 1) % self.capacity

    def amend(self, row: Float64Array) -> None:
        """Put another row in the place of the newest."""
        newest = self._next - 1 if self._next else self.capacity - 1
        self._rows[:, newest] = row
        self._rows[:, newest + self.capacity] = row

    def view(self) -> Float32Array:
        """float32[n_channels, capacity], oldest first, no copy; rows never written are 0."""
        return self._rows[:, self._next : self._next + self.capacity]
