"""Options for reading data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ReadOptions"]


@dataclass(frozen=True)
class ReadOptions:
    """How to read data.

    Parameters
    ----------
    format
        A key of `training.data.readers.registry.REGISTRY`; None: detect it from the path.
    interval_s
        Sampling interval in seconds; None: the median difference of the time stamps.
    channels
        Patterns of the channels to take, such as ``cpu.*``; empty: all.
    labels
        File of labelled intervals, see `training.data.labels`; it replaces labels in the data.
    label_column
        Name of the column of labels, 0 or 1; None: ``anomaly``, ``label`` or ``is_anomaly``, if present.
    rows
        Largest number of rows to read from each file; None: all.
    """

    format: str | None = None
    interval_s: float | None = None
    channels: tuple[str, ...] = ()
    labels: Path | None = None
    label_column: str | None = None
    rows: int | None = None
