"""Generate the reference: tables in the guides, the AsyncAPI description of all topics, and the shipped config.yaml.

Run ``python -m tools.docs.reference`` after a change to the types or to imports between packages. The texts are the
descriptions in the types (``Meta(description=…)``).

In a guide, ``<!-- keys: NAME -->`` and ``<!-- end -->`` enclose a table of keys: of a source, of the entries in one
of its keys (``mqtt.topics``), or of a section of the configuration (``config.alerts.silences``). ``<!-- imports -->``
and ``<!-- end -->`` enclose the tables of imports. The AsyncAPI description and config.yaml are whole files.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agent import __version__
from agent.config.schema import Config
from agent.core import json_schema
from agent.messages import command
from agent.messages.alert import Alert, Digest
from agent.messages.status import Health, Metrics, NodeState
from agent.sources.base import SourceConfig
from agent.sources.registry import source_class
from tools.docs import imports, keys
from tools.docs.config_file import config_file

__all__ = ["ASYNCAPI", "CONFIG_FILE", "GUIDES", "asyncapi", "main", "updated"]

_ROOT = Path(__file__).parents[2]
GUIDES = tuple(
    _ROOT / "docs" / name
    for name in ("sources.md", "channels.md", "configuration.md", "commands.md", "architecture.md")
)
CONFIG_FILE = _ROOT / "config.yaml"
ASYNCAPI = _ROOT / "docs" / "integrations" / "asyncapi.yaml"
_BLOCK = re.compile(r"(<!-- keys: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_IMPORTS = re.compile(r"(<!-- imports -->\n).*?(<!-- end -->)", re.DOTALL)


def updated(text: str) -> str:
    """Fill a guide's tables.

    Raises
    ------
    KeyError
        A mark names a source or section that does not exist.
    """
    text = _BLOCK.sub(lambda match: f"{match[1]}{''.join(map(_table, _structs(match[2])))}{match[3]}", text)
    return _IMPORTS.sub(lambda match: f"{match[1]}{imports.tables()}{match[2]}", text)


def _structs(name: str) -> list[type[msgspec.Struct]]:
    """Structs with the keys of that name; several where one of several is chosen."""
    first, *path = name.split(".")
    found: list[type[msgspec.Struct]] = [Config if first == "config" else source_class(first).Config]
    for key in path:
        hints = [field.type for field in msgspec.structs.fields(found[0]) if field.name == key]
        if not hints:
            raise KeyError(name)
        found = keys.structs_in(hints[0])
    return found


def _table(struct: type[msgspec.Struct]) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    tag = struct.__struct_config__.tag
    if tag is not None:
        summary = (inspect.getdoc(struct) or "").splitlines()[0].rstrip(".")
        lines.append(f"| `{struct.__struct_config__.tag_field}: {tag}` | | {_lowered(summary)} |")
    # The keys that all sources have are described once, for all.
    fields = [field for field in msgspec.structs.fields(struct) if field.name not in {"type", "interval_s"}]
    if not issubclass(struct, SourceConfig):
        fields = list(msgspec.structs.fields(struct))
    fields.sort(key=lambda field: field.name not in struct.__annotations__)  # its own first
    lines.extend(f"| `{field.encode_name}` | {_default(field)} | {_meaning(struct, field)} |" for field in fields)
    return "\n".join(lines) + "\n" + "\n" * (tag is not None)


def _default(field: Any) -> str:
    if field.required:
        return "*required*"
    if keys.nothing(field):
        return ""
    if field.default is msgspec.NODEFAULT and isinstance(field.default_factory(), msgspec.Struct):
        return "see below"
    text = keys.default(field)
    return text if text == "all" else f"`{text}`"


def _meaning(struct: type[msgspec.Struct], field: Any) -> str:
    bounds = keys.bounds(field)
    text = _lowered(keys.description(struct, field).rstrip("."))
    return f"{text} ({bounds})".replace("|", "\\|") if bounds else text.replace("|", "\\|")


def _lowered(text: str) -> str:
    """Lower the first letter of a sentence in a table, except in names."""
    name = text[1:2].isupper() or text.startswith(_NAMES)
    return text if name else text[:1].lower() + text[1:]


_NAMES = ("Ed25519",)


_TOPICS: dict[str, tuple[str, str, Any]] = {
    "status": ("send", "`online` or `offline`: birth message, normal end and last will; retained.", None),
    "state": ("send", "State of the node; retained.", NodeState),
    "alert": ("send", "One message of an incident: open, update or close.", Alert),
    "metrics": ("send", "Current values of all channels, every mqtt.metrics_interval_s.", Metrics),
    "health": ("send", "Condition of the agent itself; retained.", Health),
    "digest": ("send", "Incidents suppressed by the alert budget or a silence; retained.", Digest),
    "cmd": ("receive", "A command, if mqtt.commands is true.", command.Command),
    "cmd/answer": ("send", "The answer to a command that names no response topic.", command.Answer),
}


def asyncapi() -> str:
    """All topics and payloads, as AsyncAPI 3.0 describes them; YAML."""
    kinds = [kind for _, _, kind in _TOPICS.values() if kind is not None]
    parts, schemas = json_schema.components(kinds, "#/components/schemas/{name}")
    payloads = dict(zip((name for name, (_, _, kind) in _TOPICS.items() if kind is not None), parts, strict=True))
    payloads["status"] = {"type": "string", "enum": ["online", "offline"]}
    channels, operations = {}, {}
    for name, (action, text, _) in _TOPICS.items():
        word = name.replace("/", "_")
        channels[word] = {
            "address": f"{{prefix}}/{{node}}/{name}",
            "description": text,
            "parameters": {
                "prefix": {"description": "First levels of all topics.", "default": "edgewatch"},
                "node": {"description": "Name of the machine."},
            },
            "messages": {
                word: {
                    "contentType": "text/plain" if name == "status" else "application/json",
                    "payload": payloads[name],
                }
            },
        }
        operations[f"{action}_{word}"] = {"action": action, "channel": {"$ref": f"#/channels/{word}"}}
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Edgewatch",
            "version": __version__,
            "description": "Messages that an agent publishes over MQTT, and those that it subscribes to.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"schemas": msgspec.to_builtins(schemas)},
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _wanted() -> dict[Path, str]:
    guides = {path: updated(path.read_text("utf-8")) for path in GUIDES}
    return guides | {ASYNCAPI: asyncapi(), CONFIG_FILE: config_file()}


def main() -> int:
    """Rewrite the files; 1 if that changed anything."""
    changed = False
    for path, text in _wanted().items():
        if not path.is_file() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"{path.relative_to(_ROOT)} is up to date now")
            changed = True
    return int(changed)


if __name__ == "__main__":
    sys.exit(main())
