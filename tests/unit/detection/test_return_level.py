"""How rare a statistic is, from the tail of those before it."""

from __future__ import annotations

import numpy as np
import pytest

from agent.core.persistent_state import capture
from agent.detection.return_level import ReturnLevels

BLOCK_S, DAY_S = 60.0, 86400.0
DAY = 1440
MEMORY_S = 28.0 * DAY_S
ONE = np.array([True])


def made(lanes: int, gap: float = 1.0) -> ReturnLevels:
    return ReturnLevels(np.full(lanes, BLOCK_S), MEMORY_S, np.full(lanes, gap))


def learned(statistic: np.ndarray, levels: ReturnLevels | None = None, gap: float = 1.0) -> ReturnLevels:
    """Lanes that have learned these values, float64[blocks, lanes] or float64[blocks]."""
    rows = statistic.reshape(len(statistic), -1)
    levels = levels or made(rows.shape[1], gap)
    which = np.ones(rows.shape[1], bool)
    for row in rows:
        levels.learn(row, which)
    return levels


def exponential(blocks: int, lanes: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=(blocks, lanes))


def days(levels: ReturnLevels, value: float) -> np.ndarray:
    lanes = levels.known.size
    return levels.period_s(np.full(lanes, value)) / DAY_S


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_an_exponential_tail_is_known_within_a_factor_of_two(scale: float) -> None:
    # Twenty lanes, four weeks.
    levels = learned(scale * exponential(28 * DAY, 20))
    for period in (0.2, 1.0, 7.0):
        # Exceeded by one of so many blocks.
        value = scale * np.log(period * DAY)
        assert (days(levels, value) > period / 2.0).all(), period
        assert (days(levels, value) < period * 2.0).all(), period
        assert levels.level(period * DAY_S) == pytest.approx(value, rel=0.15)


def test_values_as_rare_as_a_day_come_about_once_a_day() -> None:
    levels = learned(exponential(28 * DAY, 20))
    ahead = exponential(28 * DAY, 20, seed=1)
    found = np.count_nonzero(ahead >= levels.level(DAY_S)) / 20 / 28
    assert 0.5 < found < 2.0


def test_level_and_period_are_inverse() -> None:
    levels = learned(exponential(5 * DAY, 3))
    for period_s in (DAY_S / 4, DAY_S, 100 * DAY_S):
        assert levels.period_s(levels.level(period_s)) == pytest.approx(np.full(3, period_s))
    # Nothing is more frequent than the peaks: their begin.
    assert levels.level(1.0).tolist() == levels.begin.tolist()


def test_a_value_below_the_begin_of_peaks_is_usual() -> None:
    levels = learned(exponential(5 * DAY))
    assert days(levels, float(levels.begin[0]) - 1e-9).tolist() == [0.0]
    assert days(levels, float(levels.begin[0]) + 1e-9)[0] > 0.0
    # About the highest twentieth.
    assert 0.02 < float((exponential(5 * DAY) > levels.begin).mean()) < 0.15


def test_ten_huge_values_hardly_change_the_levels() -> None:
    clean = exponential(14 * DAY, 5)
    spoilt = clean.copy()
    spoilt[DAY :: int(1.25 * DAY)][:10] = 1e6
    assert np.count_nonzero(spoilt > 1e5) == 50
    one, other = learned(clean), learned(spoilt)
    for period_s in (DAY_S, 10 * DAY_S):
        assert other.level(period_s) == pytest.approx(one.level(period_s), rel=0.1)
    # A hundred usual sizes are still much rarer than ten days.
    assert (days(other, 100.0) > 1e3).all()


def test_nothing_is_known_before_fifty_blocks_were_learned() -> None:
    rows = exponential(52)
    levels = made(1)
    for learned_blocks, row in enumerate(rows):
        known = learned_blocks > 50
        assert (levels.period_s(np.array([1e3]))[0] > 0.0) is np.bool_(known)
        assert np.isfinite(levels.level(DAY_S)[0]) == known
        levels.learn(row, ONE)


def test_a_lane_that_is_not_learned_stays_as_it_is() -> None:
    levels = learned(exponential(DAY, 2))
    before = capture(levels)[""]
    for value in (1e3, 0.0, 1e3):
        levels.learn(np.array([value, np.nan]), np.array([True, False]))
    after = capture(levels)[""]
    for name, array in before.items():
        if isinstance(array, np.ndarray):
            assert after[name][1] == array[1], name
    assert after["count"].tolist() == [DAY + 3, DAY]
    assert after["mean"][0] > before["mean"][0]


def test_what_is_forgotten_is_as_new_and_the_other_lanes_go_on() -> None:
    levels, untouched = learned(exponential(2 * DAY, 2)), learned(exponential(2 * DAY, 2))
    levels.reset(np.array([1]))
    assert (levels.learned_s / BLOCK_S).tolist() == [2 * DAY, 0.0]
    assert not np.isfinite(levels.level(DAY_S)[1])
    more = exponential(DAY, 2, seed=3)
    learned(more, levels)
    learned(more, untouched)
    fresh = learned(more[:, 1:])
    assert levels.level(DAY_S).tolist() == [untouched.level(DAY_S)[0], fresh.level(DAY_S)[0]]


def test_peaks_without_a_gap_are_one_event() -> None:
    # Bursts of five values, one every hour; two usual values do not end one.
    rows = np.zeros(2 * DAY)
    for start in range(100, 2 * DAY, 60):
        rows[start : start + 5] = 3.0, 0.0, 4.0, 0.0, 3.0
    together, apart = learned(rows, gap=3.0), learned(rows, gap=1.0)
    bursts = len(range(100, 2 * DAY, 60))
    assert capture(together)[""]["clusters"].tolist() == [bursts]
    assert capture(apart)[""]["clusters"].tolist() == [3 * bursts]


@pytest.mark.parametrize(("known_days", "after_days"), [(3, 1), (28, 7)])
def test_another_level_of_the_statistic_becomes_usual(known_days: int, after_days: int) -> None:
    levels = learned(0.3 * np.random.default_rng(0).normal(size=known_days * DAY), gap=10.0)
    after = 2.0 + 0.3 * np.random.default_rng(1).normal(size=after_days * DAY)
    assert days(levels, 2.0)[0] > 10.0
    learned(after, levels)
    assert days(levels, 2.0)[0] < 1.0


def test_a_cluster_that_does_not_end_counts_as_one_a_day() -> None:
    levels = learned(0.3 * np.random.default_rng(0).normal(size=28 * DAY), gap=10.0)
    before = capture(levels)[""]["clusters"][0]
    learned(np.full(3 * DAY + 10, 9.0), levels)
    assert capture(levels)[""]["clusters"][0] == pytest.approx(before + 3, abs=1)


def test_a_small_weight_slows_the_running_mean_down() -> None:
    fast, slow = learned(exponential(3 * DAY)), learned(exponential(3 * DAY))
    begin = float(fast.begin[0])
    for _ in range(300):
        fast.learn(np.array([3.0]), ONE, 1.0)
        slow.learn(np.array([3.0]), ONE, np.array([0.1]))
    assert 0.0 < float(slow.begin[0]) - begin < 0.2 * (float(fast.begin[0]) - begin)


def test_no_period_overflows() -> None:
    levels = learned(np.zeros(DAY))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        period_s = levels.period_s(np.array([1e300]))
    assert np.isfinite(period_s[0])
    assert period_s[0] > 1e20
