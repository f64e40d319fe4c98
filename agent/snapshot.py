"""What was learned, on disk: a start after a crash, a power cut or an upgrade goes on where the last run was.

A snapshot is taken of objects as they are: numbers and arrays are kept by the names of their attributes and put back
into objects made afresh from the same configuration and models. A file has a magic word, a header that tells what the
snapshot belongs to and when it was taken, the compressed content, and a checksum of it all; it takes its name only when
it is whole on disk.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import struct
import zlib
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
import numpy as np

from agent.errors import UNREADABLE

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMAT", "Moment", "Saved", "Unusable", "capture", "is_ours", "pack", "put_back", "read", "unpack", "write"]

_LOG = logging.getLogger(__name__)
#: Changes when what is kept means something else under the same name.
FORMAT = 1
_MAGIC = b"EWSNAP\r\n"
_HEAD = struct.Struct("<II")  # bytes of the header, and of the content before it is compressed
_DIGEST_BYTES = 32
_MAX_BYTES = 1 << 30
_ARRAY = 1
_MAX_DIMENSIONS = 4
_KINDS = "?bifu"
_DTYPE = re.compile(r"\|b1|[<|][iu][1248]|<f[248]")
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Unusable(Exception):  # noqa: N818 - a finding, said and survived
    """A snapshot that cannot be used; says why."""


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


def capture(thing: Any, *, slow: bool = True) -> dict[str, Any]:
    """Numbers, texts and arrays that an object of ours is made of, and the objects of ours that it holds.

    Parameters
    ----------
    thing
        An object with attributes. Class attributes may say more: ``_SCRATCH`` names attributes that are not worth
        keeping, ``_SLOW`` marks a class of large objects that change little.
    slow
        Whether slow objects are kept, too.
    """
    kept = {}
    scratch = getattr(thing, "_SCRATCH", ())
    for name, value in vars(thing).items():
        if name not in scratch:
            found = _captured(value, slow=slow)
            if found is not _NOTHING:
                kept[name] = found
    return kept


_NOTHING = object()


def _captured(value: Any, *, slow: bool) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, np.ndarray):
        return value.copy() if value.dtype.kind in _KINDS else _NOTHING
    if isinstance(value, list | tuple) and value and all(map(is_ours, value)):
        return [_captured(item, slow=slow) for item in value]
    if is_ours(value) and (slow or not getattr(value, "_SLOW", False)):
        return capture(value, slow=slow)
    return _NOTHING


def is_ours(value: Any) -> bool:
    """Whether it is an object of this package, with attributes that may change."""
    kind = type(value)
    return kind.__module__.startswith("agent.") and hasattr(value, "__dict__") and not issubclass(kind, Enum)


def put_back(thing: Any, kept: dict[str, Any]) -> None:
    """Give an object made afresh the content that `capture` took from its like.

    Either all of it is put back or, where something does not fit, nothing.

    Raises
    ------
    Unusable
        The object is built differently from the one that was captured.
    """
    changes: list[tuple[Any, str, Any]] = []
    _compare(thing, kept, type(thing).__name__, changes)
    for owner, name, value in changes:
        setattr(owner, name, value)


def _compare(thing: Any, kept: Any, path: str, changes: list[tuple[Any, str, Any]]) -> None:
    if not isinstance(kept, dict):
        raise Unusable(f"{path} is {type(kept).__name__}")
    attributes, scratch = vars(thing), getattr(thing, "_SCRATCH", ())
    for name, value in kept.items():
        where = f"{path}.{name}"
        if name not in attributes or name in scratch:
            raise Unusable(f"{where} is unknown")
        now = attributes[name]
        if is_ours(now):
            _compare(now, value, where, changes)
        elif isinstance(now, list | tuple) and now and all(map(is_ours, now)):
            if not isinstance(value, list) or len(value) != len(now):
                raise Unusable(f"{where} has another length")
            for index, (item, part) in enumerate(zip(now, value, strict=True)):
                _compare(item, part, f"{where}[{index}]", changes)
        elif _fits(now, value):
            changes.append((thing, name, value))
        else:
            raise Unusable(f"{where} does not fit")


def _fits(now: Any, value: Any) -> bool:
    if isinstance(now, np.ndarray):
        return isinstance(value, np.ndarray) and (now.shape, now.dtype) == (value.shape, value.dtype)
    if now is None:  # made afresh it has nothing yet
        return value is None or isinstance(value, bool | int | float | str | np.ndarray)
    number = isinstance(now, int | float) and not isinstance(now, bool)
    return isinstance(value, int | float) and not isinstance(value, bool) if number else type(value) is type(now)


def pack(content: dict[str, Any]) -> bytes:
    """What `capture` gave, as bytes."""
    return msgspec.msgpack.encode(content, enc_hook=_encoded)


def unpack(data: bytes) -> dict[str, Any]:
    """Undo `pack`.

    Raises
    ------
    Unusable
        It is damaged.
    """
    try:
        content = msgspec.msgpack.decode(data, ext_hook=_decoded)
    except (*UNREADABLE, struct.error, ValueError, TypeError) as error:
        raise Unusable(f"damaged: {error}") from error
    if not isinstance(content, dict):
        raise Unusable("damaged")
    return content


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
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        partial.unlink(missing_ok=True)
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
        if saved.format != FORMAT:
            raise Unusable(f"of format {saved.format}, this agent writes {FORMAT}")
        raw = zlib.decompressobj().decompress(body[start + header_size : -_DIGEST_BYTES], min(size, _MAX_BYTES) + 1)
    except (*UNREADABLE, struct.error, zlib.error) as error:
        raise Unusable(f"damaged: {error}") from error
    if len(raw) != size:
        raise Unusable("damaged")
    return saved, unpack(raw)


def _encoded(value: Any) -> msgspec.msgpack.Ext:
    array = np.ascontiguousarray(value)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    head = msgspec.msgpack.encode((array.dtype.str, array.shape))
    return msgspec.msgpack.Ext(_ARRAY, struct.pack("<I", len(head)) + head + array.tobytes())


def _decoded(code: int, data: memoryview) -> Any:
    if code != _ARRAY:
        raise ValueError(f"unknown type {code}")
    (length,) = struct.unpack_from("<I", data)
    text, shape = msgspec.msgpack.decode(data[4 : 4 + length], type=tuple[str, tuple[int, ...]])
    # No other text reaches numpy, which would take much more for the name of a type.
    if not _DTYPE.fullmatch(text) or len(shape) > _MAX_DIMENSIONS or any(n < 0 for n in shape):
        raise ValueError(f"unknown array {text}{list(shape)}")
    dtype = np.dtype(text)
    array = np.frombuffer(data, dtype, offset=4 + length).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=True)
