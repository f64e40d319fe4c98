"""Where readings come from: one file a source, found here by the name it has in the config.

Only the modules that a config names are imported, so a source costs nothing on a device that does not use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from agent.sources.base import Source

__all__ = ["REGISTRY", "source_class"]

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
    "simulated": ("agent.sources.simulated", "SimulatedSource"),
    "csv": ("agent.sources.csv", "CsvSource"),
}


def source_class(name: str) -> type[Source]:
    """Import a source's class.

    Raises
    ------
    KeyError
        No source of that name is registered.
    """
    module, attribute = REGISTRY[name]
    return cast("type[Source]", getattr(import_module(module), attribute))
