"""How long a channel stays anomalous after an alarm, and the kind of error that raised it."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.detection.excursion import LEVEL, PATTERN, READINGS, Excursions

ALARM, QUIET = 2.0, 0.0


class Feed:
    """One channel at a row a second, whose blocks were 0 to 1 so far."""

    def __init__(self, **times: Any) -> None:
        self.excursions = Excursions(
            np.zeros(1), 1.0, **{"block_rows": 1, "confirm_s": 5.0, "accept_after_s": 600.0, **times}
        )
        for value in np.linspace(0.0, 1.0, 64):
            self.excursions.push(np.array([value]))

    def __call__(
        self,
        value: float,
        strength: float = QUIET,
        told: int = READINGS,
        *,
        estranged: bool = False,
        valid: bool = True,
    ) -> bool:
        evidence = np.zeros((3, 1))
        evidence[told] = strength
        row = np.array([strength]), np.array([value])
        self.excursions.begin(row[0], evidence, row[1])
        self.accepted = bool(self.excursions.follow(*row, np.array([valid]), np.array([estranged]))[0])
        return bool(self.excursions.anomalous[0])


def test_it_lasts_while_values_are_outside_their_band_and_ends_after_three_calm_blocks() -> None:
    feed = Feed()
    assert [feed(5.0, ALARM), feed(5.0), feed(0.5), feed(5.0)] == [True, True, False, True]
    assert [feed(0.5) for _ in range(2)] == [False, False]
    assert feed.excursions.on[0]
    feed(0.5)
    assert not feed.excursions.on[0]
    assert not feed(5.0)


def test_an_alarm_within_the_band_counts_for_the_time_of_confirmation() -> None:
    feed = Feed()
    found = [feed(0.5, ALARM, PATTERN)] + [feed(0.5) for _ in range(9)]
    assert found == [True] * 5 + [False] * 5


def test_what_the_others_do_not_tell_lasts_as_long_and_is_learned_from() -> None:
    feed = Feed()
    feed(0.5, ALARM, PATTERN, estranged=True)
    assert all(feed(0.5, estranged=True) for _ in range(30))
    assert not feed.excursions.deviating[0]
    assert not feed(0.5)


def test_what_single_readings_show_does_not_last_for_what_the_others_say() -> None:
    feed = Feed()
    feed(5.0, ALARM, READINGS, estranged=True)
    assert not feed(0.5, estranged=True)


def test_what_lasts_is_the_new_normal() -> None:
    feed = Feed(accept_after_s=10.0)
    found = [(feed(5.0, ALARM if row == 0 else QUIET), feed.accepted) for row in range(12)]
    assert found == [(True, False)] * 9 + [(False, True)] + [(False, False)] * 2


def test_without_a_reading_all_stays_as_it_was() -> None:
    feed = Feed()
    feed(5.0, ALARM)
    assert all(feed(5.0, valid=False) for _ in range(9))
    assert feed.excursions.on[0]


def test_its_course_is_what_noticed_it_and_a_level_once_it_stays_on_one_side() -> None:
    courses = {}
    for told in (READINGS, PATTERN, LEVEL):
        feed = Feed()
        feed(0.5, ALARM, told, estranged=True)
        courses[told] = feed.excursions.courses().get(0, "readings")
    assert courses == {READINGS: "readings", PATTERN: "pattern", LEVEL: "level"}
    feed = Feed()
    found = [feed(5.0, ALARM if row == 0 else QUIET, PATTERN) and feed.excursions.courses()[0] for row in range(61)]
    assert found == ["pattern"] * 59 + ["level"] * 2
    alternating = Feed()
    for row in range(100):
        alternating(5.0 * (-1) ** row, ALARM if row == 0 else QUIET, PATTERN)
    assert alternating.excursions.courses() == {0: "pattern"}
