"""Levels averaged over minutes to hours, against slow centres."""

from __future__ import annotations

import numpy as np
import pytest

from agent.detection.level_deviation import LevelDeviation, averages

ONE, NO_FLOOR = np.array([True]), np.zeros(1)
BLOCK_S = 60.0
DAY = 1440
# Blocks averaged with blocks of a minute.
MINUTES = (12.0, 48.0, 180.0)


def learned(
    values: np.ndarray, levels: LevelDeviation | None = None, weight: float = 1.0, memory: float = 14.0 * DAY
) -> LevelDeviation:
    """One channel that has learned these block means."""
    levels = levels or LevelDeviation(1, BLOCK_S, memory)
    for value in values:
        levels.follow(np.array([value]), ONE)
        levels.learn(np.full((len(MINUTES), 1), weight), NO_FLOOR)
    return levels


def noise(blocks: int, seed: int = 0) -> np.ndarray:
    return 50.0 + np.random.default_rng(seed).normal(size=blocks)


def test_levels_are_averaged_over_minutes_to_hours() -> None:
    assert tuple(averages(BLOCK_S)) == MINUTES
    for block_s in (1.0, 5.0, 60.0, 300.0, 3600.0, 86400.0):
        assert averages(block_s).max() <= max(3 * 3600.0 / block_s, 1.0)
        assert averages(block_s).min() >= 1.0


def test_a_level_is_known_after_twenty_times_its_blocks_and_slow_ones_not_before_a_day() -> None:
    # With blocks of 5 s: one minute, four minutes, half an hour, three hours.
    levels = LevelDeviation(1, 5.0, 1e5)
    known: list[int] = []
    for block in range(1, 45_000):
        levels.follow(np.zeros(1), ONE)
        levels.learn(np.ones((4, 1)), NO_FLOOR)
        if int(levels.known.sum()) > len(known):
            known += [block] * (int(levels.known.sum()) - len(known))
    assert known == [241, 961, 17_281, 43_201]
    assert levels.known.ravel().tolist() == [True] * 4


def test_means_follow_a_step_over_as_many_blocks_as_they_average() -> None:
    levels = learned(np.zeros(2000))
    for _ in range(12):
        levels.follow(np.ones(1), ONE)
    # 1 - (1 - 1/12)^12, and less for the slower ones.
    assert levels.mean[:, 0] == pytest.approx([1.0 - (1.0 - 1.0 / n) ** 12 for n in MINUTES])


def test_the_first_means_are_plain_ones() -> None:
    levels = LevelDeviation(1, BLOCK_S, 1000.0)
    for value in (1.0, 2.0, 6.0):
        levels.follow(np.array([value]), ONE)
    assert levels.mean[:, 0] == pytest.approx([3.0] * 3)


def test_a_missing_block_changes_nothing() -> None:
    levels = learned(noise(300))
    before = levels.mean.copy()
    levels.follow(np.array([1e9]), np.array([False]))
    np.testing.assert_array_equal(levels.mean, before)


def test_the_usual_deviation_is_that_of_the_means() -> None:
    levels = learned(noise(20 * DAY))
    # Of a mean over n values of noise of size 1: sqrt(2 / pi) / sqrt(2 n - 1).
    expected = [np.sqrt(2.0 / np.pi) / np.sqrt(2.0 * n - 1.0) for n in MINUTES]
    assert levels.usual[:, 0] == pytest.approx(expected, rel=0.3)
    assert levels.centre[:, 0] == pytest.approx([50.0] * 3, abs=0.1)


def test_a_slow_drift_is_hardly_learned_with_a_small_weight() -> None:
    # Five units in a day; the noise has a size of one, the slowest level one of a twentieth.
    drift = noise(DAY, 1) + 5.0 * np.arange(DAY) / DAY
    moved = {}
    for weight in (1.0, 0.1):
        levels = learned(noise(5 * DAY))
        before = levels.centre[:, 0].copy()
        assert (levels.usual[:, 0] > 0.02).all()
        learned(drift, levels, weight)
        moved[weight] = levels.centre[:, 0] - before
        assert levels.mean[-1, 0] - 50.0 > 4.0
    # A fifth of the days learned; steps of three usual deviations at most.
    assert moved[1.0] == pytest.approx(0.2 * 3.0 * levels.usual[:, 0], rel=0.5)
    assert (moved[0.1] < 0.15 * moved[1.0]).all()
    assert (moved[0.1] < 0.1 * levels.usual[:, 0]).all()


def test_one_huge_level_hardly_moves_centre_and_usual_deviation() -> None:
    levels = learned(noise(5 * DAY))
    centre, usual = levels.centre.copy(), levels.usual.copy()
    learned(np.full(10, 1e9), levels)
    assert (np.abs(levels.centre - centre) < 0.05).all()
    assert (levels.usual < 1.02 * usual).all()


def test_an_accepted_level_is_the_usual_one_at_once_and_on_its_channel_only() -> None:
    levels = LevelDeviation(2, BLOCK_S, 1e5)
    for value in np.concatenate((noise(2 * DAY), 70.0 + noise(DAY, 1))):
        levels.follow(np.full(2, value), np.ones(2, bool))
        levels.learn(np.full((3, 2), float(value < 90.0)), np.zeros(2))
    levels.accept(np.array([True, False]))
    assert (levels.mean - levels.centre)[:, 0].tolist() == [0.0] * 3
    assert ((levels.mean - levels.centre)[:, 1] > 60.0).all()


def test_what_is_forgotten_is_as_new() -> None:
    levels = learned(noise(2 * DAY))
    levels.reset(np.array([0]))
    assert not levels.known.any()
    fresh = learned(noise(500, 3))
    learned(noise(500, 3), levels)
    np.testing.assert_array_equal(levels.mean, fresh.mean)
    np.testing.assert_array_equal(levels.centre, fresh.centre)
    np.testing.assert_array_equal(levels.usual, fresh.usual)
