"""The section ``outbox`` of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.core.section import Positive, Section

__all__ = ["OutboxConfig"]


class OutboxConfig(Section, frozen=True):
    """How many alerts wait for a broker that is away.

    Parameters
    ----------
    max_mb
        Megabytes; beyond, the oldest of the lowest severity go. An alert takes about one kilobyte.
    max_age_s
        Older ones go, too.
    """

    max_mb: Annotated[float, msgspec.Meta(ge=0.1, le=1 << 20)] = 128.0
    max_age_s: Positive = 30 * 86400.0
