"""Interfaces of a source: its channels, and a `read` that returns one number for each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol, runtime_checkable

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import Float32Array
    from agent.core.channel import Channel

__all__ = ["EndOfInputError", "OpenSource", "Source", "SourceConfig", "named_twice"]


def named_twice(names: Sequence[str]) -> str | None:
    """Return the alphabetically first name that occurs more than once; None if all differ.

    Examples
    --------
    >>> named_twice(["b", "c", "a", "c", "b"]), named_twice(["a", "b"])
    ('b', None)
    """
    return min((name for name, count in Counter(names).items() if count > 1), default=None)


class EndOfInputError(Exception):
    """Raised by `Source.read` after the last row of a finite source; the agent then stops cleanly."""


class _Typed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Annotated[str, Meta(description="Type of the source.")]


class SourceConfig(_Typed, frozen=True, kw_only=True):
    """Base of a source's keys; each source adds its own."""

    interval_s: Annotated[
        Annotated[float, Meta(gt=0, le=86400)] | None,
        Meta(
            description=(
                "Seconds between the readings of this source: a whole multiple of the node's `interval_s`, which is "
                "the default."
            )
        ),
    ] = None


class Source(Protocol):
    """One source of readings, read once a sampling interval.

    A source that may block (network, file systems) sets `inline` to False: it is then read in a thread of its own with
    a time-out. Its readings may be late or NaN, but never delay a tick.
    """

    #: Struct of the source's configuration keys.
    Config: ClassVar[type[SourceConfig]]
    #: True for a source that never blocks and whose rows must not be skipped (simulated, csv).
    inline: ClassVar[bool]
    #: Channels in the order of `read`; only an `OpenSource` changes them.
    channels: tuple[Channel, ...]

    def __init__(self, config: SourceConfig, interval_s: float) -> None:
        """Open the source.

        Raises
        ------
        UserError
            The settings cannot work on this machine.
        """

    def read(self) -> Sequence[float] | Float32Array:
        """Return one number for each channel, NaN where it is missing; any exception counts as a failed reading.

        Raises
        ------
        EndOfInputError
            A finite source is exhausted.
        """

    def close(self) -> None:
        """Release the resources of `__init__`; may be called repeatedly, and while `read` hangs in its thread."""


@runtime_checkable
class OpenSource(Source, Protocol):
    """A source whose channels appear and disappear at run time.

    `channels` has a fixed length; an index holds `NOBODY` until a channel takes it.
    """

    def changes(self) -> Sequence[tuple[int, Channel]]:
        """Return the indices reassigned since the last call, each with its new channel; `NOBODY` if now free."""

    def restore(self, names: Sequence[tuple[int, str]]) -> None:
        """Assign indices of an earlier run to channel names; called before the first `read`."""
