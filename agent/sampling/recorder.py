"""Records all frames on disk for training, with a limit on the size of the folder."""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.core.atomic_file import atomic_file
from agent.core.channel import Channel, owned
from agent.sampling.recording import BLOCK_HEAD, BLOCK_MAGIC, MOST_ROWS, SEGMENT_FORMAT, SEGMENT_SUFFIX, segments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.core.frame import Frame


__all__ = ["Recorder"]

_LOG = logging.getLogger(__name__)
# Seconds between writes; chosen by hand: so much of a recording is lost after a kill.
_FLUSH_S = 60.0
# Segments that share ``max_bytes``, of which the oldest is removed as a whole; chosen by hand.
_SEGMENTS = 8
# Files at most, if many changes of channels make small segments; chosen by hand.
_MOST_SEGMENTS = 4096


class Recorder:
    """Appends frames to the newest segment; frames that cannot be written are dropped and counted.

    Parameters
    ----------
    directory
        Folder of the segments; created if missing.
    channels
        Channels in the order of the frames' values.
    interval_s
        Seconds between frames.
    max_bytes
        Bytes of all segments; beyond that the oldest are removed.
    """

    def __init__(self, directory: Path, channels: Sequence[Channel], interval_s: float, max_bytes: int) -> None:
        self._directory = directory
        self._interval_s = interval_s
        self._channels = tuple(channels)
        # Indices of the frame that belong to a channel.
        self._indices = owned(channels)
        self._max_bytes = max_bytes
        self._rows = max(1, min(round(_FLUSH_S / interval_s), MOST_ROWS))
        self._wall = np.empty(self._rows)
        self._values = np.empty((self._rows, len(channels)), np.float32)
        self._filled = 0
        self._segment: Path | None = None
        #: Number of frames that could not be written.
        self.lost = 0

    def add(self, frame: Frame) -> None:
        """Buffer a frame; the buffer is written once a minute."""
        row = self._filled
        self._wall[row] = frame.wall
        self._values[row] = frame.values
        self._filled = row + 1
        if self._filled == self._rows:
            self.flush()

    def change(self, channels: Sequence[Channel]) -> None:
        """Continue in a new segment with other channels."""
        self.flush()
        self._channels = tuple(channels)
        self._indices = owned(channels)
        self._segment = None

    def flush(self) -> None:
        """Write the buffered frames."""
        rows, self._filled = self._filled, 0
        if not rows or not self._indices:
            return
        raw = self._wall[:rows].astype("<f8").tobytes() + self._values[:rows, self._indices].T.astype("<f4").tobytes()
        payload = zlib.compress(raw, 1)
        try:
            self._append(BLOCK_HEAD.pack(BLOCK_MAGIC, rows, len(payload), zlib.crc32(payload)) + payload)
        except OSError as error:
            if not self.lost:
                text = "history: cannot write to %s (%s); frames are lost until it can be written"
                _LOG.warning(text, self._directory, error.strerror or error)
            self.lost += rows
            self._segment = None  # the last block may be incomplete, so a new segment follows

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
        path = self._directory / f"{number:06d}{SEGMENT_SUFFIX}"
        channels = [_described(self._channels[index]) for index in self._indices]
        header = {"format": SEGMENT_FORMAT, "v": 1, "interval_s": self._interval_s, "channels": channels}
        with atomic_file(path, durable=False) as file:
            file.write(msgspec.json.encode(header) + b"\n")
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


def _described(channel: Channel) -> dict[str, str | float]:
    """Fields of a channel that differ from their defaults; infinite defaults cannot be written as JSON."""
    default = Channel("")
    fields = {name: getattr(channel, name) for name in channel.__struct_fields__}
    return {name: value for name, value in fields.items() if value != getattr(default, name)}
