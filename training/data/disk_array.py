"""Arrays that outgrow memory: rows are appended block by block, many of them lie in an unlinked temporary file."""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agent.core.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DiskArray", "empty"]

_IN_MEMORY_BYTES = 64 << 20
_PIECE_ROWS = 1 << 19


class DiskArray:
    """Rows of one type, appended block by block.

    Parameters
    ----------
    dtype
        Of the elements.
    width
        Elements a row; None for a one-dimensional array.
    """

    def __init__(self, dtype: npt.DTypeLike, width: int | None = None) -> None:
        self._dtype = np.dtype(dtype)
        self._shape = () if width is None else (width,)
        self._row_bytes = self._dtype.itemsize * (width or 1)
        self._blocks: list[npt.NDArray[Any]] = []
        self._file: IO[bytes] | None = None
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def append(self, block: npt.NDArray[Any]) -> None:
        """Add rows.

        Raises
        ------
        EnvironmentFault
            The disk of the temporary folder is full.
        """
        self._blocks.append(block.astype(self._dtype, copy=False))
        self._rows += len(block)
        if self._file is not None or self._rows * self._row_bytes > _IN_MEMORY_BYTES:
            self._spill()

    def array(self) -> npt.NDArray[Any]:
        """All rows; a memory map where they outgrew memory."""
        if self._file is None:
            self._blocks = [self._joined()]
            return self._blocks[0]
        return np.memmap(self._file, self._dtype, "r+", shape=(self._rows, *self._shape))

    def pieces(self) -> Iterator[npt.NDArray[Any]]:
        """All rows in order, so many at a time that nothing else need be in memory."""
        if self._file is None:
            whole = self.array()
            yield from (whole[first : first + _PIECE_ROWS] for first in range(0, self._rows, _PIECE_ROWS))
            return
        for first in range(0, self._rows, _PIECE_ROWS):
            size = min(_PIECE_ROWS, self._rows - first) * self._row_bytes
            piece = os.pread(self._file.fileno(), size, first * self._row_bytes)
            yield np.frombuffer(piece, self._dtype).reshape(-1, *self._shape)

    def _joined(self) -> npt.NDArray[Any]:
        return np.concatenate([np.empty((0, *self._shape), self._dtype), *self._blocks])

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
                weakref.finalize(self, self._file.close)
            for block in self._blocks:
                np.ascontiguousarray(block).tofile(self._file)
        except OSError as error:
            raise _disk_fault(error) from error
        self._blocks.clear()


def empty(rows: int, width: int) -> npt.NDArray[np.float32]:
    """Give float32[rows, width] full of NaN; a memory map of an unlinked file where it is large.

    Raises
    ------
    EnvironmentFault
        The disk of the temporary folder is full.
    """
    size = 4 * rows * width
    if size <= _IN_MEMORY_BYTES:
        return np.full((rows, width), np.nan, np.float32)
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a map onto a full disk would end the process
            values = np.memmap(file, np.float32, "r+", shape=(rows, width))
    except OSError as error:
        raise _disk_fault(error) from error
    for first in range(0, rows, _PIECE_ROWS):
        values[first : first + _PIECE_ROWS] = np.nan
    return values


def _disk_fault(error: OSError) -> EnvironmentFault:
    reason = "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT, None} else error.strerror
    return EnvironmentFault(
        f"data larger than memory cannot be kept: {reason}",
        location=tempfile.gettempdir(),
        remedy="make room, or name a folder on a larger disk in TMPDIR",
    )
