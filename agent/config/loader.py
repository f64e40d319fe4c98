"""Reads a configuration, and reports all mistakes at once, each with its line and its ``$.path``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from agent.config.schema import Config
from agent.config.validation import Checker, nearest
from agent.config.yaml_document import MAX_BYTES, Document
from agent.core.errors import UserError
from agent.core.mismatch import shown
from agent.sources.registry import known_sources, source_class

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from agent.sources.base import SourceConfig


__all__ = ["load", "load_as", "parse"]

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises
    ------
    UserError
        The file cannot be read, or has mistakes; the text lists all of them, one a line.
    """
    return load_as(Config, path)


def load_as(kind: type[_Struct], path: Path) -> _Struct:
    """Read a YAML file into a struct of type ``kind``, as strictly as `load`.

    Raises
    ------
    UserError
        As in `load`.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"cannot read the configuration: {error.strerror or error}",
            location=str(path),
            remedy="name a file with --config, or leave it out for the defaults",
        ) from error
    return _parse_as(kind, raw, str(path))


def parse(raw: bytes, name: str = "config") -> Config:
    """Read a configuration from YAML text.

    Parameters
    ----------
    raw
        The text in UTF-8.
    name
        Name of the file, for errors.

    Raises
    ------
    UserError
        As in `load`.
    """
    return _parse_as(Config, raw, name)


def _parse_as(kind: type[_Struct], raw: bytes, name: str) -> _Struct:
    """Read a YAML text into a struct of type ``kind``; see `load`."""
    document = Document(name)
    tree = document.read(raw)
    checker = Checker(document, {(Config, "sources"): _sources})
    struct = checker.struct(kind, {} if tree is None else tree, "$")
    if checker.problems:
        raise UserError("\n".join(checker.problems))
    return cast("_Struct", struct)


def _sources(checker: Checker, value: Any, path: str) -> Any:
    if not isinstance(value, list) or not value:
        checker.report(path, f"expected a list of sources, got {shown(value)}")
        return None
    return tuple(_source(checker, item, f"{path}[{i}]") for i, item in enumerate(value))


def _source(checker: Checker, value: Any, path: str) -> SourceConfig | None:
    if not isinstance(value, dict) or "type" not in value:
        checker.report(path, f"expected a mapping with key 'type': one of {', '.join(known_sources())}")
        return None
    name = str(value["type"])
    try:
        kind = source_class(name)
    except KeyError:
        checker.report(f"{path}.type", f"unknown source {name!r}{nearest(name, known_sources())}")
        return None
    except UserError as error:
        checker.report(f"{path}.type", str(error))
        return None
    return checker.struct(kind.Config, value, path)  # type: ignore[no-any-return]
