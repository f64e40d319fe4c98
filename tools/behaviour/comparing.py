"""Compare a digest with the stored one: bit for bit, or within tolerances on a machine with other arithmetic.

Rounding differences are fed back throughout a run: a number may end up a percent away, and an anomaly may begin or end
some rows earlier or later.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tools.behaviour.outcome import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["TOLERANCES", "exactly", "within"]

#: A number may differ by ``beside`` plus ``share`` times the stored number; counts of anomalous rows and readings by
#: ``counts`` plus ``count share`` times the stored count; times by ``rows`` intervals. Other integers, the order
#: of messages, and their phases, reasons, severities, kinds and channels must be equal. Chosen by hand.
TOLERANCES = {"share": 0.02, "beside": 0.01, "counts": 2.0, "count share": 0.05, "rows": 3.0}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_CLOCK = re.compile(r"\b(\d\d):(\d\d):(\d\d) UTC")
_COUNTS = ("anomalous rows", "anomalous readings")
_TIMES = ("at", "clock")
# Differences printed a scenario.
_SHOWN = 5


def exactly(new: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Compare bit for bit; list the parts that differ, each with its first difference.

    Parameters
    ----------
    new, stored
        Digests of a scenario, see `tools.behaviour.outcome.digest`.
    """
    differences = []
    for name in PARTS:
        new_part, old_part = new["parts"][name], stored["parts"].get(name)
        if old_part is None or new_part["sha256"] != old_part["sha256"]:
            differences.append(f"{name}: {_where(new_part, old_part)}")
    if differences or new["summary"] != stored["summary"]:
        differences += [f"digest: {line}" for line in _first(within(new, stored, exact=True))]
    return differences


def _where(new_part: Mapping[str, Any], old_part: Mapping[str, Any] | None) -> str:
    """Describe the first difference of a part, to the precision of the stored piece hashes."""
    if old_part is None:
        return "not stored"
    if new_part["lines"] != old_part["lines"]:
        where = f"{new_part['lines']} lines instead of {old_part['lines']}"
    else:
        pieces = zip(new_part["pieces"].split(), old_part["pieces"].split(), strict=True)
        size = max(1, -(-new_part["lines"] // len(new_part["pieces"].split())))
        number = next((number for number, (one, other) in enumerate(pieces) if one != other), 0)
        first, last = number * size + 1, min((number + 1) * size, new_part["lines"])
        where = f"first difference in lines {first} to {last}" if last > first else f"first difference in line {first}"
    before = old_part.get("columns", {})
    kinds = [kind for kind, value in new_part.get("columns", {}).items() if before.get(kind) != value]
    return f"{where}; columns {', '.join(kinds)}" if kinds else where


def within(new: Mapping[str, Any], stored: Mapping[str, Any], *, exact: bool = False) -> list[str]:
    """Compare the summaries within tolerances; list the differences.

    Parameters
    ----------
    new, stored
        Digests of a scenario.
    exact
        Require equality instead.
    """
    differences = list(_differences(new["summary"], stored["summary"], "", stored["interval_s"], exact=exact))
    if not exact and new["parts"]["input"]["sha256"] != stored["parts"]["input"]["sha256"]:
        differences.insert(0, "input: the readings differ; the scenario or the public data changed")
    return differences


def _first(differences: list[str]) -> list[str]:
    more = len(differences) - _SHOWN
    return differences[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])


def _differences(new: Any, stored: Any, path: str, interval_s: float, *, exact: bool) -> Iterator[str]:
    """Walk two summaries in parallel."""
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
