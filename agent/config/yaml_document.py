"""Parses YAML text to plain values, and remembers the line of each.

Scalars follow the core schema of YAML 1.2: ``NO`` and ``12:30`` are strings, ``1e3`` is a number. Anchors, aliases,
tags and duplicate keys are refused. Size, depth and number of values are limited.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from agent.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_BYTES", "Document"]

#: Bytes of the largest text; chosen by hand, so that any text is parsed or refused in about a second.
MAX_BYTES = 1 << 18
# Largest depth and number of values; chosen by hand, for the same reason.
_MAX_DEPTH = 20
_MOST_NODES = 15_000
# NUL and lone surrogates, which file names, topics and UTF-8 messages cannot hold.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """YAML loader with the scalars of the core schema and limits on depth and number of values."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own type

    def __init__(self, raw: bytes, inspect: Callable[[yaml.Event], None]) -> None:
        super().__init__(raw)
        self._inspect = inspect
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Inspect the next event, then compose its node."""
        self._inspect(self.peek_event())  # type: ignore[no-untyped-call]
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise yaml.scanner.ScannerError(None, None, f"more than {_MOST_NODES:,} values", self.get_mark())
        return super().compose_node(parent, index)

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Refuse deep nesting while scanning, as the time of scanning grows with the square of the depth."""
        self._refuse_depth(self.flow_level)
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        """Refuse deep nesting by indentation, too."""
        self._refuse_depth(len(self.indents))
        return super().add_indent(column)

    def _refuse_depth(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, "nested too deeply", self.get_mark())


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), [*_first] if _tag != "null" else ["", *_first]
    )


class Document:
    """A YAML text as plain Python values, with the line of every path.

    Parameters
    ----------
    name
        Name of the file, for errors.
    """

    def __init__(self, name: str) -> None:
        #: Name of the file, for errors.
        self.name = name
        self._lines: dict[str, int] = {"$": 1}

    def location(self, path: str) -> str:
        """``file:line: $.path``, with the line of the path or of its nearest ancestor in the file."""
        known = path
        while known not in self._lines:  # ends at $, which is always known
            known = known[: max(known.rfind("."), known.rfind("["), 1)]
        return f"{self.name}:{self._lines[known]}: {path}"

    def read(self, raw: bytes) -> Any:
        """Parse a text.

        Parameters
        ----------
        raw
            The text in UTF-8.

        Returns
        -------
        dict, list, str, int, float, bool or None
            None for an empty text.

        Raises
        ------
        UserError
            The text is too large, not valid YAML, or uses features that are refused.
        """
        if len(raw) > MAX_BYTES:
            raise UserError("larger than 256 KiB", location=self.name, remedy="shorten it to a few hundred lines")
        try:
            loader = _Loader(raw, self._refuse_surprises)
            node = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = getattr(mark, "line", 0) + 1
            raise UserError(
                f"not valid YAML: {error.problem or error.context}",
                location=f"{self.name}:{line}",
                remedy="check the indentation, and quote texts with special characters",
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(
                f"not valid YAML: {' '.join(str(error).split())}",
                location=self.name,
                remedy="save the file as UTF-8 text",
            ) from error
        return None if node is None else self._value(node, "$", 0)

    def _refuse_surprises(self, event: yaml.Event) -> None:
        problem = None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problem = "anchors and aliases are not supported"
        elif getattr(event, "tag", None):
            problem = "tags are not supported"
        if problem:
            line = getattr(event.start_mark, "line", 0) + 1
            raise UserError(problem, location=f"{self.name}:{line}", remedy="write the value out")

    def _value(self, node: yaml.Node, path: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        if depth > _MAX_DEPTH:
            raise UserError(
                "nested too deeply", location=f"{self.name}:{line}", remedy=f"nest at most {_MAX_DEPTH} levels"
            )
        self._refuse_no_text(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        return _scalar(node)

    def _refuse_no_text(self, node: yaml.Node) -> None:
        """Refuse NUL and lone surrogates, which no file name, topic or message can hold."""
        if isinstance(node, yaml.ScalarNode) and _NO_TEXT.search(node.value):
            location = f"{self.name}:{node.start_mark.line + 1}"
            raise UserError("a text with NUL or a lone surrogate", location=location, remedy="remove that character")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(key_node.value)
            self._refuse_no_text(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or key in mapping:
                twice = key in mapping
                raise UserError(
                    f"key {key!r} occurs twice" if twice else "a key must be a plain word",
                    location=f"{self.name}:{line}: {path}",
                    remedy="keep one of them" if twice else "write a word as key",
                )
            self._lines[f"{path}.{key}"] = line
            mapping[key] = self._value(value_node, f"{path}.{key}", depth + 1)
        return mapping


def _scalar(node: yaml.Node) -> Any:
    kind = node.tag.rsplit(":", 1)[1]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() == "true"
    if kind == "int" and len(node.value) <= 30:
        return int(node.value)
    if kind == "float":
        return float(node.value)
    return node.value
