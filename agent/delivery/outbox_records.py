"""Records: rows of the outbox as bytes with a mark and a checksum, which can be found in a damaged file."""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TypeAlias

    #: Records by kind, row and number; see `record_key`.
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

# First bytes of every record.
_MARK = b"\xe5EWr"
# Mark, CRC-32 of everything after it, kind, row, number, seconds since 1970 or 0, rank, bytes of the payload.
_HEAD = struct.Struct("<4sIcQQdBI")
_CHECKED = 8  # bytes of mark and checksum
#: Kinds of records.
ALERT_RECORD, INCIDENTS_RECORD = b"a", b"i"
# Bytes of the largest payload that is read; chosen by hand, it bounds memory when a length is damaged.
_MOST_PAYLOAD = 1 << 20
#: Largest row and number that are read: below SQLite's limit of 2**63 - 1.
LARGEST_NUMBER = 1 << 62


class Row(NamedTuple):
    """An alert in the outbox, or the state of incidents.

    Parameters
    ----------
    rowid
        Primary key; increases in the order in which alerts were raised, across restarts.
    seq
        Number of the alert.
    rank
        Rank of its severity; the lowest is dropped first.
    at
        Wall time at which it was raised, in seconds since 1970; 0 if the clock was not synchronised.
    payload
        The alert as JSON.
    """

    rowid: int
    seq: int
    rank: int
    at: float
    payload: bytes


def record_key(kind: bytes, row: Row) -> tuple[bytes, int, int]:
    """Identity of a record: kind, row and number."""
    return kind, row.rowid, row.seq


def pack_record(kind: bytes, row: Row) -> bytes:
    """Encode a row as a record."""
    head = _HEAD.pack(_MARK, 0, kind, row.rowid, row.seq, row.at, row.rank, len(row.payload))[_CHECKED:]
    return _MARK + struct.pack("<I", zlib.crc32(row.payload, zlib.crc32(head))) + head + row.payload


def unpack_record(data: bytes | mmap.mmap, start: int) -> tuple[bytes, Row] | None:
    """Kind and content of the record at ``start``; None if there is no intact record."""
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
    """Yield every intact record anywhere in a file, with its key."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(_MARK)
        while start >= 0:
            parts = unpack_record(data, start)
            if parts:
                yield record_key(*parts), parts[1]
            start = data.find(_MARK, start + 1)
