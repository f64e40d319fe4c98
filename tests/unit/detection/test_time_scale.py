"""Parts of the two heads: block means, seasons, relative errors, the linear forecast, and strength."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.frame import Frame
from agent.core.persistent_state import capture
from agent.detection.ensemble import Ensemble
from agent.detection.linear_forecast import LAGS, LinearForecast
from agent.detection.relative_error import Level, RelativeError, node_state
from agent.detection.seasonality import Seasons
from agent.detection.settings import DetectionConfig
from agent.detection.thresholds.gaussian import MeanStd
from agent.detection.thresholds.range_novelty import RangeNovelty
from agent.detection.time_scale import ErrorKind, TimeScale
from agent.models.interpreter_pool import InterpreterPool

if TYPE_CHECKING:
    from agent.models.bundle import Bundle

ONE = np.array([True])


def stage(bundle: Bundle, n: int = 1, rows: int = 4) -> TimeScale:
    return TimeScale(InterpreterPool(bundle), np.zeros(n), scale=rows, block_s=float(rows), memory=300)


def block(value: float, *valid: bool) -> tuple[Any, Any]:
    present = np.array(valid, np.float64)
    return value * present, present


def test_a_block_is_the_mean_of_its_valid_readings(default_bundle: Bundle) -> None:
    four = stage(default_bundle, n=2)
    done = [four.push(*block(value, True, value < 3.0)) for value in (1.0, 2.0, 3.0, 6.0, 1.0, 1.0, 1.0, 1.0)]
    assert done == [False, False, False, True] * 2
    assert four.values.tolist() == [1.0, 1.0]
    first = stage(default_bundle, n=2)
    for value in (1.0, 2.0, 3.0, 6.0):
        first.push(*block(value, True, value < 3.0))
    assert first.values.tolist() == [3.0, 1.5]


def test_a_block_without_readings_says_nothing_and_keeps_the_value(default_bundle: Bundle) -> None:
    two = stage(default_bundle, rows=2)
    for value, valid in ((5.0, True), (7.0, True), (9.0, False), (9.0, False)):
        if two.push(*block(value, valid)):
            errors = two.errors()
            two.learn(np.array([True]))
    assert two.values[0] == 6.0
    assert np.isnan(errors).all()


def test_seasons_give_yesterday_and_last_week_once_they_are_known() -> None:
    seasons = Seasons(np.array([3]))
    zero, one = np.zeros(1), np.ones(1)
    known = []
    for row in range(30):
        seasons.push(np.array([float(row)]))
        day, _, day_known, week, week_known = seasons.features(zero, one, one)[0].tolist()
        known.append((day_known, week_known))
        if day_known:
            assert np.sinh(day) == pytest.approx(row + 1 - 3, rel=1e-5)
        if week_known:
            assert np.sinh(week) == pytest.approx(row + 1 - 21, rel=1e-5)
    assert known[2] == (0.0, 0.0)
    assert known[3] == (1.0, 0.0)
    assert known[20] == (1.0, 1.0)


def test_thinned_seasons_give_the_nearest_row_they_remember() -> None:
    seasons = Seasons(np.array([8]), thin=4)
    assert capture(seasons)[""]["values"].size == 7 * 2 + 1
    zero, one = np.zeros(1), np.ones(1)
    for row in range(100):
        seasons.push(np.array([float(row)]))
        day, _, day_known, week, week_known = seasons.features(zero, one, one)[0].tolist()
        if day_known:
            assert abs(np.sinh(day) - (row + 1 - 8)) <= 3.01
        if week_known:
            assert abs(np.sinh(week) - (row + 1 - 56)) <= 3.01
        assert bool(day_known) is (row >= 11)
        assert bool(week_known) is (row >= 55)
    assert (
        capture(Seasons(np.array([10]), thin=4))[""]["values"].size == 71
    )  # a day that no whole number of them makes up


def test_a_row_departs_from_both_yesterday_and_last_week_or_not_at_all() -> None:
    seasons, week = Seasons(np.array([2])), [0.0, 1.0] * 5 + [5.0, 1.0] * 2
    departures = []
    for value in [*week, 0.0, 1.0, 7.0]:
        departures.append(float(seasons.departure(np.array([value]))[0]))
        seasons.push(np.array([value]))
    assert np.isnan(departures[:3]).all()
    assert departures[3:10] == [0.0] * 7
    # Like last week but not like yesterday; then like neither, where the smaller distance counts.
    assert departures[14:] == [0.0, 0.0, 7.0]


def test_levels_count_from_the_first_and_days_are_compared_where_they_are_known(default_bundle: Bundle) -> None:
    watched = TimeScale(
        InterpreterPool(default_bundle),
        np.zeros(1),
        scale=1,
        block_s=3600.0,
        memory=300,
        kinds=(ErrorKind.FORECAST, ErrorKind.LEVEL, ErrorKind.SEASON),
    )
    found = []
    for row in range(30):
        watched.push(*block(100.0 + row, True))
        found.append(watched.errors()[1:, 0])
        watched.learn(ONE)
    levels, seasons = np.array(found).T
    assert levels.tolist() == list(range(30))
    assert np.isnan(seasons[:25]).all()  # a day and the row before it
    assert seasons[25:].tolist() == [24.0] * 5


def test_a_midday_that_does_not_come_is_seen_though_its_values_are_usual(default_bundle: Bundle) -> None:
    t = np.arange(12 * 288)
    values = 20.0 + 60.0 * ((t % 288) // 96 == 1) + np.random.default_rng(0).normal(0, 1, t.size)
    values[10 * 288 + 96 : 10 * 288 + 192] -= 60.0
    strength = alarms(default_bundle, values, interval_s=300.0)
    assert strength[3 * 288 : 10 * 288 + 96].max() < 1.0
    # Half an hour late is in time.
    assert strength[10 * 288 + 96 : 10 * 288 + 108].max() >= 1.0


def test_a_fault_that_comes_again_is_raised_again(default_bundle: Bundle) -> None:
    values = np.random.default_rng(0).normal(50.0, 1.0, 1300)
    onsets = [500, 700, 900, 1100]
    for onset in onsets:
        values[onset : onset + 6] += 20.0
    strength = alarms(default_bundle, values)
    assert [bool(strength[onset : onset + 6].max() >= 1.0) for onset in onsets[:3]] == [True] * 3


def test_a_day_of_no_rows_is_never_known() -> None:
    seasons = Seasons(np.array([0]))
    for row in range(10):
        seasons.push(np.array([float(row)]))
    assert not seasons.features(np.zeros(1), np.ones(1), np.ones(1)).any()


def test_one_huge_deviation_hardly_moves_the_usual_size() -> None:
    ratio = RelativeError(1, memory=1000.0)
    for _ in range(500):
        ratio.learn(np.ones(1), ONE, np.zeros(1))
    ratio.learn(np.array([1e9]), ONE, np.zeros(1))
    assert ratio.usual[0] < 1.02


def test_a_channel_that_hardly_ever_moves_is_measured_against_its_range() -> None:
    level = Level(1, memory=1000.0)
    for row in range(400):
        level.follow(np.array([100.0 if row == 50 else 0.0]), ONE)
    assert level.floor[0] == pytest.approx(0.2)
    assert level.follow(np.array([0.1]), ONE)[0] < 1.0


def test_a_little_of_everything_is_more_than_a_spike_in_one() -> None:
    spike, everywhere = np.ones(40), np.full(40, 3.0)
    spike[7] = 60.0
    assert node_state(everywhere) > node_state(spike)


def test_the_readout_learns_a_period_of_its_own() -> None:
    readout, t, nothing = LinearForecast(2, 0), np.arange(2000), np.zeros((2, 0), np.float32)
    series = np.stack((np.sin(t / 3.0) + 0.5 * np.sin(t / 7.0), np.cos(t / 11.0)), axis=1)
    errors = []
    for row in series:
        errors.append(np.abs(row - readout.forecast))
        readout.learn(row, nothing, np.ones(2, bool), np.ones(2, bool))
    assert np.isnan(errors[4 * LAGS - 1]).all()
    assert np.max(errors[-200:]) < 0.05


def test_a_readout_that_may_not_learn_still_follows_what_a_channel_does() -> None:
    readout, t, nothing = LinearForecast(1, 0), np.arange(1500), np.zeros((1, 0), np.float32)
    errors = []
    for row in np.sin(t / 5.0)[:, None]:
        errors.append(abs(row - readout.forecast)[0])
        readout.learn(row, nothing, ONE, ONE & (len(errors) < 1000))
    assert max(errors[1000:]) < 0.05


def test_a_constant_channel_gives_the_readout_nothing_to_fail_at() -> None:
    readout = LinearForecast(1, 0)
    for _ in range(1000):
        readout.learn(np.array([7.0]), np.zeros((1, 0), np.float32), ONE, ONE)
    assert readout.forecast[0] == pytest.approx(7.0)


def test_strength_is_one_at_the_limit_whatever_the_threshold() -> None:
    rng = np.random.default_rng(0)
    for threshold in (RangeNovelty(np.full(1, 0.5), 1e4, novelty=0.14), MeanStd(np.zeros(1), 1e4, k=3.0)):
        for error in rng.normal(0, 1, 400):
            threshold.learn(np.array([error]), ONE)
        lower, upper = threshold.limits()
        assert threshold.strength(upper)[0] == pytest.approx(1.0)
        assert threshold.strength(lower)[0] == pytest.approx(1.0)
        assert threshold.strength(3 * upper)[0] > 2.0
        assert threshold.strength(np.zeros(1))[0] == 0.0
        assert threshold.strength(np.array([np.nan]))[0] == 0.0


def scores(bundle: Bundle, rows: Any, interval_s: float = 60.0) -> tuple[Any, Any]:
    channels = [Channel(str(k)) for k in range(rows.shape[1])]
    monitor = Ensemble(channels, bundle, DetectionConfig(), AlertsConfig(learning_s=0), interval_s)
    verdicts = [monitor.step(Frame(i, 0, i * interval_s, row)) for i, row in enumerate(rows)]
    return np.array([v.strength for v in verdicts]), np.array([v.state for v in verdicts])


def alarms(bundle: Bundle, values: Any, interval_s: float = 60.0) -> Any:
    """Largest strength of the present excursion of one channel, by row."""
    monitor = Ensemble([Channel("a")], bundle, DetectionConfig(), AlertsConfig(learning_s=0), interval_s)
    rows = values.astype(np.float32)[:, None]
    return np.array([monitor.step(Frame(i, 0, i * interval_s, row)).peak[0] for i, row in enumerate(rows)])


def walk(rows: int, channels: int) -> Any:
    rng = np.random.default_rng(4)
    values = rng.normal(0, 1, (rows, channels)) + 5 * np.sin(np.arange(rows) / 20)[:, None]
    values[rows // 2 :, 0] += 30
    return values.astype(np.float32)


def test_a_channel_is_judged_alike_alone_and_among_others(default_bundle: Bundle) -> None:
    rows = walk(700, 3)
    together, alone = scores(default_bundle, rows), scores(default_bundle, rows[:, 1:2])
    for all_of_them, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(all_of_them[:, 1], one[:, 0], atol=1e-5)


@pytest.mark.parametrize("length", [130, 401, 512])
def test_what_follows_a_prefix_changes_nothing_in_it(default_bundle: Bundle, length: int) -> None:
    rows = walk(800, 2)
    whole, prefix = scores(default_bundle, rows), scores(default_bundle, rows[:length])
    for of_all, of_prefix in zip(whole, prefix, strict=True):
        np.testing.assert_array_equal(of_all[:length], of_prefix)


def test_at_one_hertz_single_readings_are_averaged_away_and_lasting_ones_are_not(default_bundle: Bundle) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(50, 1, (3000, 1)).astype(np.float32)
    rows[2000] += 12.0
    rows[2500:2560] += 12.0
    monitor = Ensemble([Channel("a", effect=5.0)], default_bundle, DetectionConfig(), AlertsConfig(), 1.0)
    anomalous = [bool(monitor.step(Frame(i, 0, float(i), row)).anomalous[0]) for i, row in enumerate(rows)]
    assert sum(anomalous[2000:2015]) <= 1
    assert sum(anomalous[2500:2560]) > 45
