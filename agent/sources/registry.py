"""Where readings come from: one file a source, found here by the name it has in the config.

Only the modules that a config names are imported, so a source costs nothing on a device that does not use it. Other
packages add sources through entry points of the group `GROUP`, which name a class that keeps to `Source`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from agent.core.errors import UserError
from agent.sources.base import SourceConfig

if TYPE_CHECKING:
    from agent.sources.base import Source

__all__ = ["GROUP", "REGISTRY", "known_sources", "source_class"]

#: Of entry points.
GROUP = "edgewatch.sources"

#: Name in the config → module and class.
REGISTRY: dict[str, tuple[str, str]] = {
    "host": ("agent.sources.host", "HostSource"),
    "latency": ("agent.sources.latency", "LatencySource"),
    "hwmon": ("agent.sources.hwmon", "HwmonSource"),
    "iio": ("agent.sources.iio", "IioSource"),
    "onewire": ("agent.sources.onewire", "OneWireSource"),
    "process": ("agent.sources.process", "ProcessSource"),
    "file": ("agent.sources.file", "FileSource"),
    "command": ("agent.sources.command", "CommandSource"),
    "http": ("agent.sources.http", "HttpSource"),
    "mqtt": ("agent.sources.mqtt", "MqttSource"),
    "stream": ("agent.sources.stream", "StreamSource"),
    "serial": ("agent.sources.serial", "SerialSource"),
    "modbus": ("agent.sources.modbus", "ModbusSource"),
    "simulated": ("agent.sources.simulated", "SimulatedSource"),
    "csv": ("agent.sources.csv", "CsvSource"),
}


def source_class(name: str) -> type[Source]:
    """Import a source's class; those that come with the agent go before those of other packages.

    Raises
    ------
    KeyError
        There is no source of that name.
    UserError
        Another package says that it has one, and it cannot be used.
    """
    if name in REGISTRY:
        module, attribute = REGISTRY[name]
        return cast("type[Source]", getattr(import_module(module), attribute))
    found = _entry_points()
    if name not in found:
        raise KeyError(name)
    entry = found[name]
    try:
        loaded = entry.load()
    except Exception as error:  # it is foreign code
        raise UserError(f"the source {name!r} of {entry.value} cannot be loaded: {error}", remedy=_MEND) from error
    wrong = _wrong_with(loaded)
    if wrong:
        raise UserError(f"the source {name!r} of {entry.value} {wrong}", remedy=_MEND)
    return cast("type[Source]", loaded)


def known_sources() -> list[str]:
    """Names of all sources, in the order of the documentation, those of other packages behind."""
    return [*REGISTRY, *sorted(_entry_points().keys() - REGISTRY.keys())]


_MEND = "mend or remove the package that it is in; docs/sources.md says what a source has to be"


def _entry_points() -> dict[str, Any]:
    # It brings along the parser of e-mails, three megabytes that nobody else needs.
    from importlib.metadata import entry_points  # noqa: PLC0415

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _wrong_with(loaded: Any) -> str:
    """Why something is no source; empty if it is one, as far as a class can tell."""
    if not isinstance(loaded, type):
        return "is no class"
    config = getattr(loaded, "Config", None)
    if not (isinstance(config, type) and issubclass(config, SourceConfig)):
        return "has no Config that is a SourceConfig"
    if not isinstance(getattr(loaded, "inline", None), bool):
        return "does not say whether it is inline"
    return next((f"has no {name}()" for name in ("read", "close") if not callable(getattr(loaded, name, None))), "")
