"""Compares a digest with the stored one: to the last bit, or within tolerances where arithmetic differs.

The tolerances hold for a machine that calculates otherwise in the last digits. Such digits are fed back for the whole
of a run, so a number may end up a percent away, and an anomaly may begin or end some rows earlier or later.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tools.behaviour.outcome import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["TOLERANCES", "exactly", "within"]

#: ``share`` of the stored number, and ``beside`` it, is how far a number may be off. ``counts`` and ``count share`` are
#: the same for anomalous rows and readings. Times may be off by so many ``rows``. Other whole numbers, the order of
#: messages, and their phases, reasons, severities, kinds and channels may not differ at all.
TOLERANCES = {"share": 0.02, "beside": 0.01, "counts": 2.0, "count share": 0.05, "rows": 3.0}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_CLOCK = re.compile(r"\b(\d\d):(\d\d):(\d\d) UTC")
_COUNTS = ("anomalous rows", "anomalous readings")
_TIMES = ("at", "clock")
_SHOWN = 5


def exactly(new: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Name each part that is not what it was to the last bit, and where it first differs.

    Parameters
    ----------
    new, stored
        Digests of a scenario, see `tools.behaviour.outcome.digest`.
    """
    told = []
    for name in PARTS:
        is_now, was = new["parts"][name], stored["parts"].get(name)
        if was is None or is_now["sha256"] != was["sha256"]:
            told.append(f"{name}: {_where(is_now, was)}")
    if told or new["summary"] != stored["summary"]:
        told += [f"digest: {line}" for line in _first(within(new, stored, exact=True))]
    return told


def _where(is_now: Mapping[str, Any], was: Mapping[str, Any] | None) -> str:
    """Say where a part first differs, as far as the stored pieces tell."""
    if was is None:
        return "not stored"
    if is_now["lines"] != was["lines"]:
        where = f"{is_now['lines']} lines instead of {was['lines']}"
    else:
        pieces = zip(is_now["pieces"].split(), was["pieces"].split(), strict=True)
        size = max(1, -(-is_now["lines"] // len(is_now["pieces"].split())))
        number = next((number for number, (one, other) in enumerate(pieces) if one != other), 0)
        first, last = number * size + 1, min((number + 1) * size, is_now["lines"])
        where = f"first difference in lines {first} to {last}" if last > first else f"first difference in line {first}"
    before = was.get("columns", {})
    kinds = [kind for kind, value in is_now.get("columns", {}).items() if before.get(kind) != value]
    return f"{where}; columns {', '.join(kinds)}" if kinds else where


def within(new: Mapping[str, Any], stored: Mapping[str, Any], *, exact: bool = False) -> list[str]:
    """Name everything in the summary that is out of tolerance.

    Parameters
    ----------
    new, stored
        Digests of a scenario.
    exact
        Allow nothing.
    """
    differences = list(_differences(new["summary"], stored["summary"], "", stored["interval_s"], exact=exact))
    if not exact and new["parts"]["input"]["sha256"] != stored["parts"]["input"]["sha256"]:
        differences.insert(0, "input: other readings; the scenario or the public data changed")
    return differences


def _first(differences: list[str]) -> list[str]:
    more = len(differences) - _SHOWN
    return differences[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])


def _differences(new: Any, stored: Any, path: str, interval_s: float, *, exact: bool) -> Iterator[str]:
    """Walk two summaries side by side."""
    if isinstance(new, dict) and isinstance(stored, dict):
        for key in [*stored, *(key for key in new if key not in stored)]:
            inner = f"{path}.{key}" if path else key
            if key not in new or key not in stored:
                yield f"{inner}: {'is new' if key in new else 'is gone'}"
            else:
                yield from _differences(new[key], stored[key], inner, interval_s, exact=exact)
    elif isinstance(new, list) and isinstance(stored, list):
        if len(new) != len(stored):
            yield f"{path}: {len(new)} instead of {len(stored)}"
        for number, (one, other) in enumerate(zip(new, stored, strict=False)):
            yield from _differences(one, other, f"{path}[{number}]", interval_s, exact=exact)
    elif not _alike(new, stored, path, interval_s, exact=exact):
        yield f"{path}: {new!r} instead of {stored!r}"


def _alike(new: Any, stored: Any, path: str, interval_s: float, *, exact: bool) -> bool:
    if exact or isinstance(new, bool) or isinstance(stored, bool):
        return bool(new == stored)
    if isinstance(new, int | float) and isinstance(stored, int | float):
        return abs(new - stored) <= _allowed(stored, path.rsplit(".", 1)[-1], interval_s)
    if isinstance(new, str) and isinstance(stored, str):
        return _texts_alike(new, stored, interval_s)
    return bool(new == stored)


def _allowed(stored: float, key: str, interval_s: float) -> float:
    if key in _TIMES:
        return TOLERANCES["rows"] * interval_s
    if key in _COUNTS:
        return TOLERANCES["counts"] + TOLERANCES["count share"] * abs(stored)
    return 0.0 if isinstance(stored, int) else TOLERANCES["beside"] + TOLERANCES["share"] * abs(stored)


def _texts_alike(new: str, stored: str, interval_s: float) -> bool:
    """Compare texts word by word; numbers and times of day within tolerance."""
    if _NUMBER.sub("#", _CLOCK.sub("@", new)) != _NUMBER.sub("#", _CLOCK.sub("@", stored)):
        return False
    for one, other in zip(_CLOCK.findall(new), _CLOCK.findall(stored), strict=True):
        if abs(_seconds(one) - _seconds(other)) > _allowed(0.0, "clock", interval_s):
            return False
    numbers = zip(_NUMBER.findall(_CLOCK.sub("@", new)), _NUMBER.findall(_CLOCK.sub("@", stored)), strict=True)
    rows = TOLERANCES["rows"] * interval_s if " after " in stored else 0.0
    return all(abs(float(a) - float(b)) <= max(_allowed(float(b), "", interval_s), rows) for a, b in numbers)


def _seconds(clock: tuple[str, str, str]) -> int:
    hours, minutes, seconds = map(int, clock)
    return (hours * 60 + minutes) * 60 + seconds
