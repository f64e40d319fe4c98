"""Due times of messages that are published at fixed intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.clock import Clock

__all__ = ["Timetable"]


class Timetable:
    """Tracks when each of several recurring tasks is due; every task is due at its first call.

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
        """Whether the task is due; if so, its next due time is set one interval later.

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
        # Counted from the last due time: from now, jitter would skip every other turn of a 1 s task at a 1 s tick.
        self._due_ns[task] = max(due_ns + round(interval_s * 1e9), now_ns - round(interval_s * 5e8))
        return True
