"""Base of all sections of the configuration, and the types of numbers and name patterns that they share."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["ChannelNames", "NamePattern", "NamePatterns", "NotNegative", "Positive", "Section"]

# Three hundred years: in nanoseconds and in rows it is still a number.
_LONGEST = 1e10
Positive = Annotated[float, Meta(gt=0, le=_LONGEST)]
NotNegative = Annotated[float, Meta(ge=0, le=_LONGEST)]
NamePattern = Annotated[str, Meta(min_length=1, max_length=128)]
NamePatterns = Annotated[tuple[NamePattern, ...], Meta(min_length=1, max_length=64)]
ChannelNames = Annotated[
    NamePatterns, Meta(description="Names of the channels; `*`, `?` and `[…]` match as in a shell.")
]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: unknown keys are errors."""
