"""Rows of the outbox as bytes that carry their own checksum, so that they survive a damaged file."""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TypeAlias

    #: Records found, by kind, row and number.
    FoundRecords: TypeAlias = dict[tuple[bytes, int, int], "Row"]


__all__ = [
    "ALERT_RECORD",
    "INCIDENTS_RECORD",
    "LARGEST_NUMBER",
    "FoundRecords",
    "Row",
    "found_records",
    "pack_record",
    "record_key",
    "unpack_record",
]

_MARK = b"\xe5EWr"
# Checksum of all that follows, kind, row, number, seconds since 1970 or 0, rank, bytes of payload.
_HEAD = struct.Struct("<4sIcQQdBI")
_CHECKED = 8  # from here on
ALERT_RECORD, INCIDENTS_RECORD = b"a", b"i"
_MOST_PAYLOAD = 1 << 20
LARGEST_NUMBER = 1 << 62


class Row(NamedTuple):
    """An alert that waits.

    Parameters
    ----------
    rowid
        Key of its row: the order in which alerts were raised, over all runs of the agent.
    seq
        Its number.
    rank
        Of its severity; the lowest is dropped first.
    at
        Wall time it was raised at, seconds since 1970; 0 when the clock could not be believed.
    payload
        As it will be published.
    """

    rowid: int
    seq: int
    rank: int
    at: float
    payload: bytes


def record_key(kind: bytes, row: Row) -> tuple[bytes, int, int]:
    """What tells a record from all others."""
    return kind, row.rowid, row.seq


def pack_record(kind: bytes, row: Row) -> bytes:
    """A row as bytes, with a checksum."""
    head = _HEAD.pack(_MARK, 0, kind, row.rowid, row.seq, row.at, row.rank, len(row.payload))[_CHECKED:]
    return _MARK + struct.pack("<I", zlib.crc32(row.payload, zlib.crc32(head))) + head + row.payload


def unpack_record(data: bytes | mmap.mmap, start: int) -> tuple[bytes, Row] | None:
    """Kind and content of the record that begins there; None if none does."""
    head = data[start : start + _HEAD.size]
    if len(head) < _HEAD.size:
        return None
    mark, checksum, kind, rowid, seq, at, rank, size = _HEAD.unpack(head)
    if mark != _MARK or size > _MOST_PAYLOAD or rowid > LARGEST_NUMBER or seq > LARGEST_NUMBER:
        return None
    payload = data[start + _HEAD.size : start + _HEAD.size + size]
    if len(payload) < size or zlib.crc32(payload, zlib.crc32(head[_CHECKED:])) != checksum:
        return None
    return kind, Row(rowid, seq, rank, at, payload)


def found_records(path: Path) -> Iterator[tuple[tuple[bytes, int, int], Row]]:
    """Every whole record that stands anywhere in a file, with its key."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(_MARK)
        while start >= 0:
            parts = unpack_record(data, start)
            if parts:
                yield record_key(*parts), parts[1]
            start = data.find(_MARK, start + 1)
