"""Streaming reader of recorded CSV files, for the source ``csv``, replay and training.

The first column is the time (ISO 8601 or seconds since 1970), every other one a channel. Unusable rows and values are
counted by kind, with the line of the first; only a file that is not a table is refused.
"""

from __future__ import annotations

import csv
import re
from datetime import datetime, timezone
from functools import lru_cache
from itertools import chain, islice
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, final

import msgspec
import numpy as np

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.core.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import BinaryIO, TypeAlias

    from agent.core.arrays import Float32Array


__all__ = ["TIME_LIMIT", "CsvReader", "CsvReport", "Finding", "parse_time", "parse_value"]

#: Line number, time in seconds since 1970, all cells.
_Row: TypeAlias = tuple[int, float, list[str]]

# Bytes of a line; bounds memory for files that are not CSV. Chosen by hand.
_LINE_LIMIT = 1 << 20
# Doubles from this value on round to infinity as float32.
_FLOAT32_LIMIT = 2.0**128 - 2.0**103
#: End of the year 9999, in seconds since 1970; present-day epoch milliseconds and nanoseconds are larger.
TIME_LIMIT = 253_402_300_800.0
# Differences between time stamps whose median is the sampling interval; chosen by hand.
_DIFFERENCES = 10
# Cells that count as missing, in lower case.
_BLANK = frozenset({"", "-", "n/a", "na", "nan", "none", "null"})
# ISO 8601: date, hour, minute, second, fraction, sign and hours and minutes of the offset.
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[T ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:[.,](\d{1,9}))?)?\s?(?:Z|([+-])([01]\d|2[0-3]):?([0-5]\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def parse_time(text: str) -> float:
    """Parse a time stamp.

    Parameters
    ----------
    text
        Seconds since 1970, or ISO 8601: ``2026-05-04``, ``2026-05-04 12:30:00``, ``2026-05-04T12:30:00.5Z``,
        ``2026-05-04T12:30:00+02:00``. Without an offset it is UTC.

    Returns
    -------
    float
        Seconds since 1970; NaN if the text is neither, or beyond the year 9999.

    Examples
    --------
    >>> parse_time("2026-05-04 12:30:00") == parse_time("2026-05-04T14:30:00+02:00") == parse_time("1777897800")
    True
    """
    try:
        seconds = float(text)
    except ValueError:
        return _parse_iso(text)
    return seconds if abs(seconds) < TIME_LIMIT and "_" not in text else nan


def _parse_iso(text: str) -> float:
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return nan
    date, hour, minute, second, fraction, sign, offset_h, offset_min = match.groups()
    try:
        seconds = _midnight(date)
    except ValueError:
        return nan
    seconds += 3600 * int(hour or 0) + 60 * int(minute or 0) + int(second or 0)
    if fraction:
        seconds += float(f"0.{fraction}")
    if sign:
        offset = 3600 * int(offset_h) + 60 * int(offset_min or 0)
        seconds += offset if sign == "-" else -offset
    return seconds


@lru_cache(maxsize=8)
def _midnight(date: str) -> float:
    """Return the start of a day, in seconds since 1970; cached, as consecutive rows share the day."""
    return datetime.fromisoformat(date).replace(tzinfo=timezone.utc).timestamp()


def parse_value(cell: str) -> tuple[float, str]:
    """Parse a value and classify an unusable one.

    Parameters
    ----------
    cell
        Text in the file.

    Returns
    -------
    value
        NaN if the cell holds no number within the range of float32.
    problem
        Empty, or ``missing`` (blank, NaN, none, null, n/a, na, -), ``text`` or ``too_large`` (also infinite).

    Examples
    --------
    >>> parse_value(" 4.5"), parse_value("n/a"), parse_value("off"), parse_value("-inf")
    ((4.5, ''), (nan, 'missing'), (nan, 'text'), (nan, 'too_large'))
    """
    try:
        value = float(cell)
    except ValueError:
        return nan, "missing" if cell.strip().lower() in _BLANK else "text"
    if abs(value) < _FLOAT32_LIMIT and "_" not in cell:
        return value, ""
    return nan, "missing" if isnan(value) else "text" if "_" in cell else "too_large"


class Finding(msgspec.Struct):
    """Number of occurrences of a problem, and the line of the first, counted from 1."""

    count: int
    first_line: int


class CsvReport(msgspec.Struct):
    """Rows read from a file so far, and problems found in them.

    Parameters
    ----------
    rows
        Frames returned.
    missed_ticks
        Ticks without a row, over all gaps.
    findings
        Problems by kind. Values returned as NaN: ``missing`` (empty or NaN), ``text``, ``too_large`` (infinite or
        beyond float32). Rows skipped: ``time`` (unreadable time stamp), ``repeated`` (equal to the previous one),
        ``unordered`` (before the previous one). Others: ``fields`` (rows with a wrong number of fields), ``gaps``.
    """

    rows: int = 0
    missed_ticks: int = 0
    findings: dict[str, Finding] = {}

    def add(self, kind: str, line: int) -> None:
        """Count a problem of a kind, found in a line."""
        finding = self.findings.setdefault(kind, Finding(0, line))
        finding.count += 1

    def count(self, kind: str) -> int:
        """Return the number of problems of a kind."""
        return self.findings[kind].count if kind in self.findings else 0

    def summary(self) -> str:
        """Summarise the report in one line of text.

        Examples
        --------
        >>> report = CsvReport(rows=3)
        >>> report.add("missing", 7)
        >>> report.summary()
        '3 rows; 1 empty value (first in line 7)'
        """
        parts = [_plural(self.rows, "row", "rows")]
        parts += [
            f"{_plural(finding.count, *_WORDS[kind])} (first in line {finding.first_line})"
            for kind, finding in sorted(self.findings.items())
        ]
        return "; ".join(parts)


# Kind of problem → text for one and for several.
_WORDS = {
    "fields": ("row with a wrong number of fields", "rows with a wrong number of fields"),
    "gaps": ("gap in time", "gaps in time"),
    "missing": ("empty value", "empty values"),
    "repeated": ("row skipped: repeated time stamp", "rows skipped: repeated time stamp"),
    "text": ("value that is no number", "values that are no numbers"),
    "time": ("row skipped: unreadable time stamp", "rows skipped: unreadable time stamp"),
    "too_large": ("value too large", "values too large"),
    "unordered": ("row skipped: time going back", "rows skipped: time going back"),
}


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


@final
class CsvReader:
    """Reads a CSV file once, row by row, in bounded memory; an iterable of `Frame` and a context manager.

    ``seq`` is the tick number, counted by the time stamps, so that a gap advances it; ``mono_ns`` is the time since the
    first row in nanoseconds.

    Parameters
    ----------
    path
        The file: UTF-8, fields separated by ``,`` or ``;``, a header in the first line.
    interval_s
        Sampling interval in seconds; None takes the median of the first ten differences between rows
        (1 s for a file of one row).

    Attributes
    ----------
    delimiter
        Separator of fields: ``,`` or ``;``.
    channels
        Channels named by the header, in order.
    interval_s
        Sampling interval in seconds.
    report
        Rows and problems so far.

    Raises
    ------
    UserError
        On construction: the file cannot be read, or is not a table with a header, at least one channel and one row.
        On construction and while iterating: text other than UTF-8, a line over 1 MiB, or broken quoting.
    """

    def __init__(self, path: str | Path, interval_s: float | None = None) -> None:
        self.path = Path(path)
        self.report = CsvReport()
        self._file = _open(self.path)
        try:
            self.delimiter, names = self._header()
            self.channels: tuple[Channel, ...] = tuple(Channel(name) for name in names)
            rows = self._rows()
            head = self._head(rows, _DIFFERENCES + 1 if interval_s is None else 1)
        except BaseException:
            self.close()
            raise
        self.interval_s = interval_s or _median_difference([wall for _, wall, _ in head])
        self._frames = self._number_ticks(chain(head, rows))

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> CsvReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _number_ticks(self, rows: Iterator[_Row]) -> Iterator[Frame]:
        first = previous = nan
        seq = 0
        for line, wall, cells in rows:
            if isnan(first):
                first = wall
            else:
                ticks = max(1, round((wall - previous) / self.interval_s))
                seq += ticks
                if ticks > 1:
                    self.report.add("gaps", line)
                    self.report.missed_ticks += ticks - 1
            previous = wall
            self.report.rows += 1
            yield Frame(seq, round((wall - first) * 1e9), wall, self._values(cells, line))
        self.close()

    def _rows(self) -> Iterator[_Row]:
        """Yield line number, time in seconds since 1970 and all cells of the rows whose time increases."""
        reader = csv.reader(self._lines(2), delimiter=self.delimiter)
        previous = -TIME_LIMIT
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise UserError(
                    f"not readable as CSV: {error}",
                    location=f"{self.path}:{reader.line_num + 1}",
                    remedy="look for a quotation mark that is never closed",
                ) from error
            if cells is None:
                return
            if not cells:
                continue
            line = reader.line_num + 1
            wall = parse_time(cells[0])
            if wall > previous:
                previous = wall
                yield line, wall, cells
            else:
                self.report.add("time" if isnan(wall) else "repeated" if wall == previous else "unordered", line)

    def _values(self, cells: list[str], line: int) -> Float32Array:
        """Parse the cells after the time stamp, float32[n_channels]."""
        values = [self._value(cell, line) for cell in islice(cells, 1, len(self.channels) + 1)]
        if len(cells) != len(self.channels) + 1:
            self.report.add("fields", line)
            values.extend([nan] * (len(self.channels) - len(values)))
        return np.array(values, np.float32)

    def _value(self, cell: str, line: int) -> float:
        value, problem = parse_value(cell)
        if problem:
            self.report.add(problem, line)
        return value

    def _header(self) -> tuple[str, list[str]]:
        """Return delimiter and channel names from the first line."""
        text = next(self._lines(1), "").removeprefix("\ufeff")
        if not text.strip():
            raise UserError(
                "empty file", location=str(self.path), remedy="write a header line and at least one row into it"
            )
        try:
            by_delimiter = {delimiter: next(csv.reader([text], delimiter=delimiter)) for delimiter in ",;"}
        except csv.Error as error:
            raise UserError(
                f"not readable as CSV: {error}", location=f"{self.path}:1", remedy="correct the header line"
            ) from error
        delimiter = max(by_delimiter, key=lambda candidate: len(by_delimiter[candidate]))
        header = [name.strip() for name in by_delimiter[delimiter]]
        self._check_header(header)
        return delimiter, header[1:]

    def _check_header(self, header: list[str]) -> None:
        location = f"{self.path}:1"
        names = header[1:]
        if not names:
            raise UserError(
                f"no channel column, only {header[0]!r}",
                location=location,
                remedy="write the time into the first column and a channel into each further one, separated by , or ;",
            )
        if not isnan(parse_time(header[0])) and not any(_is_text(name) for name in names):
            raise UserError(
                "the first line holds numbers, no names",
                location=location,
                remedy="insert a header line such as timestamp,cpu.percent",
            )
        seen: set[str] = set()
        for column, name in enumerate(names, 2):
            if not name:
                raise UserError(f"column {column} has no name", location=location, remedy="name it in the header")
            if name in seen:
                raise UserError(f"two columns are called {name!r}", location=location, remedy="rename one of them")
            seen.add(name)

    def _head(self, rows: Iterator[_Row], n_rows: int) -> list[_Row]:
        """Return the first rows, at least one and at most `n_rows`."""
        head = list(islice(rows, n_rows))
        if head:
            return head
        if "time" in self.report.findings:
            raise UserError(
                "no row has a readable time stamp in its first column",
                location=f"{self.path}:{self.report.findings['time'].first_line}",
                remedy="use ISO 8601 such as 2026-05-04T12:30:00Z, or seconds (not milliseconds) since 1970",
            )
        raise UserError("only a header, no rows", location=f"{self.path}:1", remedy="record some readings first")

    def _lines(self, first: int) -> Iterator[str]:
        """Yield the file's remaining lines as text; `first` is the number of the first one, for errors."""
        number = first
        while raw := self._file.readline(_LINE_LIMIT + 1):
            location = f"{self.path}:{number}"
            if len(raw) > _LINE_LIMIT:
                raise UserError("a line of more than 1 MiB", location=location, remedy="check that this is a CSV file")
            if b"\0" in raw:
                raise UserError("not a text file", location=location, remedy="save it as CSV in UTF-8")
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                raise UserError(
                    f"not UTF-8 (byte {error.start + 1} of the line)",
                    location=location,
                    remedy="save it as CSV in UTF-8",
                ) from error
            yield text
            number += 1


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise UserError("no such file", location=str(path), remedy="check the path") from error
    except IsADirectoryError as error:
        raise UserError("a directory, not a file", location=str(path), remedy="name the CSV file in it") from error
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", location=str(path), remedy="check its permissions"
        ) from error


def _is_text(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _median_difference(walls: list[float]) -> float:
    """Median difference of increasing times, in seconds, at least 1e-6; 1.0 for a single time."""
    return max(float(np.median(np.diff(walls))), 1e-6) if len(walls) > 1 else 1.0
