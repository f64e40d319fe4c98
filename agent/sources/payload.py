"""Numbers in text and JSON from outside; unusable values are classified by kind."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

import msgspec

from agent.core.errors import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


__all__ = ["NoReading", "at_path", "decoded", "flattened", "number"]

# A number with an optional unit.
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\s*[^\d\s.,+-][^\d\s]{0,9})?")
# Characters of a text with a number; chosen by hand.
_LONGEST = 64
# Texts that mean a missing value, in lower case.
_ABSENT = frozenset({"", "unavailable", "unknown", "none", "null", "nan", "n/a", "-"})
# Texts of binary states, in lower case.
_STATES = {
    **dict.fromkeys(("on", "true", "yes", "open", "online", "home", "wet", "detected"), 1.0),
    **dict.fromkeys(("off", "false", "no", "closed", "offline", "not_home", "dry", "clear"), 0.0),
}
# Levels of a JSON document that are searched; chosen by hand.
_DEEPEST = 8


class NoReading(Exception):  # noqa: N818 - counted, not fatal
    """A value is not a usable number; the text is its kind, from a small set, by which such values are counted."""


def number(value: object) -> float:
    """Convert a number, a Boolean, or a text (number with or without a unit, or state) to a finite float.

    Raises
    ------
    NoReading
        The value is missing, not a number or not finite.

    Examples
    --------
    >>> number("21.5 °C"), number(True), number("OFF")
    (21.5, 1.0, 0.0)
    """
    if isinstance(value, str):
        return _of_text(value)
    if value is None:
        raise NoReading("unavailable")
    if not isinstance(value, int | float):
        raise NoReading("not a number")
    try:
        found = float(value)
    except OverflowError:
        raise NoReading("not finite") from None
    if not isfinite(found):
        raise NoReading("not finite")
    return found


def _of_text(text: str) -> float:
    if len(text) > _LONGEST:
        raise NoReading("not a number")
    text = text.strip()
    match = _NUMBER.fullmatch(text)
    if match:
        found = float(match[1])
        if not isfinite(found):
            raise NoReading("not finite")
        return found
    word = text.lower()
    if word in _STATES:
        return _STATES[word]
    if word in _ABSENT:
        raise NoReading("unavailable")
    raise NoReading("not finite" if word.lstrip("+-") in {"inf", "infinity"} else "not a number")


def decoded(payload: bytes) -> Any:
    """Decode a payload as JSON, otherwise as UTF-8 text.

    Raises
    ------
    NoReading
        The payload is damaged JSON or not text.
    """
    try:
        return msgspec.json.decode(payload)
    except UNREADABLE:
        pass
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        raise NoReading("not text") from None
    if text.lstrip()[:1] in {"{", "["}:
        raise NoReading("damaged JSON")
    return text


def at_path(document: Any, path: str) -> Any:
    """Return the part of a document at a path such as ``ENERGY.Power`` or ``values.0``; an empty path is the whole.

    Raises
    ------
    NoReading
        The document has no such part.

    Examples
    --------
    >>> at_path({"values": [{"t": 5}]}, "values.0.t")
    5
    """
    for part in path.split(".") if path else ():
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            raise NoReading("not at its path")
    return document


def flattened(document: Any) -> Iterator[tuple[str, float]]:
    """Yield path and value of all numbers and states in a document, down to eight levels.

    Examples
    --------
    >>> dict(flattened({"a": {"b": 1}, "c": [2.5, "on", None], "d": "text"}))
    {'a.b': 1.0, 'c.0': 2.5, 'c.1': 1.0}
    """
    yield from _flattened(document, "", 0)


def _flattened(document: Any, path: str, depth: int) -> Iterator[tuple[str, float]]:
    if isinstance(document, dict | list):
        if depth < _DEEPEST:
            parts = document.items() if isinstance(document, dict) else enumerate(document)
            for key, part in parts:
                yield from _flattened(part, f"{path}.{key}" if path else str(key), depth + 1)
        return
    try:
        found = number(document)
    except NoReading:
        return
    yield path, found
