"""The rarest evidence about a channel: the lane that found it, its rarity, and the range that it leaves."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from agent.detection.alarm_bar import DAY_S, AlarmBar
from agent.detection.rarity import FORECAST, LEVEL, NOVELTY, RELATION, STATE, RarityHead

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK_S = 60.0
DAY = 1440
ONE, NO_FLOOR = np.array([True]), np.zeros(1)
LEARNED = 6 * DAY


class Judged(NamedTuple):
    """Strength, lane, return period in days, and value, expectation, range and blocks averaged."""

    strength: float
    lane: int
    days: float
    told: tuple[float, ...]

    @property
    def outside(self) -> bool:
        value, _, lower, upper, _ = self.told
        return not lower <= value <= upper


def judge(
    head: RarityHead,
    values: Iterable[float],
    *,
    state: float = 1.0,
    novelty: float = 0.0,
    relation: float = np.nan,
    learn: bool = True,
    at: int = 0,
) -> list[Judged]:
    """One channel around 50, which is always expected."""
    judged = []
    for block, value in enumerate(values, at):
        errors = np.array([[value - 50.0], [relation], [np.nan]])
        head.judge(
            np.array([state]),
            np.array([novelty]),
            np.full((3, 1), value),
            errors,
            valid=ONE,
            moved=ONE,
            floor=NO_FLOOR,
            now_s=block * BLOCK_S,
        )
        described, period_s = head.describe(np.array([0]), ~ONE, NO_FLOOR)
        strength = head.strength[:, 0]
        told = tuple(described[:, 0].tolist())
        judged.append(Judged(float(strength.max()), int(strength.argmax()), float(period_s[0]) / DAY_S, told))
        if learn:
            head.learn(ONE, ONE, ONE, ONE, NO_FLOOR)
    return judged


def noise(blocks: int, seed: int = 0) -> np.ndarray:
    return 50.0 + np.random.default_rng(seed).normal(size=blocks)


def made(effect: float = 0.0) -> RarityHead:
    return RarityHead(np.array([effect]), BLOCK_S, AlarmBar(0.1, 1, BLOCK_S))


@pytest.fixture(scope="module", name="grown")
def _grown() -> RarityHead:
    head = made()
    found = judge(head, noise(LEARNED))
    # Nothing in days of noise is an alarm.
    assert max(each.strength for each in found) < 1.0
    return head


@pytest.fixture
def head(grown: RarityHead) -> RarityHead:
    return copy.deepcopy(grown)


@pytest.mark.parametrize("value", [62.0, 38.0])
def test_a_jump_is_found_and_explained_by_the_forecast_lane(head: RarityHead, value: float) -> None:
    (jump,) = judge(head, [value], at=LEARNED)
    assert jump.strength >= 1.0
    assert (jump.lane, jump.days > 10.0) == (FORECAST, True)
    named, expected, lower, upper, blocks = jump.told
    assert (named, expected, blocks) == (value, 50.0, 1.0)
    # Noise of size one: four to ten of it once in ten days.
    assert 40.0 < lower < 46.0
    assert 54.0 < upper < 60.0


def test_the_strength_is_the_root_of_the_rarity_over_ten_days(head: RarityHead) -> None:
    for value in (58.0, 62.0, 70.0):
        (jump,) = judge(copy.deepcopy(head), [value], learn=False, at=LEARNED)
        assert jump.strength == pytest.approx(min((jump.days / 10.0) ** 0.5, 1e3))


def test_a_slow_drift_is_found_by_a_level_lane_whose_value_leaves_its_range(head: RarityHead) -> None:
    drift = noise(2 * DAY, 1) + 1.5 * np.arange(2 * DAY) / DAY
    found = judge(head, drift, at=LEARNED)
    first = next(block for block, each in enumerate(found) if each.strength >= 1.0)
    # Half of the noise's size, long before a reading shows it.
    assert 0.1 < 1.5 * first / DAY < 1.5
    assert found[first].lane >= LEVEL
    value, expected, lower, upper, blocks = found[first].told
    assert blocks in {12.0, 48.0, 180.0}
    assert lower < expected < upper < value < 52.0
    # It does not become usual while it goes on.
    assert all(each.strength >= 1.0 and each.lane >= LEVEL for each in found[-DAY // 2 :])


def test_every_alarm_is_explained_by_a_value_outside_its_range(head: RarityHead) -> None:
    rng = np.random.default_rng(7)
    values = noise(DAY, 3)
    for begin in range(100, DAY - 100, 150):
        values[begin : begin + 40] += rng.normal(scale=6.0)
    found = [each for each in judge(head, values, at=LEARNED) if each.strength >= 1.0]
    assert len(found) > 50
    assert {FORECAST} < {each.lane for each in found}
    assert all(each.outside for each in found)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nothing_smaller_than_half_of_the_smallest_effect_is_rare(sign: float) -> None:
    head = made(effect=20.0)
    judge(head, 50.0 + 0.1 * (noise(2 * DAY) - 50.0))
    for away, rare in ((9.9, False), (10.1, True)):
        (found,) = judge(copy.deepcopy(head), [50.0 + sign * away], learn=False, at=2 * DAY)
        assert (found.strength >= 1.0, found.lane == FORECAST) == (rare, rare)
        assert (found.days > 0.0) is rare
    # Nor is a level, however long it lasts.
    (*_, last) = judge(head, np.full(DAY, 50.0 + sign * 9.9), learn=False, at=2 * DAY)
    assert last.days == 0.0


def test_state_and_novelty_never_speak_without_a_reading_or_level_that_explains_them(head: RarityHead) -> None:
    # Levels come back to their centre.
    judge(head, np.full(1000, 50.0), learn=False, at=LEARNED)
    for state, novelty in ((1e6, 0.0), (1.0, 1e6), (1e6, 1e6)):
        (usual,) = judge(copy.deepcopy(head), [50.1], state=state, novelty=novelty, learn=False, at=LEARNED + 1000)
        assert (usual.strength, usual.days) == (0.0, 0.0)
        (alone,) = judge(copy.deepcopy(head), [53.5], learn=False, at=LEARNED + 1000)
        (added,) = judge(copy.deepcopy(head), [53.5], state=state, novelty=novelty, learn=False, at=LEARNED + 1000)
        assert alone.strength < 1.0 <= added.strength
        assert added.lane in {STATE, NOVELTY}
        # Explained by the reading, which lies outside of its usual range.
        assert (added.told[0], added.told[4], added.outside) == (53.5, 1.0, True)


def test_an_event_that_comes_back_every_night_is_no_news_on_the_third(head: RarityHead) -> None:
    strengths = []
    for day in range(6, 10):
        values = noise(DAY, day)
        judge(head, values[:150], at=day * DAY)
        (found,) = judge(copy.deepcopy(head), [90.0], learn=False, at=day * DAY + 150)
        assert found.strength >= 1.0  # a much larger one is always news
        (found,) = judge(head, [64.0], learn=False, at=day * DAY + 150)
        strengths.append(found.strength)
        judge(head, values[151:], at=day * DAY + 151)
    assert min(strengths[:2]) >= 1.0
    assert max(strengths[2:]) < 1.0


def test_accepted_levels_are_usual_at_once(head: RarityHead) -> None:
    shifted = noise(400, 2) + 8.0
    judge(head, shifted, learn=False, at=LEARNED)
    assert head.strength[LEVEL:].max() >= 1.0
    head.accept(ONE, np.zeros(1))
    (after,) = judge(head, [50.0], learn=False, at=LEARNED + 400)
    assert head.strength[LEVEL:].max() < 1.0
    assert after.strength < 1.0


def test_a_channel_that_is_replaced_is_not_known(head: RarityHead) -> None:
    head.reset(np.array([0]), np.zeros(1))
    (found,) = judge(head, [1e6])
    assert (found.strength, found.days) == (0.0, 0.0)


def test_a_broken_relation_is_told_by_the_value_that_the_others_ask_for() -> None:
    head = made()
    errors = np.random.default_rng(5).normal(size=LEARNED)
    values = noise(LEARNED)
    for block, (value, error) in enumerate(zip(values, errors, strict=True)):
        judge(head, [value], relation=float(error), at=block)
    # The reading is usual, and 12 below what the others ask for.
    (found,) = judge(head, [50.5], relation=-12.0, learn=False, at=LEARNED)
    assert (found.strength >= 1.0, found.lane) == (True, RELATION)
    value, expected, lower, upper, _ = found.told
    assert (value, expected) == (50.5, 62.5)
    assert value < lower < expected < upper
    # Once accepted, it is usual.
    head.accept(ONE, np.array([12.0]))
    (found,) = judge(head, [50.5], relation=-12.0, learn=False, at=LEARNED + 1)
    assert found.strength < 1.0
