"""Snapshots as agents up to 0.1.0 wrote them: objects by the names of their attributes, made into records by path.

Format 1 held a tree: an object was a mapping of its attributes, private ones with their underscore, and a list of
objects a list of such mappings. The records made of it are of version `BEFORE_VERSIONS`; each `State` picks what it
declares.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from agent.persistent_state import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.bundle import Bundle
    from agent.config import Config
    from agent.persistent_state import Record
    from agent.types import Channel

__all__ = ["ALERT_NUMBERS", "identity", "incident_records", "learned_records"]

#: Keys of the section ``alerts`` on which what was learned depends.
ALERT_NUMBERS = (
    "learning_s",
    "provisional_s",
    "confirm_s",
    "clear_s",
    "merge_s",
    "cooldown_s",
    "budget_per_day",
)
# Fields that structs had in 0.1.0, in their order: those that came later did not count.
_FIELDS = {
    "Channel": (
        *("name", "unit", "effect", "log_reference", "minimum", "maximum", "alarm_above", "alarm_below"),
        *("invalid_above", "invalid_below", "sensitivity", "silent"),
    ),
    "ChannelConfig": (
        *("names", "unit", "effect", "log_reference", "minimum", "maximum", "alarm_below", "alarm_above"),
        *("invalid_below", "invalid_above", "sensitivity", "silent"),
    ),
    "DerivedConfig": ("name", "how", "of", "unit", "over_s", "counter"),
    "DetectionConfig": ("threshold", "memory_s", "accept_after_s", "block_s", "relations"),
    "Manifest": (
        *("format", "name", "version", "created", "channels", "interval_s", "layout", "features", "scaling"),
        *("quantisation", "forecaster", "autoencoder", "golden", "calibration", "verification", "provenance", "start"),
        *("digest", "measured"),
    ),
    "ForecasterSpec": ("file", "sha256", "size", "units", "quantiles", "horizon"),
    "AutoencoderSpec": (
        *("file", "sha256", "size", "window", "stride", "judged", "state_tensors", "block", "centred"),
    ),
}

# Blocks of each time scale, in the order in which format 1 listed them.
_SCALES = (1, 12, 24, 48)
# Attributes of format 1 and the names of the parts that hold their content now.
_PARTS = {
    "_head": "state_score",
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
        records = {"monitor": _own(monitor), "kinds": _own(kinds)}
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
    return {"incidents": _own(attributes), "budget": _own(budget)}


def identity(config: Config, models: Sequence[Bundle], channels: Sequence[Channel]) -> dict[str, str]:
    """Say what a snapshot of format 1 belongs to, as the agents that wrote it did."""
    return {
        "models": _digest([bundle.manifest for bundle in models]),
        "channels": _digest(list(channels)),
        "interval_s": repr([config.interval_s, *(part.interval_s for part in config.sources)]),
        "rules": _digest([config.channels, config.derived]),
        "detection": _digest(config.detection),
        "alerts": _digest([getattr(config.alerts, name) for name in ALERT_NUMBERS]),
    }


def _digest(content: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(_as_before(content)), digest_size=8).hexdigest()


def _as_before(value: Any) -> Any:
    """Bring structs to plain values with the fields that they had in 0.1.0."""
    if isinstance(value, list | tuple):
        return [_as_before(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    settings = value.__struct_config__
    plain = {} if settings.tag is None else {str(settings.tag_field): settings.tag}
    known = _FIELDS.get(type(value).__name__)
    for field in msgspec.structs.fields(value):
        if known is None or field.name in known:
            plain[field.encode_name] = _as_before(getattr(value, field.name))
    return plain


def _own(attributes: Mapping[str, Any]) -> Record:
    """Fields of an object itself, without the underscores of private attributes."""
    return {name.lstrip("_"): value for name, value in attributes.items() if not isinstance(value, dict | list)}


def _below(path: str, attributes: Mapping[str, Any]) -> dict[str, Record]:
    if path.count(".") > _DEEPEST:
        raise Unusable("nested too deeply")
    records = {path: _own(attributes)}
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
