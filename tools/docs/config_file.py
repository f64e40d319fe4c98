"""Generate the shipped ``config.yaml``: every key with its description, and with its default or a commented example."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any

import msgspec

from agent.config.schema import Config
from tools.docs import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["config_file"]

_HEAD = """\
# Edgewatch configuration. Every key has a default: an empty file is valid, and any line below may be removed.
# `edgewatch check --config config.yaml` reports all mistakes at once, with their lines.
# `edgewatch schema config` prints a JSON Schema for editors.
"""
# Keys whose value is a layout of its own, instead of the default on the same line.
_LAYOUTS = {
    "sources": """\
sources:
  # CPU, load, memory, swap, disk, network, processes, temperatures of this machine.
  - type: host
  # Latency in milliseconds of a connection (tcp), a web page (http) or an echo (icmp).
  # - type: latency
  #   targets:
  #     - {name: gateway, icmp: 192.168.1.1}
  #     - {name: broker, tcp: "localhost:1883"}
  #     - {name: shop, http: "https://example.org/health"}
""",
}
# Values of keys without a default of their own; they stand in comments.
_EXAMPLES = {
    "node": " pi4",
    "state_dir": " /var/lib/edgewatch",
    "channels": """
  - {names: ["disk.percent"], alarm_above: 90}
  - {names: ["boiler/*"], unit: °C, invalid_below: -40, invalid_above: 125, sensitivity: 2}
""",
    "derived": """
  - {name: network.total, how: sum, of: ["network.*"], unit: B/s}
""",
    "trusted_keys": " [11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=]",
    "alerts.silences": """
  - {channels: ["disk.*"], from: 2026-12-24T18:00, until: 2026-12-27T06:00}
""",
    "alerts.maintenance": """
  - {days: [sun], at: "02:00", for_s: 3600, channels: ["*"], include_limits: false}
""",
    "mqtt.port": " 1883",
    "mqtt.username": " edgewatch",
    "mqtt.password_file": " /etc/edgewatch/mqtt_password",
    "mqtt.tls": (
        " {ca_file: /etc/edgewatch/ca.pem, cert_file: /etc/edgewatch/client.pem, key_file: /etc/edgewatch/client.key}"
    ),
    "history.directory": " /var/lib/edgewatch/history",
}
# Pages with more about a key.
_PAGES = {
    "sources": "sources.md",
    "channels": "channels.md",
    "derived": "channels.md",
    "detection.threshold": "detection.md",
    "alerts.silences": "commands.md",
    "alerts.maintenance": "commands.md",
    "mqtt.commands": "commands.md",
    "mqtt.discovery": "home-assistant.md",
    "history": "training.md",
    "prometheus": "prometheus.md",
}


def config_file() -> str:
    """Give the text of ``config.yaml``.

    Raises
    ------
    ValueError
        A key has no description.
    """
    blocks = ["\n".join(_key(Config, field, field.encode_name)) + "\n" for field in msgspec.structs.fields(Config)]
    return "\n".join([_HEAD, *blocks])


def _key(struct: type[msgspec.Struct], field: Any, path: str, width: int = 120) -> Iterator[str]:
    """Lines of one key: its description and its value, in so many columns."""
    name = field.encode_name
    page = f" See docs/{_PAGES[path]}." if path in _PAGES else ""
    yield from _comment(keys.description(struct, field) + page, width)
    parts = keys.structs_in(field.type)
    if path in _LAYOUTS:
        yield from _LAYOUTS[path].splitlines()
    elif path in _EXAMPLES:
        for part in parts:
            yield from _described(part, width, indent=2)
        yield from (f"# {line}" for line in f"{name}:{_EXAMPLES[path]}".splitlines())
    elif len(parts) == 1:
        lead = "# " if keys.nothing(field) else ""
        yield f"{lead}{name}:"
        for each in msgspec.structs.fields(parts[0]):
            inner = _key(parts[0], each, f"{path}.{each.encode_name}", width - len(lead) - 2)
            yield from (f"{lead}  {line}" for line in inner)
    else:
        for part in parts:
            yield from _alternative(part, width)
        yield f"{name}: {keys.default(field)}"


def _alternative(struct: type[msgspec.Struct], width: int) -> Iterator[str]:
    """Comment on one of several mappings that a key takes."""
    settings = struct.__struct_config__
    values = [f"{each.encode_name}: {keys.default(each)}" for each in msgspec.structs.fields(struct)]
    yield from _comment(f"{{{', '.join([f'{settings.tag_field}: {settings.tag}', *values])}}}", width, indent=2)
    yield from _comment((inspect.getdoc(struct) or "").splitlines()[0], width, indent=4)
    yield from _described(struct, width, indent=4)


def _described(struct: type[msgspec.Struct], width: int, indent: int) -> Iterator[str]:
    """Comment on the keys of a mapping."""
    for field in msgspec.structs.fields(struct):
        text = f"{field.encode_name}: {keys.description(struct, field)}"
        yield from _comment(text, width, indent=indent, hanging=2)


def _comment(text: str, width: int, *, indent: int = 0, hanging: int = 0) -> list[str]:
    first = f"# {' ' * indent}"
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=first + " " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
