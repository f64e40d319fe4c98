"""Events that come back at their time of day are told apart from news."""

from __future__ import annotations

import numpy as np
import pytest

from agent.detection.recurring_events import RecurringEvents

HOUR_S, DAY_S = 3600.0, 86400.0
NIGHT_S = 2.5 * HOUR_S
WEEK = 7
ONE = np.array([0])


def remembered(*times_s: float, size: float = 1.0) -> RecurringEvents:
    """Memory of events of one lane."""
    events = RecurringEvents(1)
    for time_s in times_s:
        events.remember(ONE, np.array([size]), time_s)
    return events


def recurs(events: RecurringEvents, time_s: float, size: float = 1.0) -> bool:
    return bool(events.recurs(ONE, np.array([size]), time_s)[0])


def nights(*days: float) -> list[float]:
    return [day * DAY_S + NIGHT_S for day in days]


def test_a_nightly_event_is_recognised_on_its_third_night() -> None:
    events = RecurringEvents(1)
    found = []
    for night in nights(*range(6)):
        found.append(recurs(events, night))
        events.remember(ONE, np.ones(1), night)
    assert found == [False, False, True, True, True, True]


def test_one_night_without_it_does_not_make_it_news() -> None:
    assert recurs(remembered(*nights(0, 1)), nights(3)[0])
    assert recurs(remembered(*nights(0, 2)), nights(3)[0])
    assert not recurs(remembered(*nights(0)), nights(3)[0])


def test_a_weekly_event_is_recognised_in_its_third_week() -> None:
    events = RecurringEvents(1)
    found = []
    for night in nights(0, WEEK, 2 * WEEK, 3 * WEEK):
        found.append(recurs(events, night))
        events.remember(ONE, np.ones(1), night)
    assert found == [False, False, True, True]
    # On other days of the week it is news.
    assert not any(recurs(events, night) for night in nights(3 * WEEK + 3, 3 * WEEK + 4))


@pytest.mark.parametrize(("minutes", "expected"), [(-31, False), (-29, True), (0, True), (29, True), (31, False)])
def test_it_may_come_half_an_hour_early_or_late(minutes: float, expected: bool) -> None:
    events = remembered(*nights(0, 1, 2))
    assert recurs(events, nights(3)[0] + 60.0 * minutes) is expected


@pytest.mark.parametrize("hours", [1, 6, 12, 23])
def test_at_another_hour_it_is_news(hours: float) -> None:
    assert not recurs(remembered(*nights(0, 1, 2)), nights(3)[0] + hours * HOUR_S)


def test_what_is_larger_than_before_is_news() -> None:
    events = remembered(*nights(0, 1, 2), size=1.0)
    assert [recurs(events, nights(3)[0], size) for size in (0.0, 1.0, 1.25, 1.26, 3.0)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert events.likes(ONE, np.array([1.26]), nights(3)[0], 28 * DAY_S).tolist() == [0]


def test_after_a_week_without_it_a_nightly_event_is_news_again() -> None:
    events = remembered(*nights(0, 1, 2, 3))
    assert not recurs(events, nights(6.0)[0] + 2 * DAY_S)


def test_it_forgets_the_oldest_of_more_than_sixty_four() -> None:
    events = remembered(*nights(0, 1))
    for hour in range(62):
        events.remember(ONE, np.array([-3.0]), 2 * DAY_S + hour * HOUR_S)
    assert events.likes(ONE, np.ones(1), 5 * DAY_S, 28 * DAY_S).tolist() == [2]
    assert events.likes(ONE, np.array([-3.0]), 5 * DAY_S, 28 * DAY_S).tolist() == [64]
    left = []
    for hour in range(62, 65):
        events.remember(ONE, np.array([-3.0]), 2 * DAY_S + hour * HOUR_S)
        left += events.likes(ONE, np.ones(1), 5 * DAY_S, 28 * DAY_S).tolist()
    assert left == [1, 0, 0]
    assert events.likes(ONE, np.array([-3.0]), 5 * DAY_S, 28 * DAY_S).tolist() == [64]


def test_peaks_within_five_minutes_are_one_event_with_the_largest_size() -> None:
    events = RecurringEvents(1)
    for minute, size in ((0, 1.0), (4, 3.0), (8, 2.0), (12, 0.5)):
        events.remember(ONE, np.array([size]), 60.0 * minute)
    assert events.likes(ONE, np.array([3.2]), DAY_S, DAY_S).tolist() == [1]
    assert events.likes(ONE, np.array([0.0]), DAY_S, DAY_S).tolist() == [1]
    events.remember(ONE, np.array([1.0]), 60.0 * 18)
    assert events.likes(ONE, np.array([0.0]), DAY_S, DAY_S).tolist() == [2]


@pytest.mark.parametrize(("hour", "expected"), [(8.4, False), (8.6, True), (12.0, True), (17.4, True), (17.6, False)])
def test_a_busy_day_recurs_from_its_begin_to_its_end(hour: float, expected: bool) -> None:
    events = RecurringEvents(1)
    for day in range(2):
        for minute in range(9 * 60, 17 * 60 + 1, 5):
            events.remember(ONE, np.ones(1), day * DAY_S + 60.0 * minute)
    assert recurs(events, 2 * DAY_S + hour * HOUR_S) is expected


def test_likes_are_counted_at_any_hour_within_the_memory_and_not_the_present_one() -> None:
    events = remembered(0.0, 5 * HOUR_S, 40 * HOUR_S)
    assert events.likes(ONE, np.ones(1), 48 * HOUR_S, 28 * DAY_S).tolist() == [3]
    assert events.likes(ONE, np.ones(1), 48 * HOUR_S, DAY_S).tolist() == [1]
    # Five minutes after the last it is the same event.
    assert events.likes(ONE, np.ones(1), 40 * HOUR_S + 300.0, 28 * DAY_S).tolist() == [2]


def test_lanes_remember_for_themselves_and_forget_alone() -> None:
    events, both = RecurringEvents(3), np.array([0, 2])
    for night in nights(0, 1, 2):
        events.remember(both, np.ones(2), night)
    every = np.arange(3)
    assert events.recurs(every, np.ones(3), nights(3)[0]).tolist() == [True, False, True]
    events.reset(np.array([2]))
    assert events.recurs(every, np.ones(3), nights(3)[0]).tolist() == [True, False, False]
