from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.core.channel import Channel
from tools.benchmark.accuracy.alert_baselines import (
    BASELINES,
    RULES,
    anomaly_rate,
    at_most,
    at_threshold,
    incidents_from,
    robust_z,
    static_rules,
    two_means,
)
from tools.benchmark.accuracy.alert_score import Event
from tools.benchmark.accuracy.alert_sets import Node
from training.data.recording import Recording
from training.synthetic.host import CHANNELS, HostSpec, simulate_host

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array

DAY_ROWS = 1440


def recording(values: Any, *names: str, interval_s: float = 60.0) -> Recording:
    values = np.asarray(values, np.float32).reshape(len(values), -1)
    channels = tuple(Channel(name) for name in names or map(str, range(values.shape[1])))
    return Recording("r", channels, interval_s, interval_s * np.arange(len(values), dtype=float), values)


def noise(rows: int, channels: int = 1) -> Float32Array:
    return np.random.default_rng(0).normal(size=(rows, channels)).astype(np.float32)


@pytest.mark.parametrize("name", BASELINES)
def test_no_baseline_uses_later_rows(name: str) -> None:
    host = simulate_host(HostSpec(seed=1, days=2, faults=(("outage", 86400.0),)))
    whole = Recording("h", CHANNELS, 60.0, host.time, host.values)
    for rows in (1500, 2000):
        part = Recording("h", CHANNELS, 60.0, host.time[:rows], host.values[:rows])
        early, late = BASELINES[name](part), BASELINES[name](whole)
        assert early is not None
        assert late is not None
        assert early.dtype == np.float32
        assert early == pytest.approx(late[:rows], abs=1e-5)


class TestRobustZ:
    def test_the_score_is_the_distance_from_the_median_in_robust_deviations(self) -> None:
        values = np.tile([-1.0, 0.0, 1.0], 1000)
        values[2000] = 14.826
        score = robust_z(recording(values))
        assert score[2000] == pytest.approx(10.0)
        assert not score[:60].any()
        assert np.delete(score, 2000).max() == pytest.approx(1 / 1.4826)

    def test_the_largest_channel_counts(self) -> None:
        values = np.column_stack([np.tile([-1.0, 0.0, 1.0], 300)] * 3)
        values[500] = [0.0, 2.9652, -4.4478]
        assert robust_z(recording(values))[500] == pytest.approx(3.0)

    def test_a_level_is_usual_a_day_later(self) -> None:
        values = noise(4 * DAY_ROWS)
        values[2 * DAY_ROWS :] += 20
        score = robust_z(recording(values))
        assert score[2 * DAY_ROWS] > 10
        assert np.median(score[-100:]) < 2

    def test_a_missing_reading_counts_as_the_last_one(self) -> None:
        values = np.tile([-1.0, 0.0, 1.0], 300)
        values[400:405] = np.nan
        assert np.isfinite(robust_z(recording(values))).all()
        assert robust_z(recording(values)).max() < 1

    def test_a_channel_that_rarely_moves_has_the_scale_of_its_moves(self) -> None:
        values = np.zeros(3 * DAY_ROWS)
        values[::200] = 1.0
        score = robust_z(recording(values))
        assert score[DAY_ROWS:].max() == pytest.approx(1 / np.sqrt(0.005 * 0.995), rel=0.05)


class TestAnomalyRate:
    def test_two_means_finds_two_clusters_in_each_channel(self) -> None:
        low = 0.1 * noise(100, 2).reshape(100, 2, 1)
        points = np.concatenate((low, low[:50] + np.array([[[10.0], [20.0]]], np.float32)))
        centres = np.sort(two_means(points)[:, :, 0], axis=0)
        assert centres[0] == pytest.approx(low.mean(axis=0)[:, 0], abs=1e-3)
        assert centres[1] == pytest.approx(low[:50].mean(axis=0)[:, 0] + [10, 20], abs=1e-3)

    def test_one_point_only_gives_two_equal_centres(self) -> None:
        assert (two_means(np.full((10, 3, 5), 2.0, np.float32)) == 2.0).all()

    def test_the_rate_is_the_share_of_anomalous_channels_over_five_rows(self) -> None:
        values = np.tile(np.array([0.0, 1.0, 3.0, 1.0], np.float32)[:, None], (400, 4))
        values[1200:1203, 1] = 500.0
        rate = anomaly_rate(recording(values))
        assert not rate[:1200].any()
        # One channel of four is anomalous from the jump until the lags of its end have passed.
        assert rate[1200:1206] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.25])
        assert rate[1208] == pytest.approx(0.25)
        assert not rate[1216:].any()

    def test_nothing_is_anomalous_before_the_first_model(self) -> None:
        values = noise(1000)
        values[800] = 100.0
        assert not anomaly_rate(recording(values))[:900].any()

    def test_all_models_must_agree(self) -> None:
        values = noise(5000)
        values[1000:1400] += 50 * noise(400)  # seen by the models of the next window only
        values[3000:3100] += 50 * noise(100)
        rate = anomaly_rate(recording(values))
        assert rate[1000:1100].mean() > 0.5
        assert rate[3000:3100].mean() < 0.1

    def test_noise_alone_is_anomalous_in_less_than_one_row_of_a_hundred(self) -> None:
        assert 0.0 < anomaly_rate(recording(noise(6000, 4)))[1800:].mean() < 0.01

    def test_a_second_by_second_recording_has_windows_of_six_hours(self) -> None:
        values = noise(3000)
        values[2000:2100] += 100 * noise(100)
        rate = anomaly_rate(recording(values, interval_s=1.0))
        assert rate[2099] == pytest.approx(100 / 300, abs=0.06)


class TestStaticRules:
    def test_a_rule_holds_when_its_limit_was_passed_for_five_minutes(self) -> None:
        values = np.full(60, 50.0)
        values[20:30], values[40:44] = 99.0, 99.0
        score = static_rules(recording(values, "cpu.percent"))
        assert score is not None
        assert np.flatnonzero(score >= 1).tolist() == list(range(24, 30))
        assert score[24] == pytest.approx(1.1)
        assert not score[:4].any()

    def test_a_latency_is_judged_by_the_median_of_the_first_day(self) -> None:
        values = np.full(2 * DAY_ROWS, 10.0)
        values[1000:1010] = 100.0  # the first day is not judged
        values[2000:2010], values[2500:2510] = 29.0, 45.0
        score = static_rules(recording(values, "latency.gateway"))
        assert score is not None
        assert np.flatnonzero(score >= 1).tolist() == list(range(2504, 2510))
        assert score[2504] == pytest.approx(1.5)

    def test_silence_of_five_minutes_is_twice_the_limit(self) -> None:
        requests = np.full(2 * DAY_ROWS, 4.0)
        requests[100:110] = 0.0
        answers = np.full(2 * DAY_ROWS, 4.0)
        answers[200:210], answers[300:303] = np.nan, np.nan
        score = static_rules(recording(np.column_stack((requests, answers)), "app.requests", "app.latency"))
        assert score is not None
        assert np.flatnonzero(score >= 1).tolist() == [*range(104, 110), *range(204, 210)]
        assert score.max() == 2.0

    def test_rules_apply_to_channels_they_know(self) -> None:
        assert static_rules(recording(np.zeros(10), "value")) is None
        assert set(RULES) <= {channel.name for channel in CHANNELS}


class TestThreshold:
    TIME = 60.0 * np.arange(200.0)

    def node(self, *events: Event, begin: float = 0.0) -> Node:
        return Node(recording(np.zeros(200)), events, begin)

    def test_runs_of_less_than_ten_minutes_apart_are_one_incident(self) -> None:
        flags = np.zeros(200, bool)
        flags[[10, 11, 20, 30, 50]] = True
        found = [(each.opened, each.closed) for each in incidents_from(flags, self.TIME)]
        assert found == [(600.0, 1200.0 + 600.0), (1800.0, 2400.0), (3000.0, 3600.0)]
        assert incidents_from(flags, self.TIME)[0].tellings == ((600.0, ""),)
        assert incidents_from(np.zeros(200, bool), self.TIME) == []

    def test_rows_that_reach_the_threshold_are_flagged(self) -> None:
        score = np.zeros(200, np.float32)
        score[[50, 100]] = 1.0, 0.9
        node = self.node(Event(3000.0, 3600.0))
        assert (at_threshold([node], [score], 1.0).events_told, at_threshold([node], [score], 1.0).false) == (1, 0)
        assert at_threshold([node], [score], 0.9).false == 1

    def test_the_threshold_sends_as_many_false_alerts_as_allowed(self) -> None:
        score = np.zeros(200, np.float32)
        score[[20, 60, 100, 140, 180]] = 0.9, 0.8, 0.7, 0.6, 0.5
        node = self.node(Event(6000.0, 6060.0), Event(10_800.0, 10_860.0))  # rows 100 and 180
        for allowed, told, false in ((0, 0, 0), (1, 0, 1), (2, 1, 2), (3, 2, 3), (9, 2, 3)):
            found = at_most([node], [score], allowed)
            assert (found.events_told, found.false) == (told, false)

    def test_flagging_nearly_all_rows_is_no_way_around_false_alerts(self) -> None:
        score = np.full(200, 0.1, np.float32)
        score[100] = 1.0
        found = at_most([self.node(Event(6000.0, 6060.0))], [score], 0)
        assert (found.events_told, found.false, found.delays_s) == (1, 0, [0.0])

    def test_scores_of_zero_are_never_flagged(self) -> None:
        found = at_most([self.node(Event(6000.0, 6060.0))], [np.zeros(200, np.float32)], 5)
        assert (found.events_told, found.open_shares) == (0, [0.0])

    def test_nodes_share_a_threshold_and_a_count(self) -> None:
        one, other = np.zeros(200, np.float32), np.zeros(200, np.float32)
        one[20], other[20], one[100] = 0.9, 0.8, 0.7
        nodes = [self.node(Event(6000.0, 6060.0)), self.node()]
        assert at_most(nodes, [one, other], 1).events_told == 0
        assert at_most(nodes, [one, other], 2).events_told == 1

    def test_rows_before_the_scored_part_are_free(self) -> None:
        score = np.zeros(200, np.float32)
        score[20], score[100] = 0.9, 0.5
        found = at_most([self.node(Event(6000.0, 6060.0), begin=3000.0)], [score], 0)
        assert (found.events_told, found.false) == (1, 0)
