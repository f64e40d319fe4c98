"""A recording: readings of some channels on a regular grid of time, as every reader gives it and all else takes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float32Array, Float64Array
    from agent.core.channel import Channel

__all__ = ["Recording"]


@dataclass(frozen=True)
class Recording:
    """Readings of some channels, one row a sampling interval.

    Parameters
    ----------
    name
        What people call it: the file's name without suffix, or its path within a data set's folder.
    channels
        In the order of the columns; with unit, scale and smallest effect where the source knows them.
    interval_s
        Seconds between rows.
    time
        float64[rows], seconds since 1970, increasing. A step other than ``interval_s`` is a break: a long gap, of
        which only some empty rows were kept.
    values
        float32[rows, n_channels], NaN where there is no valid reading. May be a memory map of an unlinked file.
    labels
        bool[rows], True where something is truly wrong; None when nobody said.
    train_rows
        Rows from the start that the data set sets apart for training; None when it does not say.
    timed
        Whether ``time`` is real; a set without time stamps counts rows from 1970 on, and hours mean nothing.
    notes
        What was done on the way, a sentence each: filled, merged, skipped, labelled.
    """

    name: str
    channels: tuple[Channel, ...]
    interval_s: float
    time: Float64Array
    values: Float32Array
    labels: BoolArray | None = None
    train_rows: int | None = None
    timed: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.time)
