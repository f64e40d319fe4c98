"""The file that keeps what was learned, so that a start after a crash or an upgrade continues where the last run was.

A file holds a magic word, a header that tells what the snapshot belongs to and when it was taken, the compressed
content, and a checksum of it all. It takes its name only when it is whole on disk.
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
#: Format that is written, and those that are read: 1 named attributes, see `agent.core.legacy_records`; 2 has records.
FORMAT = 2
FORMATS = (1, 2)
_MAGIC = b"EWSNAP\r\n"
_HEAD = struct.Struct("<II")  # bytes of the header, and of the content before it is compressed
_DIGEST_BYTES = 32
_MAX_BYTES = 1 << 30
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Moment(msgspec.Struct, frozen=True):
    """A point in time that can be told apart from later ones after a restart.

    Parameters
    ----------
    boot
        Identifies the time since the machine was started; empty where unknown.
    running_ns
        Nanoseconds since then, suspended ones included.
    wall
        Seconds since 1970, as the machine believed.
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
        What it was learned with and for: by name, a text that must be the same now.
    moment, seq
        When it was taken, and the tick.
    next_seq, instance
        Number of the next alert, and the installation.
    """

    format: int
    agent: str
    belongs_to: dict[str, str]
    moment: Moment
    seq: _Count
    next_seq: _Count
    instance: str


def write(path: Path, saved: Saved, content: dict[str, Any]) -> int:
    """Write a snapshot; gives the bytes written.

    Raises
    ------
    OSError
        It cannot be written; what was there before still is.
    """
    raw = pack(content)
    header = msgspec.msgpack.encode(saved)
    body = _MAGIC + _HEAD.pack(len(header), len(raw)) + header + zlib.compress(raw, 1)
    body += hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
    with atomic_file(path, durable=True) as file:
        file.write(body)
    return len(body)


def read(path: Path) -> tuple[Saved, dict[str, Any]]:
    """Read a snapshot.

    Raises
    ------
    Unusable
        It is damaged, of another format, or cannot be read.
    FileNotFoundError
        There is none.
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
