"""The file format of recordings: segments of compressed blocks with checksums.

A segment is a header line of JSON, followed by blocks. A block is `BLOCK_HEAD` and a zlib-compressed payload: float64
wall times, then the float32 values of one channel after the other, all little-endian.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import (
    TYPE_CHECKING,
    Annotated,
    NamedTuple,
)

import msgspec
import numpy as np

from agent.core.channel import Channel  # noqa: TC001 - msgspec resolves the hint at run time
from agent.core.errors import UNREADABLE, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.core.arrays import Float32Array, Float64Array


__all__ = [
    "BLOCK_HEAD",
    "BLOCK_MAGIC",
    "MOST_ROWS",
    "SEGMENT_FORMAT",
    "SEGMENT_SUFFIX",
    "RecordedBlock",
    "read",
    "segments",
]

SEGMENT_FORMAT = "edgewatch-history"
SEGMENT_SUFFIX = ".ewh"
BLOCK_MAGIC = b"EWHB"
#: Magic word, number of rows, bytes and CRC-32 of the compressed payload.
BLOCK_HEAD = struct.Struct("<4sIII")
#: Rows of a block at most; chosen by hand, it bounds memory.
MOST_ROWS = 4096
# Channels of a segment at most; chosen by hand, it bounds memory.
_MOST_CHANNELS = 65_536


class _Header(msgspec.Struct, frozen=True):
    format: str
    v: int
    interval_s: Annotated[float, msgspec.Meta(gt=0)]
    channels: list[Channel]


class RecordedBlock(NamedTuple):
    """Consecutive frames of a recording.

    Parameters
    ----------
    channels, interval_s
        The recorded channels, and the seconds between frames.
    wall
        float64[rows], seconds since 1970.
    values
        float32[rows, n_channels], NaN where missing.
    """

    channels: tuple[Channel, ...]
    interval_s: float
    wall: Float64Array
    values: Float32Array


def segments(directory: Path) -> list[Path]:
    """Paths of the segments in a folder, oldest first."""
    return sorted((p for p in directory.glob(f"*{SEGMENT_SUFFIX}") if p.stem.isdigit()), key=lambda p: int(p.stem))


def read(path: Path) -> Iterator[RecordedBlock]:
    """Yield the blocks of one segment, up to the first damaged one.

    Raises
    ------
    UserError
        The file is not a segment of a recording, or a block is damaged; the blocks before it have been yielded.
    """
    with path.open("rb") as file:
        header = _read_header(file.readline(64 << 20), path)
        channels = tuple(header.channels)
        size = os.fstat(file.fileno()).st_size
        while head := file.read(BLOCK_HEAD.size):
            if len(head) < BLOCK_HEAD.size:
                raise _damaged(path, file.tell())
            magic, rows, length, checksum = BLOCK_HEAD.unpack(head)
            # Checked first, so that a damaged length does not allocate memory.
            if magic != BLOCK_MAGIC or length > size or not 1 <= rows <= MOST_ROWS:
                raise _damaged(path, file.tell())
            payload = file.read(length)
            expected = rows * (8 + 4 * len(channels))
            if len(payload) < length or zlib.crc32(payload) != checksum:
                raise _damaged(path, file.tell())
            raw = _decompressed(payload, expected)
            if len(raw) != expected:
                raise _damaged(path, file.tell())
            wall = np.frombuffer(raw, "<f8", rows).astype(np.float64)
            values = np.frombuffer(raw, "<f4", rows * len(channels), offset=8 * rows)
            yield RecordedBlock(
                channels, header.interval_s, wall, values.reshape(len(channels), rows).T.astype(np.float32)
            )


def _read_header(line: bytes, path: Path) -> _Header:
    try:
        header = msgspec.json.decode(line, type=_Header)
    except UNREADABLE:
        header = None
    if (
        header is None
        or header.format != SEGMENT_FORMAT
        or header.v != 1
        or not 1 <= len(header.channels) <= _MOST_CHANNELS
    ):
        raise UserError(
            "not a segment of a recording",
            location=str(path),
            remedy="name a folder that the section `history` of an agent has filled",
        )
    return header


def _decompressed(payload: bytes, expected: int) -> bytes:
    """Decompress at most ``expected + 1`` bytes; empty if the payload is damaged."""
    try:
        return zlib.decompressobj().decompress(payload, expected + 1)
    except zlib.error:
        return b""


def _damaged(path: Path, position: int) -> UserError:
    return UserError(
        f"damaged from byte {position} on; the blocks before it were read",
        location=str(path),
        remedy="none needed: a power cut during writing causes this",
    )
