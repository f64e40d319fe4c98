"""Registry of data formats: finds a reader by the name of the format or by the path.

A new format is a module with ``recognises`` and ``read`` and a line in `REGISTRY`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent.core.errors import UserError
from training.data import labels
from training.data.readers import csv, directory, history, nab, parquet, skab, smd, ucr
from training.data.readers.channels import nearest, same_channels
from training.data.readers.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from training.data.recording import Recording

__all__ = ["REGISTRY", "ReadOptions", "Reader", "read", "same_channels"]


class Reader(Protocol):
    """Interface of the module of a format."""

    def recognises(self, path: Path) -> bool:
        """Whether an existing path looks like this format; checks name and layout, at most the first line."""

    def read(self, path: Path, options: ReadOptions) -> Iterator[Recording]:
        """Yield the recordings, each read when requested."""


#: Modules by name of the format. The first one that recognises a path reads it.
REGISTRY: dict[str, Reader] = {
    "ucr": ucr,
    "smd": smd,
    "nab": nab,
    "skab": skab,
    "history": history,
    "csv": csv,
    "parquet": parquet,
    "directory": directory,
}


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Recording]:
    """Read recordings, one at a time.

    Parameters
    ----------
    paths
        Files and folders of any format.
    options
        How to read. Labels from a file replace those in the data.

    Raises
    ------
    UserError
        A path does not exist or has an unknown format, or its data is unusable.
    EnvironmentFault
        The temporary folder has too little space for data larger than memory.
    """
    for path in paths:
        try:
            yield from _recordings(path, options)
        except OSError as error:
            raise UserError(
                f"cannot be read: {error.strerror or error}",
                location=str(error.filename or path),
                remedy="check the permissions of the file and its folder",
            ) from error


def _recordings(path: Path, options: ReadOptions) -> Iterator[Recording]:
    empty = True
    for recording in _reader(path, options.format).read(path, options):
        empty = False
        if options.labels is None:
            yield recording
        else:
            yield labels.apply(recording, options.labels, whole=options.rows is None)
    if empty:
        raise UserError("there is no data of this format", location=str(path), remedy="check the path and --format")


def _reader(path: Path, name: str | None) -> Reader:
    if not path.exists():
        raise UserError("no such file or folder", location=str(path), remedy="check the path")
    if name is not None:
        if name not in REGISTRY:
            raise UserError(f"unknown format {name!r}", remedy=nearest(name, list(REGISTRY)))
        return REGISTRY[name]
    for reader in REGISTRY.values():
        if reader.recognises(path):
            return reader
    raise UserError(
        "the format cannot be detected from the name",
        location=str(path),
        remedy=f"name it with --format: {', '.join(REGISTRY)}",
    )
