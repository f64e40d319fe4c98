from __future__ import annotations

from agent.core.clock import ManualClock
from agent.service.timetable import Timetable


def due(interval_s: float, tick_s: float, ticks: int) -> list[int]:
    clock, found = ManualClock(), []
    timetable = Timetable(clock)
    for tick in range(ticks):
        if timetable.is_due("state", interval_s):
            found.append(tick)
        clock.now_ns += round(tick_s * 1e9)
    return found


def test_everything_is_due_at_the_first_tick_and_then_at_its_pace() -> None:
    assert due(3.0, 1.0, 10) == [0, 3, 6, 9]


def test_a_pace_as_fast_as_the_ticks_loses_no_turn_to_late_ticks() -> None:
    assert due(1.0, 0.999, 5) == [0, 2, 3, 4]
    assert due(1.0, 1.001, 5) == [0, 1, 2, 3, 4]


def test_a_pause_is_made_up_for_by_one_turn_at_most() -> None:
    clock = ManualClock()
    timetable = Timetable(clock)
    assert timetable.is_due("state", 10.0)
    clock.now_ns += 3600 * 10**9
    assert [timetable.is_due("state", 10.0) for _ in range(3)] == [True, True, False]


def test_tasks_do_not_disturb_each_other() -> None:
    timetable = Timetable(ManualClock())
    assert [timetable.is_due(task, 1.0) for task in ("state", "health", "state")] == [True, True, False]
