"""A recording: readings of some channels on a regular time grid, the result of every reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float32Array, Float64Array
    from agent.core.channel import Channel

__all__ = ["Recording"]


@dataclass(frozen=True)
class Recording:
    """Readings of some channels, one row per sampling interval.

    Parameters
    ----------
    name
        File name without suffix, or path within the folder of a data set.
    channels
        Channels in the order of the columns; with unit, scale and smallest effect if the source has them.
    interval_s
        Seconds between rows.
    time
        float64[rows], seconds since 1970, increasing. A larger step is a gap that was cut, see
        `training.data.resampling.resample`.
    values
        float32[rows, n_channels], NaN where a reading is missing. May be a memory map of an unlinked file.
    labels
        bool[rows], True where a true anomaly is labelled; None if the data has no labels.
    train_rows
        Rows from the start that the data set reserves for training; None if it does not define them.
    timed
        Whether ``time`` is real. Data without time stamps starts at 0, and hour and weekday are meaningless.
    notes
        Corrections made on reading, one sentence each: filled, merged, skipped, labelled.
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
