"""The file format of recordings: segments of compressed, checked blocks; reading them."""

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
BLOCK_HEAD = struct.Struct("<4sIII")
MOST_ROWS = 4096  # a block, however short the interval
_MOST_CHANNELS = 65_536


class _Header(msgspec.Struct, frozen=True):
    format: str
    v: int
    interval_s: Annotated[float, msgspec.Meta(gt=0)]
    channels: list[Channel]


class RecordedBlock(NamedTuple):
    """Consecutive frames.

    Parameters
    ----------
    channels, interval_s
        What was recorded, and how often.
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
    """Segments of a recording, oldest first."""
    return sorted((p for p in directory.glob(f"*{SEGMENT_SUFFIX}") if p.stem.isdigit()), key=lambda p: int(p.stem))


def read(path: Path) -> Iterator[RecordedBlock]:
    """Read the blocks of one segment, up to the first damaged one.

    Raises
    ------
    UserError
        It is no segment of a recording, or it ends in a damaged block; what came before was given.
    """
    with path.open("rb") as file:
        header = _read_header(file.readline(64 << 20), path)
        channels = tuple(header.channels)
        size = os.fstat(file.fileno()).st_size
        while head := file.read(BLOCK_HEAD.size):
            if len(head) < BLOCK_HEAD.size:
                raise _damaged(path, file.tell())
            magic, rows, length, checksum = BLOCK_HEAD.unpack(head)
            # Before a length that is nonsense is believed.
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
            "no segment of a recording by this agent", location=str(path), remedy="name a folder that `history:` filled"
        )
    return header


def _decompressed(payload: bytes, expected: int) -> bytes:
    """At most one byte more than expected; nothing of what was not compressed as it should be."""
    try:
        return zlib.decompressobj().decompress(payload, expected + 1)
    except zlib.error:
        return b""


def _damaged(path: Path, position: int) -> UserError:
    return UserError(
        f"damaged from byte {position} on; what lies before it was read",
        location=str(path),
        remedy="a power cut while writing leaves this; nothing to be done",
    )
