"""Explains why a value does not fit a type: path, expectation and value, worded independently of msgspec's version.

msgspec validates. Only after it has refused a value does this module walk the value along the type to find the first
mismatch.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import msgspec.inspect as info

__all__ = ["Mismatch", "explained", "mismatch", "shown"]


class Mismatch(NamedTuple):
    """The first mismatch between a value and a type.

    Parameters
    ----------
    path
        From the root to the mismatch: ``.sources[0].type``; empty for the root.
    problem
        Expectation, as shown to the user.
    value
        The value found; None if a key is missing.
    """

    path: str
    problem: str
    value: Any

    def __str__(self) -> str:
        where = f"{self.path.lstrip('.')}: " if self.path else ""
        return f"{where}{self.problem} (the value is {shown(self.value)})"


def mismatch(value: Any, hint: Any, *, lax: bool = False) -> Mismatch | None:
    """Find the first mismatch between a plain value and a type hint.

    Parameters
    ----------
    value
        As parsed from JSON or YAML: mappings, lists, strings, numbers, booleans and None.
    hint
        Any type that msgspec supports.
    lax
        Accept strings that spell a number or a boolean, as ``msgspec.convert(..., strict=False)`` does.

    Returns
    -------
    None if the value fits.

    Examples
    --------
    >>> print(mismatch({"a": [1, "x"]}, dict[str, list[int]]))
    a[1]: expected a whole number (the value is 'x')
    >>> mismatch(["1"], list[int], lax=True) is None
    True
    """
    import msgspec.inspect as info  # noqa: PLC0415 - needed only to explain a mistake

    return _Walk(info, lax=lax).walk(info.type_info(hint), value, "")


def explained(error: Exception, value: Any, hint: Any, *, lax: bool = False) -> Mismatch:
    """Explain why msgspec refused a value; see `mismatch`.

    Parameters
    ----------
    error
        Raised by msgspec; if a struct's ``__post_init__`` refused the value, the error's cause holds the reason.
    """
    found = mismatch(value, hint, lax=lax)
    if found is not None:
        return found
    return Mismatch("", str(error.__cause__) if error.__cause__ else "is not valid here", value)


class _Walk:
    """Walks a value along the description of a type."""

    def __init__(self, info: Any, *, lax: bool) -> None:
        self._lax = lax
        self._kinds: tuple[tuple[Any, Any], ...] = (
            (info.Metadata, lambda node, value, path: self.walk(node.type, value, path)),
            (info.StructType, self._struct),
            (info.UnionType, self._union),
            (info.DictType, self._mapping),
            (info.ListType | info.VarTupleType | info.SetType | info.FrozenSetType, self._list),
            (info.TupleType, self._tuple),
            (info.LiteralType, self._literal),
            (info.BoolType, self._leaf(bool, "true or false")),
            (info.IntType, self._number),
            (info.FloatType, self._number),
            (info.StrType, self._text),
            (info.NoneType, self._leaf(type(None), "nothing")),
        )

    def walk(self, node: Any, value: Any, path: str) -> Mismatch | None:
        for kind, check in self._kinds:
            if isinstance(node, kind):
                found: Mismatch | None = check(node, value, path)
                return found
        return None  # `Any`, and types that the agent does not use

    def _leaf(self, kind: type, words: str) -> Any:
        def check(node: Any, value: Any, path: str) -> Mismatch | None:
            del node
            spelt = self._lax and isinstance(value, str) and value.lower() in {"true", "false", "1", "0", "null"}
            return None if isinstance(value, kind) or spelt else Mismatch(path, f"expected {words}", value)

        return check

    def _struct(self, node: info.StructType, value: Any, path: str) -> Mismatch | None:
        if not isinstance(value, dict):
            return Mismatch(path, "expected a mapping of keys", value)
        fields = {field.encode_name: field for field in node.fields}
        known = {*fields, node.tag_field} if node.tag_field else set(fields)
        if node.forbid_unknown_fields:
            for key in value:
                if key not in known:
                    return Mismatch(path, f"unknown key {key!r}", value[key])
        for key, field in fields.items():
            if field.required and key not in value:
                return Mismatch(path, f"required key {key!r} is missing", None)
        for key, field in fields.items():
            if key in value:
                found = self.walk(field.type, value[key], f"{path}.{key}")
                if found is not None:
                    return found
        return None

    def _union(self, node: info.UnionType, value: Any, path: str) -> Mismatch | None:
        import msgspec.inspect as info  # noqa: PLC0415 - needed only to explain a mistake

        structs = [kind for kind in node.types if isinstance(kind, info.StructType) and kind.tag_field]
        if structs and isinstance(value, dict):
            return self._tagged(structs, value, path)
        found = [self.walk(kind, value, path) for kind in node.types]
        if None in found:
            return None
        # Explain the alternative that fits deepest into the value; None is worth no mention.
        deepest = [each for each in found if each and each.problem != "expected nothing"]
        return max(deepest, key=lambda each: len(each.path), default=found[0])

    def _tagged(self, structs: list[info.StructType], value: dict[Any, Any], path: str) -> Mismatch | None:
        field = str(structs[0].tag_field)
        kinds = {str(kind.tag): kind for kind in structs}
        if field not in value:
            return Mismatch(path, f"required key {field!r} is missing; it is one of {', '.join(kinds)}", None)
        if not isinstance(value[field], str) or value[field] not in kinds:
            return Mismatch(f"{path}.{field}", f"expected one of {', '.join(kinds)}", value[field])
        return self._struct(kinds[value[field]], value, path)

    def _mapping(self, node: info.DictType, value: Any, path: str) -> Mismatch | None:
        if not isinstance(value, dict):
            return Mismatch(path, "expected a mapping of keys", value)
        for key, item in value.items():
            found = self.walk(node.key_type, key, path) or self.walk(node.value_type, item, f"{path}.{key}")
            if found is not None:
                return found
        return None

    def _list(self, node: Any, value: Any, path: str) -> Mismatch | None:
        if not isinstance(value, list | tuple):
            return Mismatch(path, "expected a list", value)
        count = _between(node.min_length, node.max_length)
        if count and not _fits_length(node, value):
            return Mismatch(path, f"expected a list of {count} items", value)
        for index, item in enumerate(value):
            found = self.walk(node.item_type, item, f"{path}[{index}]")
            if found is not None:
                return found
        return None

    def _tuple(self, node: info.TupleType, value: Any, path: str) -> Mismatch | None:
        if not isinstance(value, list | tuple) or len(value) != len(node.item_types):
            return Mismatch(path, f"expected a list of {len(node.item_types)} items", value)
        for index, (kind, item) in enumerate(zip(node.item_types, value, strict=True)):
            found = self.walk(kind, item, f"{path}[{index}]")
            if found is not None:
                return found
        return None

    def _literal(self, node: info.LiteralType, value: Any, path: str) -> Mismatch | None:
        spelt = value
        if self._lax and isinstance(value, str) and not isinstance(node.values[0], str):
            spelt = _number(value, whole=True)
        if spelt in node.values and not isinstance(spelt, bool):
            return None
        return Mismatch(path, f"expected one of {', '.join(map(str, node.values))}", value)

    def _number(self, node: Any, value: Any, path: str) -> Mismatch | None:
        whole = type(node).__name__ == "IntType"
        number: Any = _number(value, whole=whole) if self._lax and isinstance(value, str) else value
        kind: Any = int if whole else int | float
        fits = (
            isinstance(number, kind)
            and not isinstance(number, bool)
            and (isinstance(number, int) or bool(math.isfinite(number)))
            and (node.gt is None or number > node.gt)
            and (node.ge is None or number >= node.ge)
            and (node.lt is None or number < node.lt)
            and (node.le is None or number <= node.le)
        )
        return None if fits else Mismatch(path, f"expected {_range(node, whole=whole)}", value)

    def _text(self, node: info.StrType, value: Any, path: str) -> Mismatch | None:
        if not isinstance(value, str):
            return Mismatch(path, "expected a text", value)
        count = _between(node.min_length, node.max_length)
        if count and not _fits_length(node, value):
            return Mismatch(path, f"expected a text of {count} characters", value)
        if node.pattern is not None and re.search(node.pattern, value) is None:
            return Mismatch(path, f"expected a text that matches {node.pattern}", value)
        return None


def _number(text: str, *, whole: bool) -> float | None:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return None


def _range(node: Any, *, whole: bool) -> str:
    """Describe the accepted numbers."""
    limits = (("above", node.gt), ("of at least", node.ge), ("below", node.lt), ("at most", node.le))
    parts = [f"{words} {limit:,.10g}" for words, limit in limits if limit is not None]
    if parts and parts[0].startswith("at most"):
        parts[0] = f"of {parts[0]}"
    return " ".join(("a whole number" if whole else "a number", " and ".join(parts))).strip()


def _between(least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        return f"{least} to {most}"
    if least is not None:
        return f"at least {least}"
    return "" if most is None else f"at most {most}"


def _fits_length(node: Any, value: Any) -> bool:
    return (node.min_length or 0) <= len(value) and (node.max_length is None or len(value) <= node.max_length)


def shown(value: Any) -> str:
    """Value for a message, on one line and at most 60 characters long."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
