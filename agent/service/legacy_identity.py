"""Identity of snapshots that agents up to 0.1.0 wrote, to decide whether one fits the present configuration."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from agent.config.schema import Config
    from agent.core.channel import Channel
    from agent.models.bundle import Bundle


__all__ = ["ALERT_NUMBERS", "identity"]

#: Keys of the section ``alerts`` on which the learned state depends.
ALERT_NUMBERS = (
    "learning_s",
    "provisional_s",
    "confirm_s",
    "clear_s",
    "merge_s",
    "cooldown_s",
    "budget_per_day",
)
# Defaults of 0.1.0 that have changed since.
_FORMER_DEFAULTS = {"accept_after_s": 1800.0, "budget_per_day": 3.0}
# Fields of each struct in 0.1.0, in their order; later fields are not part of the digests.
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


def identity(config: Config, models: Sequence[Bundle], channels: Sequence[Channel]) -> dict[str, str]:
    """Digests for a snapshot of format 1, computed as by the agents that wrote it; see `Saved.belongs_to`."""
    return {
        "models": _digest([bundle.manifest for bundle in models]),
        "channels": _digest(list(channels)),
        "interval_s": repr([config.interval_s, *(part.interval_s for part in config.sources)]),
        "rules": _digest([config.channels, config.derived]),
        "detection": _digest(_with_former_defaults(config.detection)),
        "alerts": _digest([getattr(_with_former_defaults(config.alerts), name) for name in ALERT_NUMBERS]),
    }


def _with_former_defaults(section: Any) -> Any:
    """Replace values that are at today's default by the default of 0.1.0, where that has changed since."""
    now = type(section)()
    changed = {
        name: value
        for name, value in _FORMER_DEFAULTS.items()
        if hasattr(section, name) and getattr(section, name) == getattr(now, name)
    }
    return msgspec.structs.replace(section, **changed)


def _digest(content: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(_as_before(content)), digest_size=8).hexdigest()


def _as_before(value: Any) -> Any:
    """Convert structs to plain values with only the fields that they had in 0.1.0."""
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
