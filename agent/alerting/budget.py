"""The alert budget: how strong an incident must be to be sent, so that a node speaks N times a day and no more.

The bar rises by a factor of two with each incident sent and sinks by a factor of two N times a day. In the long run
that holds the number sent to N a day whatever the strengths are, and it is the strongest that pass.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agent.core.persistent_state import Part, State, number

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LOUDEST", "AlertBudget"]

#: Strengths beyond count as this. It bounds how high the bar climbs, see `AlertBudget`.
LOUDEST = 64.0
# The level at the begin, on a node of up to so many channels.
_FIRST, _FEW = 4.0, 16
_DOUBLING = math.log(2.0)
_HIGHEST = math.log(2.0 * LOUDEST)
_DAY_S = 86400.0


class AlertBudgetState(State):
    """Fields of a `AlertBudget` that outlive a restart."""

    level: float = number("logarithm of a strength", initial=math.log(_FIRST))
    at_s: float = number("seconds of the clock of `now_s` up to which the level has sunk", initial=0.0)


class AlertBudget:
    """Lets an incident pass when the logarithm of its strength reaches the level.

    The level L begins at ln 4, higher where there are many channels, see `hold`.
    ``L ← max(0, L + ln 2·[sent] − ln 2·N·Δt/86400)``: a leaky bucket in doublings. As a strength counts for at most
    ``LOUDEST``, the level is never above ln(2·LOUDEST), so that after the worst storm the strongest incident waits for
    1/N of a day at most, one of strength s for log2(2·LOUDEST/s)/N days; and even when everything is of the strongest,
    no more than N a day pass. At most seven pass at once, after a long quiet.

    Parameters
    ----------
    per_day
        N > 0; so large that the level is back at 0 by the next row is no budget.

    Examples
    --------
    >>> budget = AlertBudget(per_day=3.0)
    >>> budget.admits(3.9, now_s=0.0), budget.admits(4.0, now_s=0.0), budget.admits(7.0, now_s=0.0)
    (False, True, False)
    >>> budget.admits(7.0, now_s=8 * 3600.0)
    True
    """

    def __init__(self, per_day: float) -> None:
        self._state = AlertBudgetState()
        self._leak = _DOUBLING * per_day / _DAY_S

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    @property
    def level(self) -> float:
        """Logarithm of the strength that an incident must have, as of the last call."""
        return self._state.level

    def hold(self, now_s: float, channels: int) -> None:
        """Let the level not sink until now: there is nothing to send while everything is still learned.

        Of 1600 channels something is strange by chance ten times as strongly as of 16 (of 800 sensors, measured: 35
        against 4 in the hours after they were learned); what begins at the level of a few would be heard at once.
        """
        state = self._state
        state.level = max(state.level, math.log(min(_FIRST * math.sqrt(max(channels / _FEW, 1.0)), LOUDEST)))
        state.at_s = now_s

    def needed(self, now_s: float) -> float:
        """Strength that an incident must have to pass now, at least 1; above ``LOUDEST`` none does."""
        state = self._state
        # As it is read back from disk it could be anything.
        state.level = max(0.0, min(state.level, _HIGHEST) - self._leak * max(0.0, now_s - state.at_s))
        state.at_s = max(now_s, state.at_s)
        return math.exp(state.level)

    def admits(self, strength: float, now_s: float) -> bool:
        """Whether an incident of this strength passes; if it does, the level rises.

        Parameters
        ----------
        strength
            At least 1 for an anomaly: sum over its channels of each one's worst error over limit.
        now_s
            Seconds of a clock that never goes back and began near 0 with this object.
        """
        state = self._state
        if min(strength, LOUDEST) < self.needed(now_s):
            return False
        state.level += _DOUBLING
        return True
