"""Labelled intervals from a file, and the rows they cover.

A file of labels is one of

* JSON, a list of ``[begin, end]`` or of ``{"begin": …, "end": …}``;
* JSON, ``{"intervals": [such a list]}``, as `python -m training simulate` writes it;
* JSON, an object that names a recording's file for each such list, as NAB's ``combined_windows.json``;
* CSV with columns ``begin`` and ``end``.

Both ends belong to the interval. They are ISO 8601 or seconds since 1970; of a recording without times, row numbers
from 0.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from math import isfinite, nan
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from agent.core.errors import UserError
from agent.sources.csv_reader import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.core.arrays import BoolArray, Float64Array
    from training.data.recording import Recording

__all__ = ["Interval", "apply", "moment", "read_intervals"]


@dataclass(frozen=True)
class Interval:
    """From begin to end, both included; seconds since 1970 or row numbers.

    Parameters
    ----------
    place
        File and number of the label, for errors.
    """

    begin: float
    end: float
    place: str


def apply(recording: Recording, path: Path, *, whole: bool = True) -> Recording:
    """Label a recording by a file, in place of labels it has.

    Parameters
    ----------
    recording
        What was read; a file that names recordings is searched for its name.
    path
        See the module.
    whole
        Whether the recording holds all rows of its data; if not, labels behind its end are left out.

    Raises
    ------
    UserError
        The file cannot be used, does not name the recording, or a label lies outside the data.
    """
    intervals = read_intervals(path, recording.name)
    note = f"{len(intervals)} labelled {'interval' if len(intervals) == 1 else 'intervals'} from {path.name}."
    labels = _covered(recording, intervals, whole=whole)
    return replace(recording, labels=labels, notes=(*recording.notes, note))


def moment(seconds: float, *, timed: bool, interval_s: float = 1.0) -> str:
    """Say a time: ISO 8601 in UTC, or the number of a row.

    Examples
    --------
    >>> moment(1777897800.0, timed=True), moment(120.0, timed=False, interval_s=60.0)
    ('2026-05-04 12:30:00Z', 'row 2')
    """
    if not timed:
        return f"row {round(seconds / interval_s):,}"
    stamp = datetime.fromtimestamp(round(seconds, 3), timezone.utc)
    return stamp.replace(tzinfo=None).isoformat(" ", "milliseconds" if stamp.microsecond else "seconds") + "Z"


def _covered(recording: Recording, intervals: tuple[Interval, ...], *, whole: bool) -> BoolArray:
    """Rows within half a sampling interval of any labelled interval, bool[rows]."""
    time, step = recording.time, recording.interval_s
    labels = np.zeros(recording.rows, np.bool_)
    for interval in intervals:
        begin, end = interval.begin, interval.end
        if not recording.timed:
            begin, end = begin * step, end * step
        if end < time[0] - step / 2 or begin > time[-1] + step / 2:
            if not whole and begin > time[-1]:
                continue
            raise _outside(recording, interval, begin, end)
        labels[_between(time, begin - step / 2, end + step / 2)] = True
    return labels


def _between(time: Float64Array, begin: float, end: float) -> slice:
    return slice(int(np.searchsorted(time, begin)), int(np.searchsorted(time, end, "right")))


def _outside(recording: Recording, interval: Interval, begin: float, end: float) -> UserError:
    label, span = (
        " – ".join(moment(at, timed=recording.timed, interval_s=recording.interval_s) for at in pair)
        for pair in ((begin, end), (float(recording.time[0]), float(recording.time[-1])))
    )
    return UserError(
        f"label {label} lies outside the data of {recording.name}, {span}",
        location=interval.place,
        remedy="check that the labels belong to this recording, and their time zone",
    )


def read_intervals(path: Path, name: str) -> tuple[Interval, ...]:
    """Read the labels of one recording.

    Parameters
    ----------
    path
        See the module.
    name
        Of the recording, to find in a file that names several.

    Raises
    ------
    UserError
        The file cannot be read, is of no known form, or does not name the recording.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the labels: {error.strerror or error}", location=str(path), remedy="check the path"
        ) from error
    try:
        pairs = list(_csv_pairs(raw, path) if path.suffix.lower() == ".csv" else _json_pairs(raw, name, path))
    except (UnicodeDecodeError, csv.Error, msgspec.DecodeError) as error:
        raise UserError(
            f"not readable as labels: {error}", location=str(path), remedy="save it as UTF-8 text"
        ) from error
    return tuple(_interval(begin, end, place) for begin, end, place in pairs)


def _csv_pairs(raw: bytes, path: Path) -> Iterator[tuple[Any, Any, str]]:
    reader = csv.DictReader(raw.decode("utf-8-sig").splitlines())
    if not {"begin", "end"} <= set(reader.fieldnames or ()):
        raise UserError("no columns 'begin' and 'end'", location=f"{path}:1", remedy="name them so in the header")
    for row in reader:
        yield row["begin"], row["end"], f"{path}:{reader.line_num}"


def _json_pairs(raw: bytes, name: str, path: Path) -> Iterator[tuple[Any, Any, str]]:
    tree = msgspec.json.decode(raw)
    place = f"{path}: $"
    if isinstance(tree, dict):
        key = "intervals" if "intervals" in tree else _key_of(name, tree, path)
        tree, place = tree[key], f"{place}.{key}"
    if not isinstance(tree, list):
        raise UserError("no list of intervals", location=place, remedy="a list of [begin, end] is expected")
    for number, item in enumerate(tree):
        where = f"{place}[{number}]"
        if isinstance(item, dict) and {"begin", "end"} <= set(item):
            yield item["begin"], item["end"], where
        elif isinstance(item, list) and len(item) == 2:
            yield item[0], item[1], where
        else:
            raise UserError("no interval", location=where, remedy='[begin, end] or {"begin": …, "end": …} is expected')


def _key_of(name: str, tree: dict[str, Any], path: Path) -> str:
    """The key that names the recording, by as much of its path as both give."""
    parts = PurePosixPath(name).parts
    for key in sorted(tree, key=len, reverse=True):
        known = PurePosixPath(key).parts
        known = (*known[:-1], known[-1].removesuffix(".csv").removesuffix(".parquet")) if known else ()
        shared = min(len(known), len(parts))
        if shared and known[-shared:] == parts[-shared:]:
            return key
    raise UserError(
        f"no labels for {name!r}",
        location=str(path),
        remedy="name the recording's file in it, with an empty list where nothing is wrong",
    )


def _interval(begin: Any, end: Any, place: str) -> Interval:
    first, last = _number(begin), _number(end)
    if not (isfinite(first) and isfinite(last)):
        raise UserError(
            f"{begin!r} – {end!r} are no times",
            location=place,
            remedy="ISO 8601 such as 2026-05-04T12:30:00Z, or seconds since 1970, or row numbers are expected",
        )
    if last < first:
        raise UserError(f"ends before it begins: {begin} – {end}", location=place, remedy="swap them")
    return Interval(first, last, place)


def _number(value: Any) -> float:
    if isinstance(value, str):
        return parse_time(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else nan
