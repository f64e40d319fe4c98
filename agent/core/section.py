"""Base class and bounded types of the configuration's sections."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["ChannelNames", "NamePattern", "NamePatterns", "NotNegative", "Positive", "Section"]

# Largest number of a setting: 300 years in seconds, far from overflow when converted to nanoseconds or rows.
_LONGEST = 1e10
Positive = Annotated[float, Meta(gt=0, le=_LONGEST)]
NotNegative = Annotated[float, Meta(ge=0, le=_LONGEST)]
NamePattern = Annotated[str, Meta(min_length=1, max_length=128)]
NamePatterns = Annotated[tuple[NamePattern, ...], Meta(min_length=1, max_length=64)]
ChannelNames = Annotated[
    NamePatterns, Meta(description="Names of the channels; `*`, `?` and `[…]` match as in a shell.")
]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base class of all sections; unknown keys are errors."""
