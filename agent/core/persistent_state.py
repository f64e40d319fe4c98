"""Persistent state: each part of the agent declares the fields that outlive a restart, with type, shape and unit.

A part holds a `State` and yields it, with those of the parts below it, from ``states()``. `capture` copies all fields
into records by path; `restore` puts records back part by part. A record that does not fit leaves its part in the
initial state; all others are still restored. Attributes that are not declared are never written.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np

from agent.core.errors import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.core.arrays import IntArray

__all__ = [
    "BEFORE_VERSIONS",
    "CHANNEL",
    "Part",
    "Record",
    "State",
    "Stateful",
    "Unusable",
    "array",
    "below",
    "capture",
    "lanes",
    "number",
    "pack",
    "restore",
    "unpack",
]

#: Name of the axis with one entry per channel, or per lane (channel × kind of error).
CHANNEL = "channel"
#: Version of records converted from snapshots of agents up to 0.1.0, see `agent.core.legacy_records`.
BEFORE_VERSIONS = 0
#: Values of a part's fields by name, and ``version``.
Record: TypeAlias = "dict[str, Any]"

_VERSION = "version"
# Bound of whole numbers (ticks, counts): below 2^53 they are exact in float64.
_LARGEST_INT = 1 << 53
# Type code of arrays among MessagePack's extension types.
_ARRAY_CODE = 1
_MAX_DIMENSIONS = 4
# Names of accepted dtypes: bool, integers and floats, little-endian.
_DTYPE = re.compile(r"\|b1|[<|][iu][1248]|<f[248]")


class Unusable(Exception):  # noqa: N818 - a finding that is logged, not a failure
    """Content read from disk cannot be used; the message gives the reason."""


class Field:
    """One declared field of a `State`.

    Parameters
    ----------
    unit
        Unit of the numbers, for readers of the code.
    initial
        Value before any input.
    shape
        Of an array: sizes, or names of axes whose sizes are given to `State`; None for a single number.
    dtype
        Of an array.
    after_reset
        Value that a single number takes when any channel is reset; None: it stays.
    optional
        The array may be None and is then allocated on demand.
    """

    __slots__ = ("after_reset", "dtype", "initial", "optional", "shape", "unit")

    def __init__(
        self,
        unit: str,
        initial: float,
        shape: tuple[str | int, ...] | None,
        dtype: Any = np.float64,
        *,
        after_reset: float | None = None,
        optional: bool = False,
    ) -> None:
        self.unit = unit
        self.initial = initial
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.after_reset = after_reset
        self.optional = optional

    def sizes(self, named: Mapping[str, int]) -> tuple[int, ...]:
        """Sizes of the array's axes."""
        return tuple(named[size] if isinstance(size, str) else size for size in self.shape or ())

    def fresh(self, named: Mapping[str, int]) -> Any:
        """Initial value."""
        if self.shape is None:
            return self.initial
        if self.optional:
            return None
        # `np.zeros` takes no physical memory until written to.
        sizes = self.sizes(named)
        return np.full(sizes, self.initial, self.dtype) if self.initial else np.zeros(sizes, self.dtype)

    def reset(self, value: Any, channels: IntArray) -> Any:
        """Value with the entries of these channels, int64[m], back at the initial one."""
        if self.shape is None:
            return value if self.after_reset is None else self.after_reset
        if value is None or CHANNEL not in self.shape:
            return value
        # A copy, because other objects may hold a view of the array.
        changed = value.copy()
        changed[(slice(None),) * self.shape.index(CHANNEL) + (channels,)] = self.initial
        return changed

    def complaint(self, value: Any, named: Mapping[str, int]) -> str:
        """Reason why a value read from disk does not fit; empty if it fits."""
        if self.shape is None:
            return self._complaint_of_number(value)
        if value is None and self.optional:
            return ""
        if not isinstance(value, np.ndarray):
            return f"is {type(value).__name__}, not an array"
        expected = self.sizes(named)
        if (value.shape, value.dtype) != (expected, self.dtype):
            return f"is {value.dtype}{list(value.shape)}, not {self.dtype}{list(expected)}"
        # NaN stands for "unknown" only in fields that begin with it; elsewhere it would silence detection for good.
        if self.dtype.kind == "f" and not math.isnan(self.initial) and np.isnan(value).any():
            return "holds NaN"
        return ""

    def _complaint_of_number(self, value: Any) -> str:
        if isinstance(self.initial, bool):
            return "" if isinstance(value, bool) else f"is {value!r}, not true or false"
        if isinstance(value, bool) or not isinstance(value, int if isinstance(self.initial, int) else int | float):
            return f"is {value!r}, not a number of type {type(self.initial).__name__}"
        if isinstance(value, float):
            return "is NaN" if math.isnan(value) else ""
        return "" if abs(value) <= _LARGEST_INT else f"is {value}, out of range"


def array(
    unit: str, *shape: str | int, initial: float = 0.0, dtype: Any = np.float64, optional: bool = False
) -> Any:  # a `Field` in the class, an array in its objects
    """Declare an array; see `Field`."""
    return Field(unit, initial, shape, dtype, optional=optional)


def number(unit: str, *, initial: float, after_reset: float | None = None) -> Any:
    """Declare a single number or flag; see `Field`."""
    return Field(unit, initial, None, after_reset=after_reset)


class State:
    """Fields of one part that outlive a restart.

    A subclass declares them with `array` and `number`. To rename, add or remove a field, raise ``VERSION`` and extend
    `migrated`, so that records of earlier agents stay readable.

    Parameters
    ----------
    sizes
        Sizes of the named axes, such as ``channel=20``.

    Examples
    --------
    >>> class Counter(State):
    ...     seen = array("readings", CHANNEL)
    ...     rows = number("rows", initial=0)
    >>> counter = Counter(channel=3)
    >>> counter.seen += 5.0
    >>> counter.reset(np.array([1]))
    >>> counter.seen.tolist()
    [5.0, 0.0, 5.0]
    >>> sorted(counter.record())
    ['rows', 'seen', 'version']
    """

    #: Version of the fields and of their meaning.
    VERSION: ClassVar[int] = 1
    _fields: ClassVar[dict[str, Field]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._fields = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}

    def __init__(self, **sizes: int) -> None:
        self._sizes = sizes
        for name, field in self._fields.items():
            setattr(self, name, field.fresh(sizes))

    def reset(self, channels: IntArray) -> None:
        """Set these channels, int64[m], back to the initial state: their indices now belong to other channels."""
        for name, field in self._fields.items():
            setattr(self, name, field.reset(getattr(self, name), channels))

    def record(self) -> Record:
        """Copy the fields into a record."""
        fields: Record = {_VERSION: self.VERSION}
        for name, field in self._fields.items():
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                fields[name] = value.copy()
            elif isinstance(value, np.generic):
                fields[name] = value.item()
            else:
                fields[name] = float(value) if type(field.initial) is float and value is not None else value
        return fields

    def take(self, record: Record) -> None:
        """Load a record, completely or not at all.

        Raises
        ------
        Unusable
            A field is missing, unknown, or of another shape or type; or the record's version is newer.
        """
        fields = self._in_this_version(record)
        for name, value in fields.items():
            setattr(self, name, value)

    @classmethod
    def migrated(cls, version: int, record: Record) -> Record:
        """Migrate the fields of an older version to `VERSION`.

        A record of version `BEFORE_VERSIONS` may hold more than the fields declared here.
        """
        return {name: record[name] for name in cls._fields if name in record} if version == BEFORE_VERSIONS else record

    def _in_this_version(self, record: Any) -> Record:
        if not isinstance(record, dict):
            raise Unusable(f"is {type(record).__name__}, not a record")
        version = record.get(_VERSION, BEFORE_VERSIONS)
        if not isinstance(version, int) or isinstance(version, bool) or version < BEFORE_VERSIONS:
            raise Unusable(f"is of version {version!r}")
        if version > self.VERSION:
            raise Unusable(f"is of version {version}, this agent knows {self.VERSION}")
        fields = {name: value for name, value in record.items() if name != _VERSION}
        if version < self.VERSION:
            fields = self.migrated(version, fields)
        for name in fields.keys() ^ self._fields.keys():
            raise Unusable(f"has no {name}" if name in self._fields else f"has an unknown field {name!r}")
        for name, field in self._fields.items():
            complaint = field.complaint(fields[name], self._sizes)
            if complaint:
                raise Unusable(f"{name} {complaint}")
        return fields


class Part(NamedTuple):
    """A state and its path.

    Parameters
    ----------
    path
        Names from the root to the part, separated by dots.
    state
        Its fields.
    large
        Large and slowly changing: written every hour instead of every minute.
    added
        Added after 0.1.0: snapshots of earlier agents lack it, which is no loss.
    """

    path: str
    state: State
    large: bool = False
    added: bool = False


class Stateful(Protocol):
    """An object with state that outlives a restart."""

    def states(self) -> Iterator[Part]:
        """Give the own state and those of all parts below."""


def below(name: str, stateful: Stateful, *, large: bool = False, added: bool = False) -> Iterator[Part]:
    """Give the states of a part, with its name prepended to their paths."""
    for part in stateful.states():
        path = f"{name}.{part.path}" if part.path else name
        yield Part(path, part.state, large or part.large, added or part.added)


def capture(stateful: Stateful, *, large: bool = True) -> dict[str, Record]:
    """Copy all state into records by path.

    Parameters
    ----------
    stateful
        Root of the parts.
    large
        Include large parts.
    """
    return {part.path: part.state.record() for part in stateful.states() if large or not part.large}


def restore(stateful: Stateful, newest_first: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Load records into parts, independently of each other.

    Parameters
    ----------
    stateful
        Newly made from the same configuration and models.
    newest_first
        Records by path, from one or more snapshots; each part takes the first record that fits.

    Returns
    -------
    For each part left in its initial state, the reason by path.
    """
    dropped = {}
    parts = list(stateful.states())
    known = set().union(*newest_first)
    # Written by an agent of before these parts: it has others, and none of them.
    written = [part.added for part in parts if part.path in known]
    earlier = bool(written) and not any(written)
    for part in parts:
        if part.added and earlier:
            continue
        reason = "is not in the snapshot"
        for records in newest_first:
            if part.path not in records:
                continue
            try:
                part.state.take(records[part.path])
            except Unusable as error:
                reason = str(error)
            else:
                break
        else:
            dropped[part.path] = reason
    return dropped


def lanes(channels: IntArray, n_channels: int, n_kinds: int) -> IntArray:
    """Lane indices of channels, int64[n_kinds · m], in arrays that hold all channels of kind 0, then of kind 1, ….

    Examples
    --------
    >>> lanes(np.array([1]), n_channels=3, n_kinds=2).tolist()
    [1, 4]
    """
    found: IntArray = (np.arange(n_kinds)[:, None] * n_channels + channels).ravel()
    return found


def pack(content: Mapping[str, Any]) -> bytes:
    """Encode mappings of numbers, strings and arrays as MessagePack; arrays as raw little-endian bytes."""
    return msgspec.msgpack.encode(content, enc_hook=_encoded)


def unpack(data: bytes) -> dict[str, Any]:
    """Undo `pack`.

    Raises
    ------
    Unusable
        The data is damaged.
    """
    try:
        content = msgspec.msgpack.decode(data, ext_hook=_decoded)
    except (*UNREADABLE, struct.error, ValueError, TypeError) as error:
        raise Unusable(f"damaged: {error}") from error
    if not isinstance(content, dict):
        raise Unusable("damaged")
    return content


def _encoded(value: Any) -> msgspec.msgpack.Ext:
    contiguous = np.ascontiguousarray(value)
    contiguous = contiguous.astype(contiguous.dtype.newbyteorder("<"), copy=False)
    head = msgspec.msgpack.encode((contiguous.dtype.str, contiguous.shape))
    return msgspec.msgpack.Ext(_ARRAY_CODE, struct.pack("<I", len(head)) + head + contiguous.tobytes())


def _decoded(code: int, data: memoryview) -> Any:
    if code != _ARRAY_CODE:
        raise ValueError(f"unknown type {code}")
    (length,) = struct.unpack_from("<I", data)
    text, shape = msgspec.msgpack.decode(data[4 : 4 + length], type=tuple[str, tuple[int, ...]])
    # Checked before numpy parses it, because numpy accepts many more type names.
    if not _DTYPE.fullmatch(text) or len(shape) > _MAX_DIMENSIONS or any(n < 0 for n in shape):
        raise ValueError(f"unknown array {text}{list(shape)}")
    dtype = np.dtype(text)
    values = np.frombuffer(data, dtype, offset=4 + length).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=True)
