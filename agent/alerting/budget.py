"""The alert budget: minimum strength of incidents to be sent, so that a storm sends at most N a day in the long run.

The bar doubles with each incident sent and halves N times a day. In the long run at most N incidents a day pass,
whatever their strengths are, and these are the strongest. N is the configured budget, or 3 if that is less: rarity
itself keeps a quiet node within its budget.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agent.core.persistent_state import Part, State, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.persistent_state import Record

__all__ = ["LOUDEST", "AlertBudget"]

#: Largest strength that counts; bounds the bar, see `AlertBudget`. Chosen by hand.
LOUDEST = 64.0
# Incidents a day that pass at least, each four times as rare as the one before. Chosen by hand.
_LEAST_A_DAY = 3.0
_DOUBLING = math.log(2.0)
_HIGHEST = math.log(2.0 * LOUDEST)
_DAY_S = 86400.0


class AlertBudgetState(State):
    """Fields of an `AlertBudget` that outlive a restart; in version 1 the level was that of another strength."""

    VERSION = 2

    level: float = number("natural logarithm of a strength", initial=0.0)
    at_s: float = number("seconds of `now_s` when the level was last lowered", initial=0.0)

    @classmethod
    def migrated(cls, version: int, record: Record) -> Record:
        """See `State.migrated`."""
        return super().migrated(version, record) | {"level": 0.0}


class AlertBudget:
    """Admits an incident if the logarithm of its strength reaches the level L, a leaky bucket in doublings.

    ``L ← max(0, L + ln 2·[sent] − ln 2·N·Δt/86400)``, Δt in seconds. L starts at 0. Strengths are capped at `LOUDEST`,
    so L never exceeds ln(2·LOUDEST). After the worst storm the strongest incident is therefore sent at most 1/N days
    later, and one of strength s after log2(2·LOUDEST/s)/N days. In the long run at most N a day pass even if all have
    the largest strength; after a long quiet at most seven pass at once.

    Parameters
    ----------
    per_day
        Incidents per day, > 0; N is at least 3. A number so large that L is back at 0 by the next row disables the
        budget.

    Examples
    --------
    >>> budget = AlertBudget(per_day=3.0)
    >>> budget.admits(1.0, now_s=0.0), budget.admits(1.9, now_s=0.0), budget.admits(2.0, now_s=0.0)
    (True, False, True)
    >>> budget.admits(2.0, now_s=8 * 3600.0)
    True
    """

    def __init__(self, per_day: float) -> None:
        self._state = AlertBudgetState()
        self._leak = _DOUBLING * max(per_day, _LEAST_A_DAY) / _DAY_S

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    @property
    def level(self) -> float:
        """Natural logarithm of the strength needed, as of the last call."""
        return self._state.level

    def begin(self, now_s: float) -> None:
        """Start to count time, while no channel has been learned; ``now_s`` as for `admits`."""
        self._state.at_s = now_s

    def needed(self, now_s: float) -> float:
        """Strength needed to pass now, at least 1; no incident passes if it exceeds `LOUDEST`."""
        state = self._state
        # Bounded, because a level read from disk may have any value.
        state.level = max(0.0, min(state.level, _HIGHEST) - self._leak * max(0.0, now_s - state.at_s))
        state.at_s = max(now_s, state.at_s)
        return math.exp(state.level)

    def admits(self, strength: float, now_s: float) -> bool:
        """Whether an incident of this strength passes; raises the level if it does.

        Parameters
        ----------
        strength
            Sum over its channels of each one's largest strength, in limits; at least 1 for an anomaly.
        now_s
            Monotonic time in seconds, near 0 when the budget was made.
        """
        state = self._state
        if min(strength, LOUDEST) < self.needed(now_s):
            return False
        state.level += _DOUBLING
        return True
