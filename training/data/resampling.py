"""Resampling of rows to a regular time grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from agent.core.errors import UserError
from training.data.disk_array import DiskArray, empty
from training.data.read_report import MAX_EMPTY_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
    from training.data.read_report import ReadReport

__all__ = ["Forward", "Grid", "Rows", "by_channel", "resample"]

# A grid with more than this many rows per row of data, plus a constant that admits all small data, indicates a wrong
# interval. Both chosen by hand.
_MAX_DILUTION = 100
_SMALL_ROWS = 1_000_000
# Rows, evenly chosen, that determine the phase of the grid; chosen by hand.
_PHASE_ROWS = 100_000


class Forward:
    """Finds the rows that do not go back in time, block after block. A repeated time stamp is accepted."""

    def __init__(self) -> None:
        self._latest = -np.inf

    def step(self, time: Float64Array) -> tuple[BoolArray, Float64Array]:
        """Process the next block.

        Parameters
        ----------
        time
            float64[n], seconds since 1970; NaN where unreadable.

        Returns
        -------
        forward
            bool[n], False where the time is unreadable or before the latest so far.
        steps
            float64[n_forward], seconds since the accepted row before; infinite for the very first.
        """
        latest = np.fmax.accumulate(np.concatenate(([self._latest], time)))
        forward: BoolArray = time >= latest[:-1]
        taken = time[forward]
        steps = np.diff(taken, prepend=self._latest)
        self._latest = float(latest[-1])
        return forward, steps


class Rows:
    """Rows as read from the data, on disk if they are large.

    A wide row has a value for every channel; a long row has one value and the number of its channel.

    Parameters
    ----------
    width
        Values per row.
    long
        Whether each row names its channel.
    labelled
        Whether each row has a label.

    Attributes
    ----------
    columns
        For long rows: column of the grid by channel number, int64[n_channels].
    """

    def __init__(self, width: int, *, long: bool, labelled: bool) -> None:
        self.long = long
        self.labelled = labelled
        self.time = DiskArray(np.float64)
        self.steps = DiskArray(np.float32)
        self.places = DiskArray(np.int64)
        self.values = DiskArray(np.float32, width)
        self.labels = DiskArray(np.bool_)
        self.channel = DiskArray(np.int64)
        self.columns: IntArray = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.time)

    def append(
        self,
        time: Float64Array,
        steps: Float64Array,
        places: IntArray,
        values: Float32Array,
        *,
        labels: BoolArray | None = None,
        channel: IntArray | None = None,
    ) -> None:
        """Add rows.

        Parameters
        ----------
        time
            float64[n], seconds since 1970, not decreasing within a channel.
        steps
            float64[n], seconds since the previous row of the channel; infinite for its first.
        places
            int64[n], line or row number in the data.
        values
            float32[n, width], NaN where missing.
        labels
            bool[n], if the rows are labelled.
        channel
            int64[n], channel numbers, if the rows are long.
        """
        self.time.append(time)
        self.steps.append(steps)
        self.places.append(places)
        self.values.append(values)
        if labels is not None:
            self.labels.append(labels)
        if channel is not None:
            self.channel.append(channel)


@dataclass(frozen=True)
class Grid:
    """Readings on a regular grid; see `training.data.recording.Recording` for the fields."""

    interval_s: float
    time: Float64Array
    values: Float32Array
    labels: BoolArray | None


def resample(rows: Rows, n_channels: int, interval_s: float | None, findings: ReadReport, location: str) -> Grid:
    """Bring rows to a regular grid.

    Each row goes to its nearest tick. If several rows share a tick, the last valid value of each channel counts. A tick
    without a row is NaN. A gap of more than 1,000 ticks is cut to 1,000 empty rows; then the time jumps. A tick is
    anomalous if any of its rows is; a tick without a row, if the rows on both sides are.

    Parameters
    ----------
    rows
        At least one row; the time of each channel does not decrease.
    n_channels
        Columns of the grid.
    interval_s
        Seconds between ticks; None: the median difference between distinct time stamps of a channel (1 s for a
        single row).
    findings
        Receives the numbers of merged rows, filled ticks and cut gaps.
    location
        Name of the data, for errors.

    Raises
    ------
    UserError
        The interval is so short that nearly all of the grid would be empty.
    """
    interval = interval_s or _median_step(rows)
    raster = _Raster(_start(rows.time, interval), interval, rows.time)
    if raster.n_rows > _MAX_DILUTION * len(rows) + _SMALL_ROWS:
        raise UserError(
            f"an interval of {interval:g} s would make {raster.n_rows:,} rows of {len(rows):,}, nearly all empty",
            location=location,
            remedy="give a longer interval with --interval",
        )
    raster.count_gaps(rows, findings)
    if not rows.long and len(rows) == raster.n_occupied == raster.n_rows:
        labels = rows.labels.array() if rows.labelled else None
        return Grid(interval, raster.time(), rows.values.array(), labels)
    values = _spread(rows, raster, empty(raster.n_rows, n_channels), findings)
    return Grid(interval, raster.time(), values, _spread_labels(rows, raster))


def _median_step(rows: Rows) -> float:
    """Median time between the rows of a channel in seconds, rounded to the resolution of the time stamps."""
    steps = rows.steps.array()
    steps = steps[(steps > 0) & np.isfinite(steps)]
    if not steps.size:
        return 1.0
    resolution = 2 * float(np.spacing(np.abs(rows.time.array()[-1])))
    decimals = -math.ceil(math.log10(resolution))
    return round(float(f"{np.median(steps):.6g}"), decimals) or float(np.median(steps))


def _start(time: DiskArray, interval: float) -> float:
    """Time of tick 0: the first row, or shifted by the circular mean phase if most rows would lie between ticks."""
    stamps = time.array()
    first = float(stamps[0])
    some = stamps[:: -(-len(stamps) // _PHASE_ROWS)]
    mean = complex(np.exp(2j * np.pi * (some - first) / interval).mean())
    phase = float(np.angle(mean)) / (2 * np.pi)
    # A short mean vector has no phase: rows drift relative to the grid, or several rows fall into one interval.
    return first + phase * interval if abs(mean) > 0.5 and abs(phase) > 0.25 else first


class _Raster:
    """Maps ticks of time to rows of the grid, with long gaps cut.

    Parameters
    ----------
    start
        Time of tick 0 in seconds since 1970.
    interval_s
        Seconds between ticks.
    time
        Time stamps of all rows, float64.
    """

    def __init__(self, start: float, interval_s: float, time: DiskArray) -> None:
        self._start = start
        self._interval = interval_s
        distinct = _Distinct()
        for piece in time.pieces():
            distinct.add(self._ticks(piece))
        occupied = distinct.all()
        steps = np.diff(occupied)
        gaps = np.flatnonzero(steps > 1)
        cut = gaps[steps[gaps] > MAX_EMPTY_ROWS + 1]
        self._first = int(occupied[0])
        self._behind_gap = occupied[gaps[:1] + 1]
        # The first tick after each cut gap, and the cumulative number of ticks cut before it.
        self._resumed = occupied[cut + 1]
        self._left_out = np.concatenate(([0], np.cumsum(steps[cut] - 1 - MAX_EMPTY_ROWS)))
        self.n_occupied = occupied.size
        self.n_rows = int(occupied[-1]) - self._first - int(self._left_out[-1]) + 1

    def rows_of(self, time: Float64Array) -> IntArray:
        """Rows of the grid for times, int64[n]."""
        ticks = self._ticks(time)
        rows: IntArray = ticks - self._first - self._left_out[np.searchsorted(self._resumed, ticks, "right")]
        return rows

    def time(self) -> Float64Array:
        """Time of every row of the grid, float64[n_rows], seconds since 1970."""
        time = np.arange(self._first, self._first + self.n_rows, dtype=np.float64)
        if self._resumed.size:
            jumps = np.zeros(self.n_rows)
            jumps[self._resumed - self._first - self._left_out[1:]] = np.diff(self._left_out)
            time += np.cumsum(jumps)
        time *= self._interval
        time += self._start
        return time

    def count_gaps(self, rows: Rows, findings: ReadReport) -> None:
        """Count ticks without a row, and gaps that were cut."""
        if self._behind_gap.size:
            findings.add("filled", self.n_rows - self.n_occupied, self._place(rows, self._behind_gap[0]))
        if self._resumed.size:
            findings.add("breaks", self._resumed.size, self._place(rows, self._resumed[0]))

    def _ticks(self, time: Float64Array) -> IntArray:
        nearest: IntArray = np.rint((time - self._start) / self._interval).astype(np.int64)
        return nearest

    def _place(self, rows: Rows, tick: np.int64) -> int:
        """Line or row number of the first row on a tick."""
        before = 0
        for time in rows.time.pieces():
            found = self._ticks(time) == tick
            if found.any():
                return int(rows.places.array()[before + int(np.argmax(found))])
            before += len(time)
        raise AssertionError("every occupied tick has a row")


class _Distinct:
    """Set of ticks, deduplicated often enough that memory stays proportional to its size."""

    def __init__(self) -> None:
        self._known = np.empty(0, np.int64)
        self._recent: list[IntArray] = []

    def add(self, ticks: IntArray) -> None:
        self._recent.append(_distinct(ticks))
        if sum(map(len, self._recent)) > max(len(self._known), 1 << 20):
            self.all()

    def all(self) -> IntArray:
        self._known = _distinct(np.concatenate([self._known, *self._recent]))
        self._recent.clear()
        return self._known


def _distinct(ticks: IntArray) -> IntArray:
    """Sorted distinct ticks; sorts only if needed, because input is nearly always in order."""
    if (np.diff(ticks) < 0).any():
        ticks = np.sort(ticks)
    distinct: IntArray = ticks[np.diff(ticks, prepend=ticks[0] - 1) > 0]
    return distinct


def _spread(rows: Rows, raster: _Raster, values: Float32Array, findings: ReadReport) -> Float32Array:
    """Write every reading into ``values``; of readings of one channel in the same row the last one stays.

    Returns
    -------
    ``values``. Readings in the row of the channel's previous reading are counted in ``findings`` as merged.
    """
    # Row of the previous reading, by channel; of wide rows only the first entry is used.
    latest = np.full(values.shape[1], -1, np.int64)
    channels = rows.channel.pieces() if rows.long else repeat(None)
    for time, places, readings, channel in zip(
        rows.time.pieces(), rows.places.pieces(), rows.values.pieces(), channels, strict=False
    ):
        row = raster.rows_of(time)
        valid = ~np.isnan(readings)
        if channel is None:
            merged = np.diff(row, prepend=latest[0]) == 0
            latest[0] = row[-1]
            for column, good in enumerate(valid.T):
                values[row[good], column] = readings[good, column]
        else:
            merged = _merged(row, channel, latest)
            good = valid[:, 0]
            values[row[good], rows.columns[channel[good]]] = readings[good, 0]
        findings.add_rows("merged", merged, places)
    return values


def _merged(row: IntArray, channel: IntArray, latest: IntArray) -> BoolArray:
    """Mask of readings on the row of their channel's previous reading; updates ``latest``, that row by channel."""
    merged = np.zeros(row.size, np.bool_)
    for number, some in by_channel(channel):
        merged[some] = np.diff(row[some], prepend=latest[number]) == 0
        latest[number] = row[some[-1]]
    return merged


def by_channel(channel: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Yield each channel number with the indices of its rows, int64, in order."""
    order = np.argsort(channel, kind="stable")
    bounds = np.flatnonzero(np.diff(channel[order])) + 1
    for some in np.split(order, bounds) if order.size else ():
        yield int(channel[some[0]]), some


def _spread_labels(rows: Rows, raster: _Raster) -> BoolArray | None:
    """Label the ticks of anomalous rows, and the empty ticks between two consecutive ones."""
    if not rows.labelled:
        return None
    change = np.zeros(raster.n_rows + 1, np.int32)
    last_row, last_mark = 0, False
    for time, piece in zip(rows.time.pieces(), rows.labels.pieces(), strict=True):
        row, mark = np.concatenate(([last_row], raster.rows_of(time))), np.concatenate(([last_mark], piece))
        np.add.at(change, row[1:][piece], 1)
        np.add.at(change, row[1:][piece] + 1, -1)
        inside = (np.diff(row) > 1) & mark[:-1] & mark[1:]
        np.add.at(change, row[:-1][inside], 1)
        np.add.at(change, row[1:][inside], -1)
        last_row, last_mark = int(row[-1]), bool(mark[-1])
    labels: BoolArray = np.cumsum(change[:-1]) > 0
    return labels
