"""Reader of the agent's own recordings: the folder that ``history:`` in its configuration fills with segment files.

Consecutive blocks with the same channels and interval form one recording.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.errors import UserError
from agent.sampling import recording
from training.data.read_report import ReadReport
from training.data.readers.channels import selected
from training.data.recording import Recording
from training.data.resampling import Forward, Rows, resample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.sampling.recording import RecordedBlock
    from training.data.readers.options import ReadOptions

__all__ = ["read", "recognises"]


def recognises(path: Path) -> bool:
    """Whether the path is a folder with segments."""
    return path.is_dir() and bool(recording.segments(path))


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Yield one recording for each run of blocks with the same channels and interval, in order of time.

    Raises
    ------
    UserError
        The folder has no segments or no readings, or most time stamps go back.
    """
    if not recognises(path):
        raise UserError(
            "the folder has no segments of a recording",
            location=str(path),
            remedy="name the folder that `history:` fills",
        )
    series: _Series | None = None
    damaged: list[str] = []
    for block in _blocks(path, damaged):
        if series is not None and series.differs(block):
            yield series.recording(path, options, damaged)
            series = None
        if series is None:
            series = _Series(block, options, path)
        series.add(block)
    if series is None:
        raise UserError(
            "the segments hold no readings", location=str(path), remedy="let the agent run for some minutes"
        )
    yield series.recording(path, options, damaged)


def _blocks(path: Path, damaged: list[str]) -> Iterator[RecordedBlock]:
    """Yield all intact blocks; add a text to ``damaged`` for each damaged segment."""
    for segment in recording.segments(path):
        try:
            yield from recording.read(segment)
        except UserError as error:
            damaged.append(f"{segment.name}: {error.message}")


class _Series:
    """Collects the rows of one recording."""

    def __init__(self, block: RecordedBlock, options: ReadOptions, path: Path) -> None:
        names = [channel.name for channel in block.channels]
        chosen = selected(names, options.channels, str(path))
        self._channels = block.channels
        self._interval_s = block.interval_s
        self._columns = [names.index(name) for name in chosen]
        self._rows = Rows(len(chosen), long=False, labelled=False)
        self._forward = Forward()
        self._findings = ReadReport("row")
        self._seen = 0
        self._limit = options.rows

    def differs(self, block: RecordedBlock) -> bool:
        """Whether the channels or the interval of a block differ, so that another recording begins."""
        return (block.channels, block.interval_s) != (self._channels, self._interval_s)

    def add(self, block: RecordedBlock) -> None:
        """Append the rows of a block."""
        left = len(block.wall) if self._limit is None else max(0, self._limit - self._seen)
        wall, values = block.wall[:left], block.values[:left][:, self._columns]
        places = np.arange(self._seen + 1, self._seen + 1 + len(wall))
        self._seen += len(wall)
        if not len(wall):
            return
        forward, steps = self._forward.step(wall)
        self._findings.add_rows("unordered", ~forward, places)
        missing = np.isnan(values)
        if missing.any():
            self._findings.add("missing", int(missing.sum()), int(places[np.argmax(missing.any(axis=1))]))
        self._rows.append(wall[forward], steps, places[forward], values[forward])

    def recording(self, path: Path, options: ReadOptions, damaged: list[str]) -> Recording:
        """Resample the rows to a regular grid."""
        if 2 * self._findings.count("unordered") > self._seen:
            raise UserError(
                f"{self._findings.count('unordered'):,} of {self._seen:,} rows have a time stamp that goes back",
                location=str(path),
                remedy="the clock of the device was probably wrong; remove the segments of that time",
            )
        interval_s = options.interval_s or self._interval_s
        grid = resample(self._rows, len(self._columns), interval_s, self._findings, str(path))
        channels = tuple(self._channels[column] for column in self._columns)
        notes = (*self._findings.sentences(), *(f"{text}." for text in damaged))
        return Recording(path.name, channels, grid.interval_s, grid.time, grid.values, notes=notes)
