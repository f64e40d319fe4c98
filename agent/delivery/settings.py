"""The section ``outbox`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from agent.core.section import Positive, Section

__all__ = ["OutboxConfig"]


class OutboxConfig(Section, frozen=True):
    """Storage for alerts while the broker is unreachable."""

    max_mb: Annotated[
        float,
        Meta(
            ge=0.1,
            le=1 << 20,
            description=(
                "Maximum size in megabytes; beyond it the oldest alerts of the lowest severity are deleted. An alert "
                "takes about one kilobyte."
            ),
        ),
    ] = 128.0
    max_age_s: Annotated[
        Positive, Meta(description="Maximum age of a waiting alert in seconds; older ones are deleted.")
    ] = 30 * 86400.0
