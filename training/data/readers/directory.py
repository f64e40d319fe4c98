"""Reader of a folder of tables: each CSV or Parquet file directly in it is a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.errors import UserError
from training.data.readers import csv, parquet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from training.data.readers.options import ReadOptions
    from training.data.recording import Recording

__all__ = ["read", "recognises"]


def recognises(path: Path) -> bool:
    """Whether the path is a folder."""
    return path.is_dir()


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Yield one recording per file, in the order of names.

    Raises
    ------
    UserError
        The folder has no CSV or Parquet file.
    """
    files = sorted(path.iterdir()) if path.is_dir() else []
    known = [(reader, file) for file in files for reader in (csv, parquet) if reader.recognises(file)]
    if not known:
        raise UserError(
            "the folder has no CSV or Parquet file", location=str(path), remedy="name the folder that holds the files"
        )
    for reader, file in known:
        yield from reader.read(file, options)
