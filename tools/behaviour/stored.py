"""The stored digest: one JSON file, a line for each thing that a person may want to see in a diff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["FORMAT", "STORED", "read", "write"]

#: Where the digest is stored.
STORED = Path(__file__).parents[2] / "tests" / "fixtures" / "behaviour.json"
#: Changes when the digest itself is made another way.
FORMAT = 1
_DEPTH = 3


def read(path: Path = STORED) -> dict[str, Any]:
    """Read the stored digest; one without scenarios where there is none."""
    if not path.exists():
        return {"format": FORMAT, "fingerprint": {}, "scenarios": {}}
    stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if stored["format"] != FORMAT:
        raise ValueError(f"{path} is of format {stored['format']}, this is {FORMAT}: --update writes it anew")
    return stored


def write(stored: dict[str, Any], path: Path = STORED) -> None:
    """Write the digest."""
    path.write_text(_text(stored) + "\n", encoding="utf-8")


def _text(value: Any, depth: int = 0) -> str:
    """Format JSON: objects and lists of objects over several lines, all else in one."""
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value and depth <= _DEPTH:
        entries = [f"{json.dumps(key)}: {_text(each, depth + 1)}" for key, each in value.items()]
        return "{" + inner + f",{inner}".join(entries) + outer + "}"
    if isinstance(value, list) and value and all(isinstance(each, dict | str) for each in value):
        return "[" + inner + f",{inner}".join(json.dumps(each, ensure_ascii=False) for each in value) + outer + "]"
    return json.dumps(value, ensure_ascii=False)
