"""Fields that many messages share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Node", "Version", "WallTime"]

Version: TypeAlias = Annotated[int, Meta(description="Version of the message format.")]
Node: TypeAlias = Annotated[str, Meta(description="Name of the machine.")]
WallTime: TypeAlias = Annotated[float, Meta(description="Wall-clock time of this message, in seconds since 1970.")]
