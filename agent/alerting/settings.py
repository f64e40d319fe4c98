"""The section ``alerts`` of the configuration: when an anomaly becomes an incident."""

from __future__ import annotations

import datetime
import math
import re
from typing import (
    Annotated,
    Literal,
    get_args,
)

import msgspec
from msgspec import Meta

from agent.core.section import ChannelNames, NotNegative, Section

__all__ = ["AlertsConfig", "MaintenanceConfig", "SilenceConfig", "moment"]

_Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_IncludeLimits = Annotated[bool, Meta(description="Suppress alerts at hard limits, too.")]


def moment(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 date or time; without an offset it is this machine's local time.

    Examples
    --------
    >>> moment("2026-01-02T03:04:05Z"), moment("2026-01-02 04:04:05+01:00")
    (1767323045.0, 1767323045.0)
    """
    try:
        return datetime.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is no ISO 8601 time such as 2026-12-24T18:00 or 2026-12-24T17:00:00Z") from None


class SilenceConfig(Section, frozen=True):
    """A single period in which channels raise no alerts."""

    channels: ChannelNames
    until: Annotated[
        str,
        Meta(description="End of the silence, an ISO 8601 time. Without an offset it is this machine's local time."),
    ]
    begin: Annotated[
        str | None, Meta(description="Start of the silence, in the format of `until`. Default: at once.")
    ] = msgspec.field(default=None, name="from")
    include_limits: _IncludeLimits = False

    def __post_init__(self) -> None:
        if moment(self.until) <= (moment(self.begin) if self.begin else -math.inf):
            raise ValueError(f"until {self.until!r} is not after from {self.begin!r}")


class MaintenanceConfig(Section, frozen=True):
    """A recurring window in which channels raise no alerts."""

    at: Annotated[
        str,
        Meta(
            pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
            description="Start of the window, `HH:MM` in this machine's local time.",
        ),
    ]
    for_s: Annotated[float, Meta(gt=0, le=86400, description="Duration in seconds, at most a day.")]
    days: Annotated[
        tuple[_Day, ...], Meta(min_length=1, description="Days of the week on which the window starts, `mon` to `sun`.")
    ] = get_args(_Day)
    channels: ChannelNames = ("*",)
    include_limits: _IncludeLimits = False


class AlertsConfig(Section, frozen=True):
    """Rules by which incidents open, close and are sent."""

    learning_s: Annotated[
        NotNegative,
        Meta(
            description=(
                "Learning time in seconds: a channel raises no alerts for this long after its first reading, and for "
                "at least 100 readings."
            )
        ),
    ] = 600.0
    provisional_s: Annotated[
        NotNegative,
        Meta(description="Seconds after a channel's first reading in which its alerts are marked as provisional."),
    ] = 86400.0
    confirm_s: Annotated[
        NotNegative,
        Meta(
            description=(
                "Confirmation time in seconds: a channel opens an incident when it was anomalous in four fifths of "
                "this time."
            )
        ),
    ] = 5.0
    clear_s: Annotated[
        NotNegative,
        Meta(description="Quiet time in seconds: an incident closes when all its channels were quiet for this long."),
    ] = 10.0
    merge_s: Annotated[
        NotNegative, Meta(description="Seconds in which further channels that become anomalous join the incident.")
    ] = 30.0
    cooldown_s: Annotated[
        NotNegative,
        Meta(
            description=(
                "Cool-down in seconds: a channel opens no new incident for this long after its last one closed."
            )
        ),
    ] = 60.0
    budget_per_day: Annotated[
        float,
        Meta(
            gt=0,
            le=1e9,
            description=(
                "Alert budget: incidents a day that this node sends while nothing is wrong; 0.1 is one in ten days. An "
                "alert needs evidence that is seen no more often than this. Hard limits are always sent."
            ),
        ),
    ] = 0.1
    silences: Annotated[
        tuple[SilenceConfig, ...],
        Meta(
            max_length=1000,
            description="Single periods without alerts for some channels. Detection and learning continue.",
        ),
    ] = ()
    maintenance: Annotated[
        tuple[MaintenanceConfig, ...],
        Meta(
            max_length=1000,
            description="Recurring windows without alerts for some channels. Detection and learning continue.",
        ),
    ] = ()
