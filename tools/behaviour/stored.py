"""The stored digest: one JSON file, formatted so that a diff shows each change on a line of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["FORMAT", "STORED", "read", "write"]

#: Path of the stored digest.
STORED = Path(__file__).parents[2] / "tests" / "fixtures" / "behaviour.json"
#: Version of the digest format; raised when digests are computed differently.
FORMAT = 1
# Objects nested deeper than this are written on one line; 3 gives a line for each entry of a summary.
_DEPTH = 3


def read(path: Path = STORED) -> dict[str, Any]:
    """Read the stored digest; without a file, an empty digest.

    Raises
    ------
    ValueError
        The file has another format version.
    """
    if not path.exists():
        return {"format": FORMAT, "fingerprint": {}, "scenarios": {}}
    stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if stored["format"] != FORMAT:
        raise ValueError(f"{path} has format {stored['format']}, expected {FORMAT}: rewrite it with --update")
    return stored


def write(stored: dict[str, Any], path: Path = STORED) -> None:
    """Write the digest."""
    path.write_text(_text(stored) + "\n", encoding="utf-8")


def _text(value: Any, depth: int = 0) -> str:
    """Format JSON: a line for each entry of outer objects and lists, the rest inline."""
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value and depth <= _DEPTH:
        entries = [f"{json.dumps(key)}: {_text(each, depth + 1)}" for key, each in value.items()]
        return "{" + inner + f",{inner}".join(entries) + outer + "}"
    if isinstance(value, list) and value and all(isinstance(each, dict | str) for each in value):
        return "[" + inner + f",{inner}".join(json.dumps(each, ensure_ascii=False) for each in value) + outer + "]"
    return json.dumps(value, ensure_ascii=False)
