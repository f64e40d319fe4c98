"""Snapshot files: the learned state on disk, from which a restart or an upgrade continues.

A file holds a magic word, the two sizes, a header (`Saved`), the zlib-compressed content, and a BLAKE2b checksum of all
that. It is written atomically: under a temporary name, which becomes the final one after fsync.
"""

from __future__ import annotations

import hashlib
import logging
import struct
import zlib
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from agent.core.atomic_file import atomic_file
from agent.core.errors import UNREADABLE
from agent.core.persistent_state import Unusable, pack, unpack

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMAT", "FORMATS", "Moment", "Saved", "read", "write"]

_LOG = logging.getLogger(__name__)
#: Format that is written, and those that are read. Format 1 (up to 0.1.0) named attributes of objects, see
#: `agent.core.legacy_records`; format 2 holds records of `agent.core.persistent_state`.
FORMAT = 2
FORMATS = (1, 2)
_MAGIC = b"EWSNAP\r\n"
_HEAD = struct.Struct("<II")  # bytes of the header, and of the uncompressed content
_DIGEST_BYTES = 32
# Bytes of the largest file, and of the largest content, that is read; chosen by hand, it bounds memory.
_MAX_BYTES = 1 << 30
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Moment(msgspec.Struct, frozen=True):
    """A point in time that can be compared with the clocks of a later run.

    Parameters
    ----------
    boot
        Boot identifier of the machine; empty if unknown.
    running_ns
        Nanoseconds since boot, including suspend.
    wall
        Wall clock in seconds since 1970; it may be wrong.
    """

    boot: str
    running_ns: int
    wall: float


class Saved(msgspec.Struct, frozen=True):
    """Header of a snapshot.

    Parameters
    ----------
    format
        See `FORMAT`.
    agent
        Version of the agent that wrote it.
    belongs_to
        Digests of the models, channels and settings for which the state was learned, by name. The snapshot is used only
        if all of them are unchanged.
    moment, seq
        Time at which the snapshot was taken, and the number of its frame.
    next_seq, instance
        Number of the next alert, and identifier of the installation.
    """

    format: int
    agent: str
    belongs_to: dict[str, str]
    moment: Moment
    seq: _Count
    next_seq: _Count
    instance: str


def write(path: Path, saved: Saved, content: dict[str, Any]) -> int:
    """Write a snapshot atomically; returns the number of bytes written.

    Raises
    ------
    OSError
        It cannot be written; a file that was there before is unchanged.
    """
    raw = pack(content)
    header = msgspec.msgpack.encode(saved)
    body = _MAGIC + _HEAD.pack(len(header), len(raw)) + header + zlib.compress(raw, 1)
    body += hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
    with atomic_file(path, durable=True) as file:
        file.write(body)
    return len(body)


def read(path: Path) -> tuple[Saved, dict[str, Any]]:
    """Read header and content of a snapshot.

    Raises
    ------
    Unusable
        The file is damaged, of an unknown format, or cannot be read.
    FileNotFoundError
        The file does not exist.
    """
    try:
        with path.open("rb") as file:
            body = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from error
    if len(body) > _MAX_BYTES:
        raise Unusable("larger than 1 GiB")
    digest = hashlib.blake2b(body[:-_DIGEST_BYTES], digest_size=_DIGEST_BYTES).digest()
    if not body.startswith(_MAGIC) or digest != body[-_DIGEST_BYTES:]:
        raise Unusable("damaged")
    start = len(_MAGIC) + _HEAD.size
    try:
        header_size, size = _HEAD.unpack(body[len(_MAGIC) : start])
        saved = msgspec.msgpack.decode(body[start : start + header_size], type=Saved)
        if saved.format not in FORMATS:
            raise Unusable(f"of format {saved.format}, this agent reads {' and '.join(map(str, FORMATS))}")
        raw = zlib.decompressobj().decompress(body[start + header_size : -_DIGEST_BYTES], min(size, _MAX_BYTES) + 1)
    except (*UNREADABLE, struct.error, zlib.error) as error:
        raise Unusable(f"damaged: {error}") from error
    if len(raw) != size:
        raise Unusable("damaged")
    return saved, unpack(raw)
