"""Keys of the configuration as the documentation shows them: description, bounds, default."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from agent.sources.base import SourceConfig

__all__ = ["bounds", "default", "description", "nothing", "shown", "structs_in"]

_ENDS = {
    "gt": "above",
    "ge": "at least",
    "lt": "below",
    "le": "at most",
    "max_length": "at most",
}
# A bound as large as this is there for arithmetic's sake.
_NO_BOUND = 1e9


def description(struct: type[msgspec.Struct], field: Any) -> str:
    """Give the description of a key, from its ``Meta``.

    Raises
    ------
    ValueError
        It has none.
    """
    text = next((note.description for note in _notes(field.type) if note.description), None)
    if not text:
        raise ValueError(f"{struct.__name__}.{field.name} has no Meta(description=…)")
    return text


def bounds(field: Any) -> str:
    """Range of a number or length of a list, in words; empty without one."""
    ends = [
        f"{word} {shown(getattr(note, name))}"
        for note in _notes(field.type)
        for name, word in _ENDS.items()
        if getattr(note, name) is not None and abs(getattr(note, name)) < _NO_BOUND
    ]
    return ", ".join(ends)


def nothing(field: Any) -> bool:
    """Whether the default is empty, or differs from machine to machine: the description says what it is."""
    return _from_machine(field) or _default(field) in ("", (), {}, None)


def default(field: Any) -> str:
    """Default of an optional key as YAML; ``all`` for a list of all that is allowed."""
    value = _default(field)
    if isinstance(value, tuple) and set(value) == _allowed(field.type):
        return "all"
    return shown(value)


def shown(value: Any) -> str:
    """Show a value as YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, SourceConfig):
        return f"{{type: {value.type}}}"
    if isinstance(value, msgspec.Struct):
        return f"{{{value.__struct_config__.tag_field}: {value.__struct_config__.tag}}}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def structs_in(hint: Any) -> list[type[msgspec.Struct]]:
    """Structs that a type consists of: several if one of several is chosen."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for part in get_args(hint) for found in structs_in(part)]


def _default(field: Any) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _from_machine(field: Any) -> bool:
    return getattr(field.default_factory, "__name__", "").startswith("_default_")


def _notes(hint: Any) -> list[msgspec.Meta]:
    """Notes on a value, without those on its parts."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return [note for note in notes if isinstance(note, msgspec.Meta)] + _notes(inner)
    alternatives = get_args(hint) if get_origin(hint) in {Union, UnionType} else ()
    return [note for part in alternatives for note in _notes(part)]


def _allowed(hint: Any) -> set[Any]:
    """Words that a type allows, by a ``Literal`` or by its JSON Schema."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    notes = getattr(hint, "__metadata__", ())
    listed = {word for note in notes for word in (getattr(note, "extra_json_schema", None) or {}).get("enum", ())}
    return listed.union(*(_allowed(part) for part in get_args(hint)))
