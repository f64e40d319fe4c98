"""Due times of what is published at a fixed pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.clock import Clock

__all__ = ["Timetable"]


class Timetable:
    """Remembers when each of several recurring tasks is due; all are due at once in the beginning.

    Parameters
    ----------
    clock
        Source of time.

    Examples
    --------
    >>> from agent.core.clock import ManualClock
    >>> clock = ManualClock()
    >>> timetable = Timetable(clock)
    >>> timetable.is_due("state", 60.0), timetable.is_due("state", 60.0)
    (True, False)
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_ns = clock.monotonic_ns()
        self._due_ns: dict[str, int] = {}

    def is_due(self, task: str, interval_s: float) -> bool:
        """Whether the task is due; if so, it is due again one interval later.

        Parameters
        ----------
        task
            Name of the task.
        interval_s
            Seconds between its due times; may change from call to call.
        """
        now_ns = self._clock.monotonic_ns()
        due_ns = self._due_ns.get(task, self._started_ns)
        if now_ns < due_ns:
            return False
        # From the last due time, not from now: a pace of 1 s at an interval of 1 s must not lose every other turn.
        self._due_ns[task] = max(due_ns + round(interval_s * 1e9), now_ns - round(interval_s * 5e8))
        return True
