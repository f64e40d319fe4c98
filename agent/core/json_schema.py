"""JSON Schema of the agent's types, the same with every version of msgspec."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["components", "schema"]


def schema(kind: Any) -> dict[str, Any]:
    """Describe one type."""
    described: dict[str, Any] = _cleaned(msgspec.json.schema(kind))
    return described


def components(kinds: Iterable[Any], ref_template: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Describe several types and the structs that they share.

    Parameters
    ----------
    kinds
        The types.
    ref_template
        How a struct is referred to, with ``{name}`` in it.

    Returns
    -------
    A schema for each type, and those of the structs by name.
    """
    parts, shared = msgspec.json.schema_components(kinds, ref_template=ref_template)
    return _cleaned(list(parts)), _cleaned(shared)


def _cleaned(part: Any) -> Any:
    """Take the indentation out of docstrings, which some versions of msgspec leave in."""
    if isinstance(part, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _cleaned(value)
            for key, value in part.items()
        }
    return [_cleaned(item) for item in part] if isinstance(part, list) else part
