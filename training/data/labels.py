"""True anomalies from a file of labelled intervals.

The file is one of

* JSON: a list of ``[begin, end]`` or of ``{"begin": …, "end": …}``;
* JSON: ``{"intervals": [such a list]}``, as `python -m training simulate` writes it;
* JSON: an object with one such list per file name, as in NAB's ``combined_windows.json``;
* CSV with columns ``begin`` and ``end``.

Both ends belong to the interval. They are ISO 8601 or seconds since 1970; for a recording without time stamps, row
numbers from 0.
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
    """A labelled interval, both ends included.

    Parameters
    ----------
    begin, end
        Seconds since 1970, or row numbers from 0 if the recording has no time stamps.
    place
        File and line or position of the label, for errors.
    """

    begin: float
    end: float
    place: str


def apply(recording: Recording, path: Path, *, whole: bool = True) -> Recording:
    """Replace the labels of a recording by those of a file.

    Parameters
    ----------
    recording
        The recording; in a file that names recordings, the labels under its name apply.
    path
        File of labels, see the module.
    whole
        Whether the recording holds all rows of its data. If not, labels after its last row are ignored.

    Raises
    ------
    UserError
        The file is unusable or does not name the recording, or a label lies outside the data.
    """
    intervals = read_intervals(path, recording.name)
    note = f"{len(intervals)} labelled {'interval' if len(intervals) == 1 else 'intervals'} from {path.name}."
    labels = _covered(recording, intervals, whole=whole)
    return replace(recording, labels=labels, notes=(*recording.notes, note))


def moment(seconds: float, *, timed: bool, interval_s: float = 1.0) -> str:
    """Format a time in seconds as ISO 8601 in UTC, or as a row number if the recording has no time stamps.

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
    """Read the labelled intervals of one recording.

    Parameters
    ----------
    path
        File of labels, see the module.
    name
        Name of the recording, looked up in a file that names several.

    Raises
    ------
    UserError
        The file cannot be read, has an unknown form, or does not name the recording.
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
        raise UserError(
            "the columns 'begin' and 'end' are missing", location=f"{path}:1", remedy="name them so in the header"
        )
    for row in reader:
        yield row["begin"], row["end"], f"{path}:{reader.line_num}"


def _json_pairs(raw: bytes, name: str, path: Path) -> Iterator[tuple[Any, Any, str]]:
    tree = msgspec.json.decode(raw)
    location = f"{path}: $"
    if isinstance(tree, dict):
        key = "intervals" if "intervals" in tree else _key_of(name, tree, path)
        tree, location = tree[key], f"{location}.{key}"
    if not isinstance(tree, list):
        raise UserError("not a list of intervals", location=location, remedy="write a list of [begin, end]")
    for number, item in enumerate(tree):
        position = f"{location}[{number}]"
        if isinstance(item, dict) and {"begin", "end"} <= set(item):
            yield item["begin"], item["end"], position
        elif isinstance(item, list) and len(item) == 2:
            yield item[0], item[1], position
        else:
            raise UserError("not an interval", location=position, remedy='write [begin, end] or {"begin": …, "end": …}')


def _key_of(name: str, tree: dict[str, Any], path: Path) -> str:
    """The longest key whose path, without suffix, ends with the path ``name`` or is the end of it."""
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
        remedy="add the name of the recording's file; an empty list means that it has no anomaly",
    )


def _interval(begin: Any, end: Any, location: str) -> Interval:
    first, last = _number(begin), _number(end)
    if not (isfinite(first) and isfinite(last)):
        raise UserError(
            f"{begin!r} – {end!r} are not times",
            location=location,
            remedy="write ISO 8601 such as 2026-05-04T12:30:00Z, seconds since 1970, or row numbers",
        )
    if last < first:
        raise UserError(f"ends before it begins: {begin} – {end}", location=location, remedy="swap begin and end")
    return Interval(first, last, location)


def _number(value: Any) -> float:
    if isinstance(value, str):
        return parse_time(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else nan
