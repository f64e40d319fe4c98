"""Reader of CSV files with `,` or `;`, wide or long; the first column is the time."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.csv

from agent.core.errors import UserError
from agent.sources.csv_reader import CsvReader
from training.data.readers.table import RowBlock, recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.core.arrays import IntArray
    from training.data.read_report import ReadReport
    from training.data.readers.options import ReadOptions
    from training.data.recording import Recording

__all__ = ["CsvTable", "is_csv", "read", "recognises"]

_BLOCK_BYTES = 4 << 20  # parsed at a time; chosen by hand
# Texts that Arrow replaces by null while parsing; other spellings of a missing value are found cell by cell.
_NULLS = ["", "-", "nan", "NaN", "NAN", "null", "NULL", "None", "none", "n/a", "N/A", "na", "NA"]


def recognises(path: Path) -> bool:
    """Whether the path is a file with the suffix ``.csv``."""
    return is_csv(path)


def is_csv(path: Path) -> bool:
    """Whether the path is a file with the suffix ``.csv``."""
    return path.suffix.lower() == ".csv" and path.is_file()


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Yield the recording of the file."""
    yield recording(CsvTable.open(path), options, path.stem)


@dataclass(frozen=True)
class CsvTable:
    """A CSV file, split into texts by Arrow.

    A line with too few fields is filled with missing values, a line with too many is cut; both are counted.
    """

    path: Path
    names: tuple[str, ...]
    delimiter: str
    unit: ClassVar[str] = "line"

    @classmethod
    def open(cls, path: Path) -> CsvTable:
        """Read the header with the agent's reader.

        Raises
        ------
        UserError
            See `agent.sources.csv_reader.CsvReader`.
        """
        with CsvReader(path, interval_s=1.0) as head:
            return cls(path, tuple(channel.name for channel in head.channels), head.delimiter)

    def blocks(self, columns: Sequence[str], findings: ReadReport) -> Iterator[RowBlock]:
        """Yield the rows in order.

        Raises
        ------
        UserError
            The text is not UTF-8, or a quotation mark is never closed.
        """
        wanted = [0, *(self.names.index(name) + 1 for name in columns)]
        ragged = _Ragged(self.delimiter, wanted)
        try:
            for batch in self._batches(wanted, ragged):
                block = RowBlock(ragged.lines(batch.num_rows), batch.column(0), tuple(batch.columns[1:]))
                yield _without_blank_lines(ragged.joined(block, findings))
        except pa.ArrowInvalid as error:
            raise self._fault(error) from error
        rest = RowBlock(np.empty(0, np.int64), _texts([]), tuple(_texts([]) for _ in columns))
        yield ragged.joined(rest, findings, last=True)

    def _batches(self, wanted: list[int], ragged: _Ragged) -> Iterator[pa.RecordBatch]:
        names = [str(number) for number in range(len(self.names) + 1)]
        reader = pyarrow.csv.open_csv(
            self.path,
            pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False, block_size=_BLOCK_BYTES),
            pyarrow.csv.ParseOptions(
                delimiter=self.delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=ragged.set_aside,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[names[number] for number in wanted],
                null_values=_NULLS,
                strings_can_be_null=True,
            ),
        )
        with reader:
            yield from reader

    def _fault(self, error: pa.ArrowInvalid) -> UserError:
        """Find line and reason with the agent's reader; Arrow does not report them."""
        try:
            with CsvReader(self.path, interval_s=1.0) as reader:
                for _ in reader:
                    pass
        except UserError as found:
            return found
        return UserError(
            f"not readable as CSV: {error}",
            location=str(self.path),
            remedy="check for unmatched quotation marks",
        )


class _Ragged:
    """Collects the lines with a wrong number of fields, which Arrow skips, and numbers the other lines."""

    def __init__(self, delimiter: str, wanted: list[int]) -> None:
        self._delimiter = delimiter
        self._wanted = wanted
        self._rows: dict[int, str] = {}
        self._next = 2

    def set_aside(self, row: pyarrow.csv.InvalidRow) -> str:
        self._rows[row.number] = row.text
        return "skip"

    def lines(self, n_rows: int) -> IntArray:
        """Line numbers of the next ``n_rows`` complete rows, int64[n_rows]."""
        lines = np.arange(self._next, self._next + n_rows + len(self._rows))
        lines = lines[~np.isin(lines, list(self._rows))][:n_rows]
        self._next = int(lines[-1]) + 1 if n_rows else self._next
        return lines

    def joined(self, block: RowBlock, findings: ReadReport, *, last: bool = False) -> RowBlock:
        """Insert the skipped lines at their positions; lines after the block wait for the next one."""
        numbers = [number for number in self._rows if last or number < self._next]
        if not numbers:
            return block
        rows = [next(csv.reader([self._rows.pop(number)], delimiter=self._delimiter)) for number in numbers]
        findings.add("fields", len(numbers), numbers[0])
        columns = [_texts([row[at] if at < len(row) else None for row in rows]) for at in self._wanted]
        joined = RowBlock(
            np.concatenate((block.places, numbers)),
            pa.concat_arrays([block.time, columns[0]]),
            tuple(pa.concat_arrays(pair) for pair in zip(block.columns, columns[1:], strict=True)),
        )
        return joined.only(np.argsort(joined.places, kind="stable"))


def _without_blank_lines(block: RowBlock) -> RowBlock:
    if not block.time.null_count:
        return block
    filled = np.any([cells.is_valid() for cells in (block.time, *block.columns)], axis=0)
    return block.only(np.flatnonzero(filled))


def _texts(cells: list[str | None]) -> pa.Array:
    return pa.array(cells, pa.string())
