"""Writes the tables of keys in the guides from the types: ``python -m tools.reference`` after a change to these.

A guide has ``<!-- keys: NAME -->`` and ``<!-- end -->`` where the table of a source's keys, or of entries in it, goes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec

from agent.sources import source_class

__all__ = ["GUIDES", "main", "updated"]

_ROOT = Path(__file__).parents[1]
GUIDES = (_ROOT / "docs" / "sources.md",)
_BLOCK = re.compile(r"(<!-- keys: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def updated(text: str) -> str:
    """Fill a guide's tables.

    Raises
    ------
    KeyError
        A table is of something that there is not.
    """
    return _BLOCK.sub(lambda match: f"{match[1]}{_table(_struct(match[2]))}{match[3]}", text)


def _struct(name: str) -> type[msgspec.Struct]:
    """A source's configuration, or ``source.key``: what the entries of that key are."""
    source, _, key = name.partition(".")
    config: type[msgspec.Struct] = source_class(source).Config
    if not key:
        return config
    (field,) = (field for field in msgspec.structs.fields(config) if field.name == key)
    return next(part for part in _parts(field.type) if isinstance(part, type) and issubclass(part, msgspec.Struct))


def _parts(hint: Any) -> list[Any]:
    return [hint, *(part for each in get_args(hint) for part in _parts(each))]


def _table(struct: type[msgspec.Struct]) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    fields = [field for field in msgspec.structs.fields(struct) if field.name != "type"]
    fields.sort(key=lambda field: field.name not in struct.__annotations__)  # its own first
    lines += [f"| `{field.name}` | {_default(field)} | {_meaning(field.type)} |" for field in fields]
    return "\n".join(lines) + "\n"


def _default(field: Any) -> str:
    if field.required:
        return "*required*"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value in ("", (), {}, None):
        return ""
    if isinstance(value, tuple):
        return "all" if len(value) > 2 else f"`[{', '.join(map(str, value))}]`"
    return (
        f"`{value:g}`" if isinstance(value, float) else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    )


def _meaning(hint: Any) -> str:
    notes = (
        [part for part in get_args(hint)[1:] if isinstance(part, msgspec.Meta)] if get_origin(hint) is Annotated else []
    )
    text = next((note.description for note in notes if note.description), "").rstrip(".")
    ends = [
        f"{word} {getattr(note, name):g}"
        for note in notes
        for name, word in _ENDS.items()
        if getattr(note, name) is not None
    ]
    return (text[:1].lower() + text[1:] + (f" ({', '.join(ends)})" if ends else "")).replace("|", "\\|")


_ENDS = {
    "gt": "above",
    "ge": "at least",
    "lt": "below",
    "le": "at most",
    "max_length": "at most",
}


def main() -> int:
    """Rewrite the guides; 1 if that changed anything."""
    changed = False
    for path in GUIDES:
        text = path.read_text("utf-8")
        new = updated(text)
        if new != text:
            path.write_text(new, "utf-8")
            print(f"{path.relative_to(_ROOT)} is up to date now")
            changed = True
    return int(changed)


if __name__ == "__main__":
    sys.exit(main())
