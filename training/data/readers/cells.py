"""Parsing of table cells as numbers, times and labels, by column; the rules are those of the agent's CSV reader."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from agent.detection.scaling import ABSURD
from agent.sources.csv_reader import TIME_LIMIT, parse_time, parse_value

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

__all__ = ["LOCAL", "PROBLEMS", "ZONED", "marks", "numbers", "times"]

Codes: TypeAlias = npt.NDArray[np.int8]

#: Problems of a value; a code is an index into this tuple, and 0 means a valid value.
PROBLEMS = ("", "missing", "text", "too_large")
_MISSING, _TEXT, _TOO_LARGE = 1, 2, 3
#: Time zone of a time stamp: text without an offset, text with one; 0 for numbers and unreadable texts.
LOCAL, ZONED = 1, 2

# Texts that Arrow and Python parse alike and without overflow; all others are parsed by Python one by one.
_NUMBER = r"^[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,2})?$"
_LOCAL_TIME = r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?$"
_ZONED_TIME = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)$"
_FORMS = (
    (_NUMBER, pa.float64(), 0),
    (_LOCAL_TIME, pa.timestamp("ns"), LOCAL),
    (_ZONED_TIME, pa.timestamp("ns", "UTC"), ZONED),
)
_DATE = re.compile(r"\s*\d{4}-")
# Cells among which the first text decides the format to try: in Arrow, one failed parse takes as long as about fifty
# successful ones.
_GLANCE = 8
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no")


def numbers(cells: pa.Array) -> tuple[Float64Array, Codes]:
    """Parse values.

    Parameters
    ----------
    cells
        Texts, numbers or booleans, [n]; null is missing.

    Returns
    -------
    values
        float64[n], NaN where missing or invalid.
    problems
        int8[n], codes of `PROBLEMS`.

    Raises
    ------
    TypeError
        The column's type cannot be read as a number.
    """
    problems = np.zeros(len(cells), np.int8)
    if _is_text(cells.type):
        values = _read_texts(pc.cast(cells, pa.string()), problems)
    elif pa.types.is_boolean(cells.type):
        values = _floats(pc.cast(cells, pa.int8()))
    elif _is_number(cells.type):
        values = _floats(cells)
    else:
        raise TypeError(str(cells.type))
    with np.errstate(invalid="ignore"):
        problems[np.abs(values) >= ABSURD] = _TOO_LARGE
    problems[np.isnan(values) & (problems == 0)] = _MISSING
    values[problems > 0] = np.nan
    return values, problems


def times(cells: pa.Array) -> tuple[Float64Array, Codes]:
    """Parse time stamps; without an offset they are UTC.

    Parameters
    ----------
    cells
        ISO 8601 or seconds since 1970 as texts; seconds as numbers; time stamps or dates.

    Returns
    -------
    seconds
        float64[n], seconds since 1970; NaN where unreadable.
    zones
        int8[n]: `LOCAL`, `ZONED`, or 0.

    Raises
    ------
    TypeError
        The column's type cannot be read as a time.
    """
    if _is_text(cells.type):
        return _read_time_texts(pc.cast(cells, pa.string()))
    zones = np.zeros(len(cells), np.int8)
    if pa.types.is_date(cells.type):
        cells = pc.cast(cells, pa.timestamp("s" if pa.types.is_date32(cells.type) else "ms"))
    if pa.types.is_timestamp(cells.type):
        return _seconds(cells), zones
    if not _is_number(cells.type):
        raise TypeError(str(cells.type))
    return _plausible(_floats(cells)), zones


def marks(cells: pa.Array) -> tuple[npt.NDArray[np.bool_], Codes]:
    """Parse labels: anomalous for 1, true, yes or any number except 0; normal for 0, false, no.

    Returns
    -------
    labels
        bool[n], False where missing.
    problems
        int8[n], codes of `PROBLEMS`.
    """
    if _is_text(cells.type):
        words = pc.utf8_lower(pc.utf8_trim_whitespace(pc.cast(cells, pa.string())))
        for accepted, digit in ((_TRUE, "1"), (_FALSE, "0")):
            words = pc.if_else(pc.is_in(words, value_set=pa.array(accepted)), digit, words)
        cells = words
    values, problems = numbers(cells)
    return (values != 0.0) & (problems == 0), problems


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _floats(cells: pa.Array) -> Float64Array:
    """Writable copy, float64[n], NaN for null."""
    return np.array(pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _read_texts(cells: pa.Array, problems: Codes) -> Float64Array:
    try:
        return _floats(cells)
    except pa.ArrowInvalid:
        plain = pc.match_substring_regex(cells, _NUMBER)
    values = _floats(pc.if_else(plain, cells, None))
    at = pc.indices_nonzero(pc.invert(plain))
    odd = cells.take(at).dictionary_encode()
    read = [parse_value(text) for text in odd.dictionary.to_pylist()]
    which = odd.indices.to_numpy()
    values[at] = np.array([value for value, _ in read], np.float64)[which]
    problems[at] = np.array([PROBLEMS.index(problem) for _, problem in read], np.int8)[which]
    return values


def _read_time_texts(cells: pa.Array) -> tuple[Float64Array, Codes]:
    first = next((text for text in cells[:_GLANCE].to_pylist() if text), "")
    expected = next(((kind, zone) for form, kind, zone in _FORMS if re.match(form, first)), None)
    if expected is not None and (not expected[1] or _has_minutes(cells)):
        with contextlib.suppress(pa.ArrowInvalid):
            return _timed(cells, expected[0]), np.full(len(cells), expected[1], np.int8)
    seconds, zones = np.full(len(cells), np.nan), np.zeros(len(cells), np.int8)
    rest = np.ones(len(cells), np.bool_)
    for form, kind, zone in _FORMS:
        at = pc.indices_nonzero(pc.match_substring_regex(cells, form))
        try:
            seconds[at] = _timed(cells.take(at), kind)
        except pa.ArrowInvalid:  # an invalid date such as 30 February
            continue
        zones[at] = zone
        rest[at] = False
    at = np.flatnonzero(rest & cells.is_valid().to_numpy(zero_copy_only=False))
    texts = cells.take(pa.array(at)).to_pylist()
    seconds[at] = [parse_time(text) for text in texts]
    zones[at] = [_zone(text) for text in texts]
    zones[np.isnan(seconds)] = 0
    return seconds, zones


def _timed(cells: pa.Array, kind: pa.DataType) -> Float64Array:
    return _seconds(pc.cast(cells, kind)) if pa.types.is_timestamp(kind) else _plausible(_floats(cells))


def _has_minutes(cells: pa.Array) -> bool:
    """Whether every time of day has minutes; Arrow accepts an hour alone, the agent does not."""
    behind_hour = pc.utf8_slice_codeunits(cells, 13, 14)
    return bool(pc.all(pc.is_in(behind_hour, value_set=pa.array([":", "", None]))).as_py())


def _zone(text: str) -> int:
    """Code of the time zone of a readable time stamp."""
    if not _DATE.match(text):
        return 0
    return ZONED if set(text.strip()[10:]) & set("zZ+-") else LOCAL


def _seconds(stamps: pa.Array) -> Float64Array:
    """Seconds since 1970 of time stamps of any unit; whole part and fraction are divided apart for full precision."""
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[stamps.type.unit]
    whole, fraction = np.divmod(pc.fill_null(pc.cast(stamps, pa.int64()), 0).to_numpy(), per_second)
    seconds: Float64Array = whole + fraction / per_second
    seconds[stamps.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return seconds


def _plausible(seconds: Float64Array) -> Float64Array:
    """Replace times beyond `TIME_LIMIT` by NaN, such as milliseconds since 1970; the agent refuses them too."""
    seconds[~(np.abs(seconds) < TIME_LIMIT)] = np.nan
    return seconds
