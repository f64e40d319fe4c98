"""Promises of every threshold method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.detection.settings import (
    DspotThreshold,
    LikelihoodThreshold,
    PercentileThreshold,
    RangeThreshold,
    SpotThreshold,
)
from agent.detection.thresholds.registry import make_threshold
from tests.support.thresholds import DEFAULT_THRESHOLDS

if TYPE_CHECKING:
    from agent.detection.settings import ThresholdConfig
    from agent.detection.thresholds.base import Threshold


@pytest.fixture(params=DEFAULT_THRESHOLDS, ids=lambda config: type(config).__name__)
def make(request: pytest.FixtureRequest) -> Any:
    def make_one(lanes: int = 1, effect: float = 0.0, memory: float = 1e5) -> Threshold:
        return make_threshold(request.param, np.full(lanes, effect), memory)

    return make_one


def feed(threshold: Threshold, rows: Any, which: Any = None) -> None:
    for row in map(np.atleast_1d, rows):
        threshold.learn(row, np.isfinite(row) if which is None else which)


def test_limits_lie_on_both_sides_of_nothing(make: Any) -> None:
    threshold = make(2)
    for row in np.random.default_rng(0).normal(3, 1, (500, 2)):
        lower, upper = threshold.limits()
        assert (lower < 0).all()
        assert (upper > 0).all()
        threshold.learn(row, np.array([True, True]))


def test_limits_are_known_before_an_error_is_learned_and_asking_changes_nothing(make: Any) -> None:
    asked, silent = make(2), make(2)
    for row in np.random.default_rng(10).normal(0, 1, (300, 2)):
        before = asked.limits()
        asked.strength(row)
        asked.strength(np.full(2, np.nan))
        for limit, again in zip(before, asked.limits(), strict=True):
            np.testing.assert_array_equal(limit, again)
        asked.learn(row, np.array([True, False]))
        silent.learn(row, np.array([True, False]))
    for limit, other in zip(asked.limits(), silent.limits(), strict=True):
        np.testing.assert_array_equal(limit, other)
    assert np.isfinite(asked.strength(np.array([1e29, -1e29]))[0])


def test_normal_errors_rarely_pass_and_large_ones_always_do(make: Any) -> None:
    threshold = make()
    rng = np.random.default_rng(1)
    feed(threshold, rng.normal(0, 1, 3000))
    lower, upper = threshold.limits()
    fresh = rng.normal(0, 1, 3000)
    assert ((fresh > upper[0]) | (fresh < lower[0])).mean() < 0.005
    assert upper[0] < 12
    assert lower[0] > -12


def test_nothing_below_the_effect_counts(make: Any) -> None:
    threshold = make(effect=10.0)
    feed(threshold, np.random.default_rng(2).normal(0, 0.01, 1000))
    assert threshold.limits()[1][0] >= 5.0
    assert threshold.limits()[0][0] <= -5.0


def test_lanes_do_not_touch_each_other(make: Any) -> None:
    rows = np.random.default_rng(3).normal(0, 1, (400, 3))
    together, alone = make(3), make(1)
    feed(together, rows)
    feed(alone, rows[:, 1])
    assert together.limits()[1][1] == alone.limits()[1][0]


def test_a_lane_that_is_not_chosen_stays_as_it_was_and_may_hold_nan(make: Any) -> None:
    threshold = make(2)
    feed(threshold, np.random.default_rng(4).normal(0, 1, (200, 2)))
    before = [limit.copy() for limit in threshold.limits()]
    feed(threshold, [[np.nan, np.nan], [50.0, np.nan]], np.array([False, False]))
    assert all(np.array_equal(a, b) for a, b in zip(before, threshold.limits(), strict=True))
    assert threshold.count.tolist() == [200, 200]


# The others are symmetric by nature.
@pytest.mark.parametrize("config", [RangeThreshold(), PercentileThreshold(), SpotThreshold(), DspotThreshold()])
def test_skewed_errors_get_their_own_limit_on_each_side(config: ThresholdConfig) -> None:
    threshold = make_threshold(config, np.zeros(1), 1e5)
    feed(threshold, np.random.default_rng(5).exponential(1.0, 4000) - 0.1)
    lower, upper = threshold.limits()
    assert upper[0] > 3 * -lower[0]


def test_a_jump_in_scale_is_learned_within_the_memory(make: Any) -> None:
    threshold = make(memory=500.0)
    rng = np.random.default_rng(6)
    feed(threshold, rng.normal(0, 1, 2000))
    small = threshold.limits()[1][0]
    feed(threshold, rng.normal(0, 5, 5000))
    large = threshold.limits()[1][0]
    assert large > 2.5 * small
    feed(threshold, rng.normal(0, 1, 8000))
    assert threshold.limits()[1][0] < 0.6 * large


@pytest.mark.parametrize("config", [SpotThreshold(risk=1e-3), DspotThreshold(risk=1e-3)])
@pytest.mark.parametrize("draw", ["normal", "exponential", "laplace"])
def test_peaks_over_threshold_are_passed_with_the_risk_asked_for(config: ThresholdConfig, draw: str) -> None:
    threshold = make_threshold(config, np.zeros(40), 1e5)
    rng = np.random.default_rng(7)
    rows = getattr(rng, draw)(size=(8000, 40))
    passed = 0
    for row in rows:
        _, upper = threshold.limits()
        passed += int(np.count_nonzero((row > upper) & (threshold.count > 2000)))
        threshold.learn(row, np.ones(40, bool))
    assert 0.4e-3 < passed / (6000 * 40) < 2e-3


def test_peaks_that_lie_all_on_one_value_or_none_at_all_leave_finite_limits() -> None:
    threshold = make_threshold(SpotThreshold(), np.array([0.0, 0.5]), 1e4)
    for row in range(2000):
        threshold.learn(np.array([float(row % 50 == 0), 0.0]), np.array([True, True]))
    lower, upper = threshold.limits()
    assert np.isfinite(lower).all()
    assert np.isfinite(upper).all()
    assert upper[1] == 0.5


def test_drifting_errors_keep_their_limits_around_them() -> None:
    spot, dspot = (make_threshold(config, np.zeros(1), 1e5) for config in (SpotThreshold(), DspotThreshold()))
    drift = np.random.default_rng(8).normal(0, 1, 6000) + np.arange(6000) / 300
    feed(spot, drift)
    feed(dspot, drift)
    assert 20 < dspot.limits()[1][0] < 28
    assert dspot.limits()[0][0] <= 0
    assert not 20 < spot.limits()[1][0] < 28


def test_an_elevated_mean_lowers_what_the_likelihood_allows() -> None:
    threshold = make_threshold(LikelihoodThreshold(), np.zeros(1), 1e5)
    feed(threshold, np.random.default_rng(9).normal(0, 1, 3000))
    before = threshold.limits()[1][0]
    feed(threshold, [2.5, 2.5, 2.5])
    assert threshold.limits()[1][0] < before - 3
