"""JSON Schema of the configuration, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.config.schema import Config
from agent.sources.registry import known_sources, source_class

if TYPE_CHECKING:
    from typing import Any


__all__ = ["config_schema"]


def config_schema() -> dict[str, Any]:
    """JSON Schema of the configuration, for editors."""
    from agent.core import json_schema  # noqa: PLC0415 - only where a person asks for it

    schema = json_schema.schema(Config)
    definitions = schema["$defs"]
    alternatives = []
    for name in known_sources():
        config_type = source_class(name).Config
        (parts,), more = json_schema.components((config_type,), "#/$defs/{name}")
        definitions.update(more)
        definition = definitions[parts["$ref"].rsplit("/", 1)[1]]
        definition["properties"]["type"] = {"const": name}
        alternatives.append(parts)
    definitions["Config"]["properties"]["sources"] = {"type": "array", "items": {"oneOf": alternatives}}
    return schema
