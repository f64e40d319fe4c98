"""What the alert budget held back: the strongest of the last day, for who wants to know what was not said."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.messages.alert import HeldBack

__all__ = ["SuppressedIncidents"]

_DAY_S = 86400.0
_SHOWN = 20
# Kept for when stronger ones grow old.
_KEPT = 200


class SuppressedIncidents:
    """Remembers held-back incidents of the last 24 hours, the two hundred strongest at most."""

    def __init__(self) -> None:
        #: Held back since start.
        self.count = 0
        # When it ended, and the incident; the strongest first.
        self._incidents: list[tuple[float, HeldBack]] = []

    def add(self, incidents: Iterable[HeldBack], now_s: float) -> None:
        """Take in incidents that have just ended."""
        new = [(now_s, incident) for incident in incidents]
        self.count += len(new)
        self._incidents = sorted(self._incidents + new, key=lambda pair: -pair[1].strength)[:_KEPT]

    def strongest(self, now_s: float) -> tuple[HeldBack, ...]:
        """The twenty strongest that ended within the last 24 hours, strongest first."""
        self._incidents = [pair for pair in self._incidents if now_s - pair[0] < _DAY_S]
        return tuple(incident for _, incident in self._incidents[:_SHOWN])
