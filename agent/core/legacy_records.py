"""Migration of snapshots that agents up to 0.1.0 wrote (format 1) to records by path.

Format 1 is a tree: an object is a mapping of its attributes, private ones with their underscore; a list of objects is
a list of such mappings. The records made from it have version `BEFORE_VERSIONS`; each `State` picks its own fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.persistent_state import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from agent.core.persistent_state import Record


__all__ = ["incident_records", "learned_records"]

# Time scales, in blocks of the finest, in the order of format 1.
_SCALES = (1, 12, 24, 48)
# Attributes of format 1 that hold an object, and the names of the parts that replace them.
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
# Attributes of format 1 that hold a number or an array, and the names of the fields that replace them.
_FIELDS = {"told": "block_evidence", "strange": "deviating"}
# Deeper nesting is damage.
_DEEPEST = 12


def learned_records(content: Mapping[str, Any]) -> dict[str, Record]:
    """Convert everything learned to records by path.

    Parameters
    ----------
    content
        Content of a snapshot of format 1.

    Raises
    ------
    Unusable
        The content is not of format 1.
    """
    try:
        monitor, kinds = content["monitor"], content["kinds"]
        records = {"ensemble": _own(monitor)}
        if isinstance(kinds, dict):
            records["classifier"] = _own(kinds)
        for position, detector in enumerate(monitor["_watches"]):
            records |= _tree(f"detectors.{position}", detector)
    except (KeyError, TypeError, AttributeError) as error:
        raise Unusable(f"not a snapshot of format 1: {error!r}") from error
    return records


def incident_records(attributes: Mapping[str, Any]) -> dict[str, Record]:
    """Convert the attributes stored beside incidents of version 1 to records by path.

    Raises
    ------
    Unusable
        The alert budget is missing.
    """
    budget = attributes.get("_budget", attributes.get("budget"))
    if not isinstance(budget, dict):
        raise Unusable("the alert budget is missing")
    own = _own(attributes)
    return {"incidents": own, "confirmation": own, "budget": _own(budget)}


def _own(attributes: Mapping[str, Any]) -> Record:
    """Numbers and arrays of an object by their present names, without those of its parts."""
    return {
        _FIELDS.get(field, field): value
        for field, value in ((name.lstrip("_"), value) for name, value in attributes.items())
        if not isinstance(value, dict | list)
    }


def _tree(path: str, attributes: Mapping[str, Any]) -> dict[str, Record]:
    if path.count(".") > _DEEPEST:
        raise Unusable("nested too deeply")
    records = {path: _own(attributes)}
    if "_stages" in attributes:  # in format 1 the universal detector held these fields itself
        records |= {f"{path}.blocks": records[path], f"{path}.refractory": records[path]}
    for name, part in _parts(attributes):
        records |= _tree(f"{path}.{name}", part)
    return records


def _parts(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, value in attributes.items():
        if isinstance(value, dict):
            yield _PARTS.get(name, name.lstrip("_")), value
        elif isinstance(value, list) and name == "_stages":
            yield from ((f"scale_{scale}", part) for scale, part in zip(_SCALES, value, strict=False))
        elif isinstance(value, list) and name == "_watches":
            yield from ((f"groups.{position}", part) for position, part in enumerate(value))
