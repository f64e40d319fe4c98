"""Parsers of line formats: plain, StatsD, InfluxDB's line protocol, JSON."""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agent.core.errors import UNREADABLE
from agent.sources.payload import NoReading, flattened, number

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["STATSD", "LineFormat", "parsed"]

# Order in which formats are tried by ``auto``.
_FORMATS = ("influx", "statsd", "json", "plain")
#: Format of the lines, as in the configuration.
LineFormat = Annotated[
    Literal["auto", "influx", "statsd", "json", "plain"],
    Meta(description="Format of the lines; `auto` detects it for each line."),
]
#: A StatsD line: name, value, type.
STATSD = re.compile(r"([^\s:|@#]+):([-+]?[\d.eE+-]+)\|(c|g|ms|h|d|m)(?:\|.*)?")
# A plain line: name, and value with an optional unit.
_PLAIN = re.compile(r"([^\s=:]+)\s*[\s=:]\s*(.+)")


def parsed(line: str, form: str = "auto") -> list[tuple[str, float]]:
    """Parse a line into readings, pairs of name and value.

    Raises
    ------
    NoReading
        The line has no known format, or holds no number.

    Examples
    --------
    >>> parsed("boiler,room=attic t=21.5,on=true 1700000000"), parsed("queue:12|g"), parsed('{"a": {"b": 2}}')
    ([('boiler.attic.t', 21.5), ('boiler.attic.on', 1.0)], [('queue', 12.0)], [('a.b', 2.0)])
    """
    for each in _FORMATS if form == "auto" else (form,):
        found = _PARSERS[each](line)
        if found is not None:
            if not found:
                raise NoReading("line without a number")
            return found
    raise NoReading("line of no known format")


def _influx(line: str) -> list[tuple[str, float]] | None:
    parts = [part for part in _cut(line, " ") if part]
    if not 2 <= len(parts) <= 3 or (len(parts) == 3 and not parts[2].removeprefix("-").isdigit()):
        return None
    measurement, *tags = _cut(parts[0], ",")
    named, fields = ([_cut(each, "=") for each in group] for group in (tags, _cut(parts[1], ",")))
    if not measurement or any(len(pair) != 2 for pair in (*named, *fields)):
        return None
    stem = ".".join(map(_unescaped, (measurement, *(value for _, value in named))))
    readings = []
    for name, text in fields:
        with contextlib.suppress(NoReading):
            readings.append((f"{stem}.{_unescaped(name)}", _field(text)))
    return readings


def _cut(text: str, separator: str) -> list[str]:
    """Split at separators that are neither escaped by a backslash nor quoted; linear time."""
    pieces, begin, quoted, before = [], 0, False, ""
    for index, character in enumerate(text):
        if before == "\\":
            before = ""
            continue
        if character == '"' and (quoted or before == "="):
            quoted = not quoted
        elif character == separator and not quoted:
            pieces.append(text[begin:index])
            begin = index + 1
        before = character
    return [*pieces, text[begin:]]


def _field(text: str) -> float:
    if text.startswith('"'):
        raise NoReading("not a number")
    if text[-1:] in {"i", "u"} and text[:-1].lstrip("-").isdigit():
        text = text[:-1]
    return number({"t": True, "f": False}.get(text.lower(), text))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([,= \\])", r"\1", text)


def _named(pattern: re.Pattern[str], line: str) -> list[tuple[str, float]] | None:
    """Parse a line by a pattern whose first two groups are name and number; None if it does not match."""
    match = pattern.fullmatch(line)
    if match is None:
        return None
    try:
        return [(match[1], number(match[2]))]
    except NoReading:
        return []


def _json(line: str) -> list[tuple[str, float]] | None:
    if not line.startswith("{"):
        return None
    try:
        return [(path, value) for path, value in flattened(msgspec.json.decode(line)) if path]
    except UNREADABLE:
        raise NoReading("damaged JSON") from None


_PARSERS: dict[str, Callable[[str], list[tuple[str, float]] | None]] = {
    "influx": _influx,
    "statsd": partial(_named, STATSD),
    "json": _json,
    "plain": partial(_named, _PLAIN),
}
