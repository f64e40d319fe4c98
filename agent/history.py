"""Records frames on disk, for training: append-only, bounded, and whole up to the last minute after a crash.

A folder of segments, ``000001.ewh`` and so on. A segment begins with one line of JSON – format, sampling interval,
channels – and goes on with blocks. A block is ``EWHB``, three little-endian uint32 (rows, bytes of payload, CRC-32 of
the payload) and the payload: zlib over float64 wall times and then float32 values, channel by channel. One block is
written a minute, in one piece; of a block that was torn by a power cut nothing is read.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np

from agent.errors import UNREADABLE, UserError
from agent.types import Channel, owned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.types import Float32Array, Float64Array, Frame

__all__ = ["Block", "History", "read", "segments"]

_LOG = logging.getLogger(__name__)

_FORMAT = "edgewatch-history"
_SUFFIX = ".ewh"
_MAGIC = b"EWHB"
_HEAD = struct.Struct("<4sIII")
_FLUSH_S = 60.0
_MOST_ROWS = 4096  # a block, however short the interval
_MOST_CHANNELS = 65_536
_SEGMENTS = 8  # that share the room; the oldest goes when it is used up
_MOST_SEGMENTS = 4096


class _Header(msgspec.Struct, frozen=True):
    format: str
    v: int
    interval_s: Annotated[float, msgspec.Meta(gt=0)]
    channels: list[Channel]


class Block(NamedTuple):
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


class History:
    """Appends frames; what cannot be written is counted and left out.

    Parameters
    ----------
    directory
        Made if it is not there.
    channels
        In the order of the frames' values.
    interval_s
        Seconds between frames.
    max_bytes
        The oldest segments are removed when all together are larger.
    """

    def __init__(self, directory: Path, channels: Sequence[Channel], interval_s: float, max_bytes: int) -> None:
        self._directory = directory
        self._interval_s = interval_s
        self._channels = tuple(channels)
        # Places in the frame that belong to a channel.
        self._places = owned(channels)
        self._max_bytes = max_bytes
        self._rows = max(1, min(round(_FLUSH_S / interval_s), _MOST_ROWS))
        self._wall = np.empty(self._rows)
        self._values = np.empty((self._rows, len(channels)), np.float32)
        self._filled = 0
        self._segment: Path | None = None
        #: Frames that could not be written.
        self.lost = 0

    def add(self, frame: Frame) -> None:
        """Keep a frame; once a minute all kept ones are written."""
        row = self._filled
        self._wall[row] = frame.wall
        self._values[row] = frame.values
        self._filled = row + 1
        if self._filled == self._rows:
            self.flush()

    def change(self, channels: Sequence[Channel]) -> None:
        """Go on in a new segment, where places in the frame belong to other channels."""
        self.flush()
        self._channels = tuple(channels)
        self._places = owned(channels)
        self._segment = None

    def flush(self) -> None:
        """Write what is kept."""
        rows, self._filled = self._filled, 0
        if not rows or not self._places:
            return
        raw = self._wall[:rows].astype("<f8").tobytes() + self._values[:rows, self._places].T.astype("<f4").tobytes()
        payload = zlib.compress(raw, 1)
        try:
            self._append(_HEAD.pack(_MAGIC, rows, len(payload), zlib.crc32(payload)) + payload)
        except OSError as error:
            if not self.lost:
                _LOG.warning("history: cannot write to %s: %s", self._directory, error.strerror or error)
            self.lost += rows
            self._segment = None  # what was written of it may be torn: go on in a new one

    def _append(self, block: bytes) -> None:
        if self._segment is None or self._segment.stat().st_size > self._max_bytes // _SEGMENTS:
            self._segment = self._begin()
        with self._segment.open("ab") as file:
            file.write(block)
        self._make_room()

    def _begin(self) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True)
        existing = segments(self._directory)
        number = int(existing[-1].stem) + 1 if existing else 1
        path = self._directory / f"{number:06d}{_SUFFIX}"
        channels = [_described(self._channels[place]) for place in self._places]
        header = {"format": _FORMAT, "v": 1, "interval_s": self._interval_s, "channels": channels}
        partial = path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(header) + b"\n")
        partial.replace(path)
        return path

    def _make_room(self) -> None:
        """Remove the oldest segments, never the one in use."""
        existing = segments(self._directory)
        sizes = [path.stat().st_size for path in existing]
        excess = sum(sizes) - self._max_bytes
        for path, size in zip(existing[:-1], sizes, strict=False):
            if excess <= 0 and len(existing) <= _MOST_SEGMENTS:
                return
            path.unlink()
            excess -= size
            existing = existing[1:]


def segments(directory: Path) -> list[Path]:
    """Segments of a recording, oldest first."""
    return sorted((p for p in directory.glob(f"*{_SUFFIX}") if p.stem.isdigit()), key=lambda p: int(p.stem))


def read(path: Path) -> Iterator[Block]:
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
        while head := file.read(_HEAD.size):
            if len(head) < _HEAD.size:
                raise _damaged(path, file.tell())
            magic, rows, length, checksum = _HEAD.unpack(head)
            # Before a length that is nonsense is believed.
            if magic != _MAGIC or length > size or not 1 <= rows <= _MOST_ROWS:
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
            yield Block(channels, header.interval_s, wall, values.reshape(len(channels), rows).T.astype(np.float32))


def _read_header(line: bytes, path: Path) -> _Header:
    try:
        header = msgspec.json.decode(line, type=_Header)
    except UNREADABLE:
        header = None
    if header is None or header.format != _FORMAT or header.v != 1 or not 1 <= len(header.channels) <= _MOST_CHANNELS:
        raise UserError(
            "no segment of a recording by this agent", place=str(path), remedy="name a folder that `history:` filled"
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
        place=str(path),
        remedy="a power cut while writing leaves this; nothing to be done",
    )


def _described(channel: Channel) -> dict[str, str | float]:
    """What a channel says of itself, where it says anything; infinity is no JSON."""
    usual = Channel("")
    fields = {name: getattr(channel, name) for name in channel.__struct_fields__}
    return {name: value for name, value in fields.items() if value != getattr(usual, name)}
