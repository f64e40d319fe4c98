"""JSON Schema of the configuration, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.config.schema import Config
from agent.sources.registry import known_sources, source_class

if TYPE_CHECKING:
    from typing import Any


__all__ = ["config_schema"]


def config_schema() -> dict[str, Any]:
    """JSON Schema of the configuration, for editors; each source's options depend on its ``type``."""
    from agent.core import json_schema  # noqa: PLC0415 - needed only by `edgewatch schema`

    schema = json_schema.schema(Config)
    definitions = schema["$defs"]
    _add_defaults(definitions, Config)
    alternatives = []
    for name in known_sources():
        config_type = source_class(name).Config
        (parts,), more = json_schema.components((config_type,), "#/$defs/{name}")
        definitions.update(more)
        properties = definitions[parts["$ref"].rsplit("/", 1)[1]]["properties"]
        del properties["type"]["type"]
        properties["type"]["const"] = name
        alternatives.append(parts)
    sources = definitions["Config"]["properties"]["sources"]
    sources["items"] = {"oneOf": alternatives}
    sources["default"] = [{"type": source.type} for source in Config().sources]
    return schema


def _add_defaults(definitions: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    """Add the defaults that are structs, which msgspec leaves out."""
    for field in msgspec.structs.fields(kind):
        value = None if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if isinstance(value, msgspec.Struct):
            definitions[kind.__name__]["properties"][field.encode_name]["default"] = msgspec.to_builtins(value)
            _add_defaults(definitions, type(value))
