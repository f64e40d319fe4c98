"""Growing arrays that move to an unlinked temporary file when they become large."""

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

_IN_MEMORY_BYTES = 64 << 20  # a larger array moves to disk; chosen by hand
_PIECE_ROWS = 1 << 19  # rows read or filled at a time, a few MB a column; chosen by hand


class DiskArray:
    """Array that grows by blocks of rows; above 64 MiB it lies on disk.

    Parameters
    ----------
    dtype
        Type of the elements.
    width
        Elements per row; None for a one-dimensional array.
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
        """Append rows, [n] or [n, width].

        Raises
        ------
        EnvironmentFault
            The temporary folder cannot be written, for example on a full disk.
        """
        self._blocks.append(block.astype(self._dtype, copy=False))
        self._rows += len(block)
        if self._file is not None or self._rows * self._row_bytes > _IN_MEMORY_BYTES:
            self._spill()

    def array(self) -> npt.NDArray[Any]:
        """All rows, [rows] or [rows, width]; a memory map if they lie on disk."""
        if self._file is None:
            self._blocks = [self._joined()]
            return self._blocks[0]
        return np.memmap(self._file, self._dtype, "r+", shape=(self._rows, *self._shape))

    def pieces(self) -> Iterator[npt.NDArray[Any]]:
        """All rows in order, at most 2**19 at a time, so that a large array is never in memory as a whole."""
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
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the array
                weakref.finalize(self, self._file.close)
            for block in self._blocks:
                np.ascontiguousarray(block).tofile(self._file)
        except OSError as error:
            raise _disk_fault(error) from error
        self._blocks.clear()


def empty(rows: int, width: int) -> npt.NDArray[np.float32]:
    """Return float32[rows, width] full of NaN; above 64 MiB a memory map of an unlinked file.

    Raises
    ------
    EnvironmentFault
        The temporary folder cannot be written, for example on a full disk.
    """
    size = 4 * rows * width
    if size <= _IN_MEMORY_BYTES:
        return np.full((rows, width), np.nan, np.float32)
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)  # writing a map on a full disk raises SIGBUS
            values = np.memmap(file, np.float32, "r+", shape=(rows, width))
    except OSError as error:
        raise _disk_fault(error) from error
    for first in range(0, rows, _PIECE_ROWS):
        values[first : first + _PIECE_ROWS] = np.nan
    return values


def _disk_fault(error: OSError) -> EnvironmentFault:
    reason = "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT, None} else error.strerror
    return EnvironmentFault(
        f"cannot write data that is too large for memory: {reason}",
        location=tempfile.gettempdir(),
        remedy="free disk space, or set TMPDIR to a folder on a larger disk",
    )
