"""Silence and maintenance windows of the configuration, by the wall clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from agent.alerting.settings import moment

if TYPE_CHECKING:
    from agent.alerting.settings import MaintenanceConfig, SilenceConfig
    from agent.core.arrays import BoolArray


__all__ = ["FixedWindow", "SilenceWindow", "WeeklyWindow"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Local days relative to today whose windows are examined; include the present window and the next of any weekday.
_LOOKED_AT = range(-1, 9)


class SilenceWindow(Protocol):
    """A time window in which channels are silenced; ``mask`` is bool[2, n_channels], by reason."""

    mask: BoolArray

    def covers(self, wall: float) -> bool:
        """Whether the window is open at a wall time, seconds since 1970."""


class FixedWindow:
    """A window between two moments."""

    def __init__(self, part: SilenceConfig, mask: BoolArray) -> None:
        self.mask = mask
        self._begin = moment(part.begin) if part.begin else -np.inf
        self._end = moment(part.until)

    def covers(self, wall: float) -> bool:
        """See `SilenceWindow`."""
        return self._begin <= wall < self._end


class WeeklyWindow:
    """A window that recurs on certain weekdays, by the machine's local time."""

    def __init__(self, part: MaintenanceConfig, mask: BoolArray) -> None:
        self.mask = mask
        self._days = {_DAYS.index(day) for day in part.days}
        self._hour, self._minute = map(int, part.at.split(":"))
        self._for_s = part.for_s
        # Cached result of `covers`, and the wall times between which it holds.
        self._known = (False, np.inf, -np.inf)

    def covers(self, wall: float) -> bool:
        """See `SilenceWindow`."""
        inside, since, until = self._known
        if not since <= wall < until:
            self._known = inside, _, _ = self._around(wall)
        return inside

    def _around(self, wall: float) -> tuple[bool, float, float]:
        try:
            today = time.localtime(wall)
            begins = [self._begin(today, day) for day in _LOOKED_AT]
        except (OverflowError, ValueError, OSError):  # a wall clock outside the calendar
            return False, np.inf, -np.inf
        windows = [(b, b + self._for_s) for b in begins if time.localtime(b).tm_wday in self._days]
        edges = [edge for window in windows for edge in window]
        inside = any(begin <= wall < end for begin, end in windows)
        return inside, max((e for e in edges if e <= wall), default=begins[0]), min(e for e in edges if e > wall)

    def _begin(self, today: time.struct_time, day: int) -> float:
        date = (today.tm_year, today.tm_mon, today.tm_mday + day, self._hour, self._minute, 0)
        return time.mktime((*date, 0, 0, -1))
