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

from agent.core.section import NamePatterns, NotNegative, Section

__all__ = ["AlertsConfig", "MaintenanceConfig", "SilenceConfig", "moment"]

_Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


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
    """A time in which channels raise no alerts.

    Parameters
    ----------
    channels
        Names; ``*``, ``?`` and ``[…]`` match as in a shell.
    begin, until
        ISO 8601; without an offset it is this machine's local time. The key of the first is ``from``; without it the
        silence has begun.
    include_limits
        Hard limits are silenced, too.
    """

    channels: NamePatterns
    until: str
    begin: str | None = msgspec.field(default=None, name="from")
    include_limits: bool = False

    def __post_init__(self) -> None:
        if moment(self.until) <= (moment(self.begin) if self.begin else -math.inf):
            raise ValueError(f"until {self.until!r} is not after from {self.begin!r}")


class MaintenanceConfig(Section, frozen=True):
    """A window that comes back on certain days, in which channels raise no alerts.

    Parameters
    ----------
    at
        When it begins, ``HH:MM`` by this machine's local time.
    for_s
        How long it lasts, a day at most.
    days
        Of its beginning; every day by default.
    channels, include_limits
        As in `SilenceConfig`; all channels by default.
    """

    at: Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    for_s: Annotated[float, msgspec.Meta(gt=0, le=86400)]
    days: Annotated[tuple[_Day, ...], msgspec.Meta(min_length=1)] = get_args(_Day)
    channels: NamePatterns = ("*",)
    include_limits: bool = False


class AlertsConfig(Section, frozen=True):
    """When an anomaly becomes an incident, and when it ends.

    Parameters
    ----------
    learning_s
        Silent time after a channel's first reading (at least 100 readings).
    provisional_s
        Until then alerts are marked as provisional.
    confirm_s
        A channel opens an incident when it was anomalous in four fifths of this time.
    clear_s
        An incident closes when all its channels were quiet for this long.
    merge_s
        Channels that follow within this time join the incident.
    cooldown_s
        A channel opens no new incident for this long after its last one closed.
    budget_per_day
        Incidents that are sent a day in the long run: the strongest. The others go into the digest.
    silences, maintenance
        When channels raise no alerts: once, and again and again. Detection and learning go on.
    """

    learning_s: NotNegative = 600.0
    provisional_s: NotNegative = 86400.0
    confirm_s: NotNegative = 5.0
    clear_s: NotNegative = 10.0
    merge_s: NotNegative = 30.0
    cooldown_s: NotNegative = 60.0
    budget_per_day: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 3.0
    silences: Annotated[tuple[SilenceConfig, ...], msgspec.Meta(max_length=1000)] = ()
    maintenance: Annotated[tuple[MaintenanceConfig, ...], msgspec.Meta(max_length=1000)] = ()
