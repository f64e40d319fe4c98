"""Converts plain values to structs, and collects all problems instead of stopping at the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import msgspec
import msgspec.structs

from agent.core.mismatch import explained, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from agent.config.yaml_document import Document

__all__ = ["Checker", "nearest"]


class Checker:
    """Converts plain values to structs, and collects all problems.

    Parameters
    ----------
    document
        The text, which knows the line of each path.
    own
        Converters for fields whose type hint is not sufficient, by struct and key; called with this checker, the value
        and its path.
    """

    def __init__(
        self, document: Document, own: Mapping[tuple[type[msgspec.Struct], str], Callable[[Checker, Any, str], Any]]
    ) -> None:
        self._document = document
        self._own = own
        #: One line for each problem, with its location.
        self.problems: list[str] = []

    def struct(self, kind: type[msgspec.Struct], value: Any, path: str) -> Any:
        """Convert a mapping to a struct of type ``kind``; None if there was a problem."""
        if not isinstance(value, dict):
            self.report(path, f"expected a mapping of keys, got {shown(value)}")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        before = len(self.problems)
        converted = {}
        for key, item in value.items():
            item_path = f"{path}.{key}"
            if key not in fields:
                self.report(item_path, f"unknown key{nearest(key, fields)}")
            elif item is None and not fields[key].required:
                continue  # an empty section, such as one with all keys commented out
            elif (kind, key) in self._own:
                converted[fields[key].name] = self._own[kind, key](self, item, item_path)
            else:
                converted[fields[key].name] = self._typed(fields[key].type, item, item_path)
        for key, field in fields.items():
            if field.required and key not in value:
                self.report(path, f"required key {key!r} is missing")
        if len(self.problems) > before:
            return None
        try:
            return kind(**converted)
        except (ValueError, TypeError) as error:  # raised by a struct's __post_init__
            self.report(path, str(error))
            return None

    def _typed(self, hint: Any, value: Any, path: str) -> Any:
        """Convert a value; structs inside are converted one by one, so that all of their problems are reported."""
        if get_origin(hint) is Annotated and _structs_in(hint):
            hint = get_args(hint)[0]
        structs = _structs_in(hint)
        if structs and not (value is None and type(None) in get_args(hint)):
            if get_origin(hint) in {tuple, list}:
                if isinstance(value, list):
                    return tuple(self._typed(get_args(hint)[0], item, f"{path}[{i}]") for i, item in enumerate(value))
            elif structs[0].__struct_config__.tag is None:
                return self.struct(structs[0], value, path)
            else:
                return self._tagged(structs, value, path)
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            found = explained(error, value, hint)
            self.report(path + found.path, f"{found.problem} (the value is {shown(found.value)})")
            return None

    def _tagged(self, structs: list[type[msgspec.Struct]], value: Any, path: str) -> Any:
        field = structs[0].__struct_config__.tag_field
        known = {str(kind.__struct_config__.tag): kind for kind in structs}
        if not isinstance(value, dict) or field not in value:
            self.report(path, f"expected a mapping with key {field!r}: one of {', '.join(known)}")
            return None
        name = value[field]
        if not isinstance(name, str) or name not in known:
            self.report(f"{path}.{field}", f"unknown {field} {name!r}{nearest(str(name), known)}")
            return None
        return self.struct(known[name], {k: v for k, v in value.items() if k != field}, path)

    def report(self, path: str, problem: str) -> None:
        """Add a problem of the value at a path."""
        self.problems.append(f"{self._document.location(path)}: {problem}")


def _structs_in(hint: Any) -> list[type[msgspec.Struct]]:
    """The struct types in a type hint, also within an optional, union, list or annotated type."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for part in get_args(hint) for found in _structs_in(part)]


def nearest(key: str, known: Iterable[str]) -> str:
    """Suggest the most similar known word, or list all of them; a text to append to a problem.

    Examples
    --------
    >>> nearest("prot", ("host", "port")), nearest("x", ("host", "port"))
    ("; did you mean 'port'?", '; known are host, port')
    """
    import difflib  # noqa: PLC0415 - needed only for a mistake

    matches = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else f"; known are {', '.join(sorted(known))}"
