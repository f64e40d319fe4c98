"""JSON Schemas of msgspec types, independent of the version of msgspec."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["components", "schema"]


def schema(kind: Any) -> dict[str, Any]:
    """JSON Schema of one type."""
    described: dict[str, Any] = _cleaned(msgspec.json.schema(kind))
    return described


def components(kinds: Iterable[Any], ref_template: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """JSON Schemas of several types and of the structs that they share.

    Parameters
    ----------
    kinds
        The types.
    ref_template
        Format of a reference to a struct; contains ``{name}``.

    Returns
    -------
    A schema per type, and the schemas of the structs by name.
    """
    parts, shared = msgspec.json.schema_components(kinds, ref_template=ref_template)
    return _cleaned(list(parts)), _cleaned(shared)


def _cleaned(part: Any) -> Any:
    """Remove the indentation of docstrings, which some versions of msgspec keep."""
    if isinstance(part, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _cleaned(value)
            for key, value in part.items()
        }
    return [_cleaned(item) for item in part] if isinstance(part, list) else part
