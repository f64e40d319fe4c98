"""Incidents suppressed by the alert budget or a silence within the last 24 hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.messages.alert import HeldBack

__all__ = ["SuppressedIncidents"]

_DAY_S = 86400.0
# Incidents in the topic `digest`.
_SHOWN = 20
# Incidents remembered, so that weaker ones are shown when stronger ones are older than a day.
_KEPT = 200


class SuppressedIncidents:
    """Remembers suppressed incidents of the last 24 hours, at most the 200 strongest."""

    def __init__(self) -> None:
        #: Number of incidents suppressed since start.
        self.count = 0
        # Pairs of end (seconds) and incident, strongest first.
        self._incidents: list[tuple[float, HeldBack]] = []

    def add(self, incidents: Iterable[HeldBack], now_s: float) -> None:
        """Add incidents that ended at ``now_s``, monotonic seconds."""
        new = [(now_s, incident) for incident in incidents]
        self.count += len(new)
        self._incidents = sorted(self._incidents + new, key=lambda pair: -pair[1].strength)[:_KEPT]

    def strongest(self, now_s: float) -> tuple[HeldBack, ...]:
        """The twenty strongest of the last 24 hours, strongest first."""
        self._incidents = [pair for pair in self._incidents if now_s - pair[0] < _DAY_S]
        return tuple(incident for _, incident in self._incidents[:_SHOWN])
