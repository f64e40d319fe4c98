"""Snapshots as agents up to 0.1.0 wrote them: objects by the names of their attributes, made into records by path.

Format 1 held a tree: an object was a mapping of its attributes, private ones with their underscore, and a list of
objects a list of such mappings. The records made of it are of version `BEFORE_VERSIONS`; each `State` picks what it
declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.persistent_state import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from agent.core.persistent_state import Record


__all__ = ["incident_records", "learned_records"]

# Blocks of each time scale, in the order in which format 1 listed them.
_SCALES = (1, 12, 24, 48)
# Attributes of format 1 and the names of the parts that hold their content now.
_PARTS = {
    "_head": "state_score",
    "_ring": "window",
    "_relation": "cross_channel",
    "_estrangement": "cross_channel_deviation",
    "_readout": "linear_forecast",
    "_analogue": "analog_forecast",
    "detector": "networks",
    "stage": "time_scale",
}
_DEEPEST = 12


def learned_records(content: Mapping[str, Any]) -> dict[str, Record]:
    """Give the records of all that was learned, by path.

    Parameters
    ----------
    content
        Of a snapshot of format 1.

    Raises
    ------
    Unusable
        It is no such content.
    """
    try:
        monitor, kinds = content["monitor"], content["kinds"]
        records = {"ensemble": _own(monitor), "classifier": _own(kinds)}
        for position, detector in enumerate(monitor["_watches"]):
            records |= _below(f"detectors.{position}", detector)
    except (KeyError, TypeError, AttributeError) as error:
        raise Unusable(f"not a snapshot of format 1: {error!r}") from error
    return records


def incident_records(attributes: Mapping[str, Any]) -> dict[str, Record]:
    """Give the records that go with incidents of version 1.

    Raises
    ------
    Unusable
        They are no such attributes.
    """
    budget = attributes.get("_budget", attributes.get("budget"))
    if not isinstance(budget, dict):
        raise Unusable("no alert budget in it")
    own = _own(attributes)
    return {"incidents": own, "confirmation": own, "budget": _own(budget)}


def _own(attributes: Mapping[str, Any]) -> Record:
    """Fields of an object itself, without the underscores of private attributes."""
    return {name.lstrip("_"): value for name, value in attributes.items() if not isinstance(value, dict | list)}


def _below(path: str, attributes: Mapping[str, Any]) -> dict[str, Record]:
    if path.count(".") > _DEEPEST:
        raise Unusable("nested too deeply")
    records = {path: _own(attributes)}
    if "_stages" in attributes:  # the universal detector kept these fields itself
        records |= {f"{path}.blocks": records[path], f"{path}.refractory": records[path]}
    for name, part in _parts(attributes):
        records |= _below(f"{path}.{name}", part)
    return records


def _parts(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, value in attributes.items():
        if isinstance(value, dict):
            yield _PARTS.get(name, name.lstrip("_")), value
        elif isinstance(value, list) and name == "_stages":
            yield from ((f"scale_{scale}", part) for scale, part in zip(_SCALES, value, strict=False))
        elif isinstance(value, list) and name == "_watches":
            yield from ((f"groups.{position}", part) for position, part in enumerate(value))
