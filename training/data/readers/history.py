"""The agent's own recording: a folder of segments that ``history:`` in its configuration filled.

Segments with the same channels are one recording; where the agent was given other channels, another one begins.
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
    """Whether it is a folder of segments."""
    return path.is_dir() and bool(recording.segments(path))


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Give a recording for each set of channels, in the order of time.

    Raises
    ------
    UserError
        There is nothing to read, or most rows do not go forward in time.
    """
    if not recognises(path):
        raise UserError(
            "no segment of a recording here", location=str(path), remedy="name the folder that `history:` fills"
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
        raise UserError("no reading in any segment", location=str(path), remedy="let the agent run for some minutes")
    yield series.recording(path, options, damaged)


def _blocks(path: Path, damaged: list[str]) -> Iterator[RecordedBlock]:
    """Give all blocks that are whole; what is damaged is noted."""
    for segment in recording.segments(path):
        try:
            yield from recording.read(segment)
        except UserError as error:
            damaged.append(f"{segment.name}: {error.message}")


class _Series:
    """Rows of the same channels."""

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
        """Whether a block belongs to another series."""
        return (block.channels, block.interval_s) != (self._channels, self._interval_s)

    def add(self, block: RecordedBlock) -> None:
        """Take in a block."""
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
        """Bring the rows to the grid of the sampling interval."""
        if 2 * self._findings.count("unordered") > self._seen:
            raise UserError(
                f"of {self._seen:,} rows {self._findings.count('unordered'):,} have a time stamp that goes back",
                location=str(path),
                remedy="the clock of the machine was wrong; remove the segments of that time",
            )
        interval_s = options.interval_s or self._interval_s
        grid = resample(self._rows, len(self._columns), interval_s, self._findings, str(path))
        channels = tuple(self._channels[column] for column in self._columns)
        notes = (*self._findings.sentences(), *(f"{text}." for text in damaged))
        return Recording(path.name, channels, grid.interval_s, grid.time, grid.values, notes=notes)
