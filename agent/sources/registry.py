"""Registry of sources: finds the class for a `type` in the configuration.

Only the modules that a configuration names are imported, so an unused source costs no memory. Other packages add
sources through entry points of the group `GROUP`; each names a class that implements `Source`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from agent.core.errors import UserError
from agent.sources.base import SourceConfig

if TYPE_CHECKING:
    from agent.sources.base import Source

__all__ = ["GROUP", "REGISTRY", "known_sources", "source_class"]

#: Group of the entry points through which other packages add sources.
GROUP = "edgewatch.sources"

#: Source type in the configuration → module and class.
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
    """Import the class of a source type; the agent's own sources take precedence over those of other packages.

    Raises
    ------
    KeyError
        No source has this type.
    UserError
        The class of another package cannot be imported or does not implement `Source`.
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
    except Exception as error:  # code of another package may raise anything
        raise UserError(f"the source {name!r} of {entry.value} cannot be loaded: {error}", remedy=_REMEDY) from error
    wrong = _wrong_with(loaded)
    if wrong:
        raise UserError(f"the source {name!r} of {entry.value} {wrong}", remedy=_REMEDY)
    return cast("type[Source]", loaded)


def known_sources() -> list[str]:
    """Types of all sources: the agent's own in the order of the documentation, then other packages', sorted."""
    return [*REGISTRY, *sorted(_entry_points().keys() - REGISTRY.keys())]


_REMEDY = 'repair or remove the package that provides it; for the interface see "Your own" in docs/sources.md'


def _entry_points() -> dict[str, Any]:
    # Imported late: it imports the e-mail parser, three megabytes that nothing else here needs.
    from importlib.metadata import entry_points  # noqa: PLC0415

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _wrong_with(loaded: Any) -> str:
    """Reason why a loaded object is not a source class; empty if it is one. Checks class attributes only."""
    if not isinstance(loaded, type):
        return "is not a class"
    config = getattr(loaded, "Config", None)
    if not (isinstance(config, type) and issubclass(config, SourceConfig)):
        return "has no Config that is a SourceConfig"
    if not isinstance(getattr(loaded, "inline", None), bool):
        return "has no attribute inline that is True or False"
    return next((f"has no {name}()" for name in ("read", "close") if not callable(getattr(loaded, name, None))), "")
