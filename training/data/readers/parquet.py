"""Reader of Parquet files, wide or long; the time is the only column of time stamps, else the first column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from agent.core.errors import UserError
from training.data.readers.table import RowBlock, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from training.data.read_report import ReadReport
    from training.data.readers.options import ReadOptions
    from training.data.recording import Recording

__all__ = ["ParquetTable", "read", "recognises"]

_BATCH_ROWS = 1 << 16  # read at a time; chosen by hand


def recognises(path: Path) -> bool:
    """Whether the path is a file with the suffix ``.parquet`` or ``.pq``."""
    return path.suffix.lower() in {".parquet", ".pq"} and path.is_file()


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Yield the recording of the file."""
    yield recording(ParquetTable.open(path), options, path.stem)


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file, read batch by batch."""

    path: Path
    time: str
    names: tuple[str, ...]
    unit: ClassVar[str] = "row"

    @classmethod
    def open(cls, path: Path) -> ParquetTable:
        """Read the schema.

        Raises
        ------
        UserError
            The file is not Parquet, has no column besides the time, or repeats a column name.
        """
        schema = _opened(path).schema_arrow
        if len(schema) < 2 or len(set(schema.names)) < len(schema):
            raise UserError(
                f"the columns are {schema.names}",
                location=str(path),
                remedy="write a time column and one column per channel, with distinct names",
            )
        stamps = [field.name for field in schema if pa.types.is_timestamp(field.type)]
        time = stamps[0] if len(stamps) == 1 else schema.names[0]
        return cls(path, time, tuple(name for name in schema.names if name != time))

    def blocks(self, columns: Sequence[str], findings: ReadReport) -> Iterator[RowBlock]:  # noqa: ARG002 - rows always have all fields
        """Yield the rows in order.

        Raises
        ------
        UserError
            The file is damaged.
        """
        seen = 0
        batches = _opened(self.path).iter_batches(_BATCH_ROWS, columns=[self.time, *columns])
        while (batch := _sound(self.path, batches.__next__)) is not None:
            places = np.arange(seen + 1, seen + batch.num_rows + 1)
            seen += batch.num_rows
            yield RowBlock(places, batch.column(self.time), tuple(batch.column(name) for name in columns))


def _opened(path: Path) -> pyarrow.parquet.ParquetFile:
    return _sound(path, lambda: pyarrow.parquet.ParquetFile(path))


def _sound(path: Path, read: Callable[[], Any]) -> Any:
    """Result of ``read``, None when it raises `StopIteration`; errors of the file become a `UserError`."""
    try:
        return read()
    except StopIteration:
        return None
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"not readable as Parquet: {str(error).splitlines()[0]}", location=str(path), remedy="export the file again"
        ) from error
