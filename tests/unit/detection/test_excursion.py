"""How long a channel stays anomalous after an alarm, and the kind of error that raised it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.core.persistent_state import capture
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


def test_it_has_a_strength_only_while_it_lasts() -> None:
    feed = Feed(accept_after_s=10.0)
    strengths = []
    for row, value in enumerate([5.0, 5.0, 0.5, 0.5, 0.5, 0.5]):
        feed(value, 7.0 if row == 0 else QUIET)
        strengths.append(float(feed.excursions.strength[0]))
    assert strengths == [7.0, 7.0, 7.0, 7.0, 0.0, 0.0]
    # The end by acceptance is one as well.
    assert [(feed(5.0, 7.0), float(feed.excursions.strength[0])) for _ in range(9)] == [(True, 7.0)] * 9
    feed.excursions.follow(np.zeros(1), np.array([5.0]), np.array([True]), np.array([False]))
    assert (bool(feed.excursions.on[0]), float(feed.excursions.strength[0])) == (False, 0.0)


@pytest.mark.parametrize(("lasted", "calm"), [(1, 3), (24, 3), (40, 5), (80, 10), (400, 50), (28_800, 3600)])
def test_it_ends_after_an_eighth_of_its_duration_three_blocks_at_least_and_an_hour_at_most(
    lasted: int, calm: int
) -> None:
    feed = Feed(accept_after_s=86_400.0)
    feed(5.0, ALARM)
    assert all(feed(5.0) for _ in range(lasted - 1))
    for _ in range(calm - 1):
        feed(0.5)
    assert feed.excursions.on[0]
    feed(0.5)
    assert not feed.excursions.on[0]


def test_however_long_it_lasts_an_hour_of_calm_ends_it() -> None:
    feed = Feed(accept_after_s=86_400.0)
    feed(5.0, ALARM)
    for _ in range(40_000):
        feed(5.0)
    calm = 0
    while feed.excursions.on[0] and calm < 4000:
        feed(0.5)
        calm += 1
    assert calm == 3600


def test_values_without_calm_between_them_are_one_excursion() -> None:
    feed = Feed(accept_after_s=86_400.0)
    feed(5.0, ALARM)
    for _ in range(79):
        feed(5.0)
    # Nine calm rows of ten, again and again.
    for _ in range(5):
        for value in [0.5] * 9 + [5.0]:
            feed(value)
            assert feed.excursions.on[0]


@pytest.mark.parametrize("noticed", [READINGS, PATTERN, LEVEL])
def test_the_band_of_a_level_is_from_before_it_began(noticed: int) -> None:
    feed = Feed()
    # A level that has risen for 48 blocks before it is noticed.
    for value in np.linspace(5.0, 8.0, 48):
        feed.excursions.push(np.array([value]))
    feed(20.0, ALARM, noticed)
    low, high = capture(feed.excursions)[""]["band"][:, 0]
    if noticed == LEVEL:
        assert (low, high) == pytest.approx((0.05, 0.95), abs=1e-6)
        assert feed(6.0)
    else:
        # Three quarters of the newest 64 blocks are on their way.
        assert high == pytest.approx(7.8, abs=0.1)
        assert not feed(6.0)


def test_evidence_that_lasts_keeps_it_up_within_the_band() -> None:
    feed = Feed()
    feed(5.0, ALARM)
    assert all(feed(0.5, 0.1) for _ in range(50))
    assert not feed(0.5, 0.09)


def test_after_the_end_values_of_before_are_forgiven_for_64_blocks() -> None:
    feed, usual, other = Feed(), np.array([0.5]), np.array([5.0])
    assert not feed.excursions.forgiven(usual)[0]
    feed(5.0, ALARM)
    feed.excursions.push(other)
    assert not feed.excursions.forgiven(usual)[0]  # while it lasts
    for _ in range(3):
        feed(0.5)
    forgiven = []
    for _ in range(70):
        forgiven.append(bool(feed.excursions.forgiven(usual)[0]))
        assert not feed.excursions.forgiven(other)[0]
        feed.excursions.push(usual)
    assert forgiven == [True] * 64 + [False] * 6


def test_noise_around_the_band_is_forgiven_and_what_is_further_off_than_its_width_is_not() -> None:
    feed = Feed()
    feed(5.0, ALARM)
    feed.excursions.push(np.array([5.0]))
    for _ in range(3):
        feed(0.5)
    # The band is 0.05 to 0.95: a tenth of all usual blocks lie beyond it.
    forgiven = {value: bool(feed.excursions.forgiven(np.array([value]))[0]) for value in (-1.0, -0.8, 1.2, 1.8, 2.0)}
    assert forgiven == {-1.0: False, -0.8: True, 1.2: True, 1.8: True, 2.0: False}


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
