"""What a user may say about data that is to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ReadOptions"]


@dataclass(frozen=True)
class ReadOptions:
    """How to read.

    Parameters
    ----------
    format
        A key of `training.data.readers.registry.REGISTRY`; None tells it from the path.
    interval_s
        Sampling interval in seconds; None takes the median difference of the time stamps.
    channels
        Patterns such as ``cpu.*`` for the channels to take; none takes all.
    labels
        A file of labelled intervals, see `training.data.labels`; it goes before labels in the data.
    label_column
        Column of labels, 0 or 1; None takes a column called ``anomaly``, ``label`` or ``is_anomaly``.
    rows
        At most so many rows of each file are read; None reads all.
    """

    format: str | None = None
    interval_s: float | None = None
    channels: tuple[str, ...] = ()
    labels: Path | None = None
    label_column: str | None = None
    rows: int | None = None
