"""What every source is: a fixed set of channels and a `read` that gives one number for each."""

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
    """Give the first name, in the order of the alphabet, that is there more than once; None where all differ.

    Examples
    --------
    >>> named_twice(["b", "c", "a", "c", "b"]), named_twice(["a", "b"])
    ('b', None)
    """
    return min((name for name, count in Counter(names).items() if count > 1), default=None)


class EndOfInputError(Exception):
    """Raised by `Source.read` when a finite source has given its last row; the agent then stops in good order."""


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
    """Gives readings when asked.

    A source that may block (network, file systems) leaves `inline` False: it is then read in a thread of its own,
    with a time-out, and delivers late or NaN without ever delaying a tick.
    """

    #: Type of the source's part of the config.
    Config: ClassVar[type[SourceConfig]]
    #: True for a source that never blocks and whose rows must not be skipped (simulated, csv).
    inline: ClassVar[bool]
    #: The channels, in the order of `read`; fixed for the source's life.
    channels: tuple[Channel, ...]

    def __init__(self, config: SourceConfig, interval_s: float) -> None:
        """Open the source; raises `UserError` for settings that cannot work here."""

    def read(self) -> Sequence[float] | Float32Array:
        """One number for each channel, NaN where there is none; any exception counts as a failed reading.

        Raises
        ------
        EndOfInputError
            A finite source is exhausted.
        """

    def close(self) -> None:
        """Release what `__init__` opened; may be called while `read` still hangs in its thread."""


@runtime_checkable
class OpenSource(Source, Protocol):
    """A source whose channels appear and disappear: `channels` are indices of the row, of nobody at first."""

    def changes(self) -> Sequence[tuple[int, Channel]]:
        """Places that belong to somebody else since the last call, and to whom; `NOBODY` where to none any more."""

    def restore(self, names: Sequence[tuple[int, str]]) -> None:
        """Give channels the indices that they had in an earlier run, before the first `read`."""
