"""Memory of events that come back at their time of day: a nightly backup, a daily update, a weekly check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array
from agent.detection.alarm_bar import DAY_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["RecurringEvents"]

# All constants of this file were chosen on the AIOps KPIs and on simulated hosts with seeds below 1,000
# (`tools.benchmark alerts`).
# Events remembered per lane. Two a day (begin and end of a job) fill it in a month.
_KEPT = 64
# An event recurs from this time before a former one began until this time after it ended. With a whole hour, a seventh
# of the KPIs' anomalies are taken for recurring ones.
_TOLERANCE_S = 1800.0
# An event is as large as a former one if its size exceeds that by no more than this: a factor of 1.28.
_LARGER = 0.25
# Days before, of which `_NEEDED` must have had the event: a daily event, or a weekly one.
_DAILY, _WEEKLY, _NEEDED = (1, 2, 3), (7, 14, 21), 2
# Peaks closer than this are one event.
_ONE_EVENT_S = 300.0
# Time of an event in the very first row, and age of an event that never was.
_FIRST_S, _NEVER_S = 1.0, 1e12


class RecurringEventsState(State):
    """Fields of `RecurringEvents` that outlive a restart."""

    # Begin, end and largest size of former events, a ring; `next` is the entry to be written.
    # float32 and zeros, which take no memory until they are written to, for nodes of thousands of channels.
    began_s: Float32Array = array("seconds of the rows", CHANNEL, _KEPT, dtype=np.float32)
    ended_s: Float32Array = array("seconds of the rows, 0: no event", CHANNEL, _KEPT, dtype=np.float32)
    size: Float32Array = array("logarithm of the deviation", CHANNEL, _KEPT, dtype=np.float32)
    next: IntArray = array("entry", CHANNEL, dtype=np.int64)


class RecurringEvents:
    """Remembers notable events per lane and recognises those that come back at their time.

    Parameters
    ----------
    n_lanes
        Number of lanes.

    Examples
    --------
    >>> events, backup = RecurringEvents(1), np.array([0])
    >>> for day in range(4):
    ...     night_s = day * 86400.0 + 9000.0
    ...     print(bool(events.recurs(backup, np.array([1.0]), night_s)[0]), end=" ")
    ...     events.remember(backup, np.array([1.0]), night_s)
    False False True True
    >>> events.recurs(backup, np.array([1.0]), 4 * 86400.0).tolist()  # at another hour
    [False]
    """

    def __init__(self, n_lanes: int) -> None:
        self._state = RecurringEventsState(channel=n_lanes)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state, large=True)

    def reset(self, lanes: IntArray) -> None:
        """Forget these lanes, int64[m]."""
        self._state.reset(lanes)

    def recurs(self, lanes: IntArray, size: Float64Array, now_s: float) -> BoolArray:
        """Whether events of this size, now, are repetitions.

        Parameters
        ----------
        lanes, size
            int64[m] and float64[m], lanes and logarithms of their deviations.
        now_s
            Seconds of the present row.

        Returns
        -------
        bool[m].
        """
        state = self._state
        alike = state.size[lanes] >= size[:, None] - _LARGER
        oldest, newest = self._ages_s(state.began_s, lanes, now_s), self._ages_s(state.ended_s, lanes, now_s)
        recurs: BoolArray = np.zeros(len(lanes), bool)
        for pattern in (_DAILY, _WEEKLY):
            at_s = [day * DAY_S for day in pattern]
            hits = [
                (alike & (newest - _TOLERANCE_S <= age) & (age <= oldest + _TOLERANCE_S)).any(axis=1) for age in at_s
            ]
            recurs |= np.sum(hits, axis=0) >= _NEEDED
        return recurs

    def likes(self, lanes: IntArray, size: Float64Array, now_s: float, memory_s: float) -> IntArray:
        """Number of former events of this size at any time within a memory in seconds, int64[m]; see `recurs`."""
        age = self._ages_s(self._state.ended_s, lanes, now_s)
        former = (age > _ONE_EVENT_S) & (age <= memory_s)
        likes: IntArray = np.count_nonzero(former & (self._state.size[lanes] >= size[:, None] - _LARGER), axis=1)
        return likes

    def remember(self, lanes: IntArray, size: Float64Array, now_s: float) -> None:
        """Remember events of these lanes, int64[m]; peaks close in time are one event with the largest size."""
        state = self._state
        last = (state.next[lanes] - 1) % _KEPT
        same = self._ages_s(state.ended_s, lanes, now_s)[np.arange(len(lanes)), last] <= _ONE_EVENT_S
        entry = np.where(same, last, state.next[lanes])
        before = np.where(same, state.size[lanes, entry], -np.inf)
        state.began_s[lanes, entry] = np.where(same, state.began_s[lanes, entry], now_s)
        state.ended_s[lanes, entry] = max(now_s, _FIRST_S)
        state.size[lanes, entry] = np.maximum(before, size)
        state.next[lanes] = np.where(same, state.next[lanes], (state.next[lanes] + 1) % _KEPT)

    def _ages_s(self, times_s: Float32Array, lanes: IntArray, now_s: float) -> Float64Array:
        """Seconds since each begin or end of remembered events, float64[m, 64]; `_NEVER_S` where there is none."""
        known = self._state.ended_s[lanes] > 0.0
        return np.where(known, now_s - times_s[lanes].astype(np.float64), _NEVER_S)
