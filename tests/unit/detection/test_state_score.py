"""The state head weights the deviations of a channel by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.core.persistent_state import capture
from agent.detection.state_score import StateHead

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

ONE = np.ones(1, bool)


def states(series: Float64Array, *, sparing: bool = False) -> Float64Array:
    """State score of a channel at every row, without errors of the network, float64[rows]."""
    head = StateHead(1, 0, 1, sparing=sparing)
    usual_change = float(np.abs(np.diff(series)).mean())
    told = []
    for value in series[:, None]:
        head.follow(value, ONE, np.full(1, usual_change), [np.zeros(1)])
        head.learn(value, np.zeros((1, 0), np.float32), ONE, ONE)
        told.append(head.state[0])
    return np.array(told)


def noise(rows: int, seed: int = 0) -> Float64Array:
    found: Float64Array = np.random.default_rng(seed).normal(0, 1, rows)
    return found


def test_a_channel_as_usual_is_near_one() -> None:
    assert 0.3 < states(noise(3000))[1000:].mean() < 1.5


def test_a_single_spike_counts_at_once_and_not_for_long() -> None:
    series = noise(3000)
    series[2500] += 20.0
    told = states(series)
    assert told[2500] > 2 * told[1000:2500].max()
    assert told[2540:].max() < told[2500] / 2


def test_a_spike_that_was_announced_as_ever_counts_for_less() -> None:
    # With marks of random sign, which a linear forecast cannot predict.
    rng = np.random.default_rng(3)
    series = 0.3 * noise(4000, 1)
    marks = np.arange(100, 3900, 100) + rng.integers(0, 30, 38)
    series[marks] += rng.choice([-6.0, 6.0], marks.size)
    series[marks + 8] += 10.0
    unannounced = int(marks[-2]) + 50
    series[unannounced] += 10.0
    told = states(series)
    assert told[unannounced] > 1.5 * told[marks[20:] + 8].max()


def test_a_wrong_shape_of_the_right_size_is_unlike_all_that_was() -> None:
    rows = np.arange(4000)
    series = np.sin(rows / 8) + 0.5 * np.sin(rows / 4) + 0.02 * noise(4000)
    wrong = slice(3500, 3550)
    series[wrong] = np.sin(rows[wrong] / 8) - 0.5 * np.sin(rows[wrong] / 4)
    told = states(series)
    assert told[3500:3600].max() > 3 * told[2500:3500].max()


@pytest.mark.parametrize("sparing", [False, True])
def test_a_level_that_moves_is_told_with_and_without_what_takes_memory(sparing: bool) -> None:
    series = noise(1500)
    series[1200:] += 8.0
    told = states(series, sparing=sparing)
    assert told[1205:1260].mean() > 2 * told[800:1200].mean()


def test_what_is_missing_changes_nothing() -> None:
    head = StateHead(1, 0, 1)
    for value in noise(300):
        head.follow(np.full(1, value), ONE, ONE.astype(float), [np.zeros(1)])
        head.learn(np.full(1, value), np.zeros((1, 0), np.float32), ONE, ONE)
    usual = capture(head)["usual"]["usual"]
    for _ in range(50):
        head.follow(np.full(1, 1e6), ~ONE, ONE.astype(float), [np.zeros(1)])
        head.learn(np.full(1, 1e6), np.zeros((1, 0), np.float32), ~ONE, ~ONE)
    np.testing.assert_array_equal(capture(head)["usual"]["usual"], usual)
    assert np.isfinite(head.state).all()
