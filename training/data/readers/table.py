"""Conversion of a table with a time column (CSV, Parquet) to a recording, block by block.

A wide table has one column per channel. A long table has the columns time, ``channel`` and ``value``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agent.core.channel import Channel
from agent.core.errors import UserError
from training.data.read_report import ReadReport
from training.data.readers.cells import LOCAL, PROBLEMS, ZONED, marks, numbers, times
from training.data.readers.channels import nearest, selected, selects
from training.data.recording import Recording
from training.data.resampling import Forward, Rows, by_channel, resample

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from training.data.readers.options import ReadOptions

__all__ = ["LABEL_COLUMNS", "RowBlock", "Table", "leading_rows", "recording"]

#: Names of columns that are labels unless `ReadOptions.label_column` names another.
LABEL_COLUMNS = ("anomaly", "label", "is_anomaly")

_LONG = ["channel", "value"]
_MAX_CHANNELS = 10_000  # more names in a long table indicate a wrong column; chosen by hand


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows of a table.

    Parameters
    ----------
    places
        Line or row numbers, int64[n].
    time
        Cells of the time column.
    columns
        Cells of the requested columns, in the requested order.
    """

    places: IntArray
    time: pa.Array
    columns: tuple[pa.Array, ...]

    def only(self, rows: IntArray) -> RowBlock:
        """The rows with the given indices, int64[n]."""
        which = pa.array(rows)
        return RowBlock(self.places[rows], self.time.take(which), tuple(cells.take(which) for cells in self.columns))


class Table(Protocol):
    """An open table of some file format."""

    @property
    def path(self) -> Path:
        """Path of the file."""

    @property
    def unit(self) -> str:
        """Unit of positions in errors and notes: ``line`` or ``row``."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, without the time column."""

    def blocks(self, columns: Sequence[str], findings: ReadReport) -> Iterator[RowBlock]:
        """Yield the rows in order, with the named columns."""


def recording(table: Table, options: ReadOptions, name: str, *, ignored: Collection[str] = ()) -> Recording:
    """Read a table as a recording on a regular grid.

    Parameters
    ----------
    table
        The open table.
    options
        Channels, label column, interval and number of rows.
    name
        Name of the recording.
    ignored
        Names of columns that are neither channel nor label.

    Raises
    ------
    UserError
        The table has no rows or channels, a requested column is missing, a label is neither 0 nor 1, time stamps with
        and without offset are mixed, or most time stamps are unreadable or go back.
    """
    label = _label_column(table, options)
    names = [column for column in table.names if column != label and column not in ignored]
    kind = _Long if [column.lower() for column in names] == _LONG else _Wide
    reading = kind(table, options, names, label)
    channels, rows = reading.read()
    grid = resample(rows, len(channels), options.interval_s, reading.findings, str(table.path))
    notes = reading.findings.sentences()
    if label is not None and options.label_column is None:
        notes = (f"Column {label!r} holds the labels.", *notes)
    return Recording(
        name, tuple(map(Channel, channels)), grid.interval_s, grid.time, grid.values, grid.labels, notes=notes
    )


def leading_rows(read: Recording, readings: int) -> int:
    """Number of leading grid rows that hold the first ``readings`` rows with any reading."""
    filled = np.flatnonzero(~np.isnan(read.values).all(axis=1))
    return int(filled[readings - 1]) + 1 if 0 < readings <= filled.size else min(readings, read.rows)


def _label_column(table: Table, options: ReadOptions) -> str | None:
    wanted = options.label_column
    if wanted is None:
        return next((name for name in LABEL_COLUMNS if name in table.names), None)
    if wanted not in table.names:
        raise UserError(
            f"there is no label column {wanted!r}", location=str(table.path), remedy=nearest(wanted, table.names)
        )
    return wanted


class _Reading:
    """One pass over a table.

    Parameters
    ----------
    table, options
        See `recording`.
    names
        Columns other than time and labels.
    label
        Name of the label column, or None.
    """

    def __init__(self, table: Table, options: ReadOptions, names: list[str], label: str | None) -> None:
        self.findings = ReadReport(table.unit)
        self._table = table
        self._options = options
        self._names = names
        self._label = label
        self._seen = 0
        self._first_of_zone: dict[int, int] = {}

    def _blocks(self, columns: list[str]) -> Iterator[RowBlock]:
        """Yield blocks of these columns, with the label column appended, up to the requested number of rows."""
        limit = self._options.rows
        if self._label is not None:
            columns = [*columns, self._label]
        for whole in self._table.blocks(columns, self.findings):
            block = whole
            if limit is not None and self._seen + len(whole.places) > limit:
                block = whole.only(np.arange(limit - self._seen))
            self._seen += len(block.places)
            if len(block.places):
                yield block
            if self._seen == limit:
                return

    def _time(self, block: RowBlock) -> Float64Array:
        try:
            time, zones = times(block.time)
        except TypeError as error:
            raise UserError(
                f"the time column has the type {error}",
                location=str(self._table.path),
                remedy="write time stamps, ISO 8601 texts or seconds since 1970",
            ) from error
        for zone in (LOCAL, ZONED):
            if (zones == zone).any():
                self._first_of_zone.setdefault(zone, int(block.places[np.argmax(zones == zone)]))
        if len(self._first_of_zone) == 2:
            unit = self.findings.unit
            raise UserError(
                f"some time stamps have an offset (first in {unit} {self._first_of_zone[ZONED]}), others do not "
                f"(first in {unit} {self._first_of_zone[LOCAL]})",
                location=f"{self._table.path}:{max(self._first_of_zone.values())}",
                remedy="write all time stamps with an offset such as Z or +02:00, or all without",
            )
        return time

    def _count_skipped(self, block: RowBlock, time: Float64Array, skipped: BoolArray) -> None:
        unreadable = np.isnan(time)
        self.findings.add_rows("time", skipped & unreadable, block.places)
        self.findings.add_rows("unordered", skipped & ~unreadable, block.places)

    def _values(self, channel: str, cells: pa.Array, places: IntArray) -> Float64Array:
        try:
            values, problems = numbers(cells)
        except TypeError as error:
            raise UserError(
                f"column {channel!r} has the type {error} instead of numbers",
                location=str(self._table.path),
                remedy="choose other channels with --channels",
            ) from error
        if problems.any():
            for code, problem in enumerate(PROBLEMS[1:], 1):
                self.findings.add_rows(problem, problems == code, places)
        return values

    def _marks(self, block: RowBlock) -> BoolArray | None:
        """Labels of the rows, False where missing; None if the table has no label column."""
        if self._label is None:
            return None
        labels, problems = marks(block.columns[-1])
        wrong = problems > PROBLEMS.index("missing")
        if wrong.any():
            at = int(np.argmax(wrong))
            raise UserError(
                f"label {block.columns[-1][at].as_py()!r} in column {self._label!r} is neither 0 nor 1",
                location=f"{self._table.path}:{block.places[at]}",
                remedy="name the right column with --label-column, or rename this one",
            )
        self.findings.add_rows("unlabelled", problems > 0, block.places)
        return labels

    def _check(self, rows: Rows) -> None:
        """Refuse a table in which most time stamps are unusable."""
        if not len(rows):
            raise UserError(
                "no row has a readable time stamp in its first column" if self._seen else "the table has no rows",
                location=str(self._table.path),
                remedy="write ISO 8601 such as 2026-05-04T12:30:00Z, or seconds (not milliseconds) since 1970",
            )
        for kind in ("time", "unordered"):
            if 2 * self.findings.count(kind) > self._seen:
                raise UserError(
                    f"{self.findings.count(kind):,} of {self._seen:,} rows have a time stamp that "
                    + ("cannot be read" if kind == "time" else "goes back"),
                    location=f"{self._table.path}:{self.findings.first(kind)}",
                    remedy="sort the rows by time, and check the first column",
                )


class _Wide(_Reading):
    """Pass over a wide table: one column per channel."""

    def read(self) -> tuple[list[str], Rows]:
        channels = selected(self._names, self._options.channels, str(self._table.path))
        if not channels:
            raise UserError(
                "there is no channel besides time and labels",
                location=str(self._table.path),
                remedy="add a column per channel after the time column",
            )
        rows = Rows(len(channels), long=False, labelled=self._label is not None)
        forward = Forward()
        for whole in self._blocks(channels):
            time = self._time(whole)
            taken, steps = forward.step(time)
            self._count_skipped(whole, time, ~taken)
            block = whole if taken.all() else whole.only(np.flatnonzero(taken))
            values = np.empty((len(block.places), len(channels)), np.float32)
            for column, channel in enumerate(channels):
                values[:, column] = self._values(channel, block.columns[column], block.places)
            rows.append(time[taken], steps, block.places, values, labels=self._marks(block))
        self._check(rows)
        return channels, rows


class _Long(_Reading):
    """Pass over a long table: one row per reading."""

    def read(self) -> tuple[list[str], Rows]:
        known: dict[str, int] = {}  # channel numbers in order of appearance; -1: not requested
        forward: list[Forward] = []
        rows = Rows(1, long=True, labelled=self._label is not None)
        for whole in self._blocks(self._names):
            channel = self._channel(whole, known)
            forward.extend(Forward() for _ in range(_wanted(known) - len(forward)))
            time = self._time(whole)
            taken, steps = np.zeros(time.size, np.bool_), np.empty(time.size)
            for number, some in by_channel(channel):
                if number >= 0:
                    accepted, step = forward[number].step(time[some])
                    taken[some] = accepted
                    steps[some[accepted]] = step
            self._count_skipped(whole, time, ~taken & (channel >= 0))
            block = whole.only(np.flatnonzero(taken))
            values = self._values(self._names[1], block.columns[1], block.places).astype(np.float32)
            rows.append(
                time[taken],
                steps[taken],
                block.places,
                values[:, None],
                labels=self._marks(block),
                channel=channel[taken],
            )
        channels = sorted(selected(list(known), self._options.channels, str(self._table.path)))
        self._check(rows)
        rows.columns = np.array([channels.index(name) for name, number in known.items() if number >= 0])
        return channels, rows

    def _channel(self, block: RowBlock, known: dict[str, int]) -> IntArray:
        """Number of each row's channel, int64[n]."""
        encoded = pc.utf8_trim_whitespace(pc.cast(block.columns[0], pa.string())).dictionary_encode()
        names = encoded.dictionary.to_pylist()
        for name in names:
            if name and name not in known:
                known[name] = _wanted(known) if selects(self._options.channels, name) else -1
        if len(known) > _MAX_CHANNELS:
            raise UserError(
                f"more than {_MAX_CHANNELS:,} different names in column {self._names[0]!r}",
                location=str(self._table.path),
                remedy="check the file: a long table has the columns time, channel and value",
            )
        index = encoded.indices.fill_null(len(names)).to_numpy()
        channel: IntArray = np.array([known.get(name, -1) for name in [*names, ""]])[index]
        nameless = np.array([not name for name in [*names, ""]])[index]
        self.findings.add_rows("nameless", nameless, block.places)
        return channel


def _wanted(known: dict[str, int]) -> int:
    """Number of requested channels."""
    return max(known.values(), default=-1) + 1
