"""Classification of anomalies, on shapes of at least three standard deviations in noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.alerting.classification import Classifier
from agent.core.channel import Channel
from agent.detection.flatline import FlatLine

SEEDS = 60


def noise(rng: np.random.Generator, rows: int, memory: float = 0.5) -> Any:
    """Autoregressive noise of unit standard deviation."""
    series = np.empty(rows)
    value = rng.normal()
    for row in range(rows):
        series[row] = value = memory * value + np.sqrt(1 - memory**2) * rng.normal()
    return series


def named(values: Any, since: int, interval_s: float = 1.0, channel: Channel | None = None) -> str:
    kinds = Classifier([Channel("other"), channel or Channel("a")], interval_s)
    for value in np.asarray(values, np.float32):
        kinds.push(np.array([0.0, value], np.float32))
    return kinds.name(1, since)


def planted(kind: str, rng: np.random.Generator, before: int, since: int) -> Any:
    values = noise(rng, before + since)
    part = values[before:]
    size = rng.uniform(4, 8)
    if kind == "spike":
        part[: max(3, since // 10)] += size
    elif kind == "drop":
        part[: max(3, since // 10)] -= size
    elif kind == "level_shift":
        part += rng.choice([-1, 1]) * size
    elif kind == "variance_change":
        part += rng.normal(0, 3, since)
    elif kind == "flat_line":
        part[:] = values[before - 1]
    else:
        part[:] = np.sin(np.arange(since) * 0.9)
    return values


@pytest.mark.parametrize(("interval_s", "before", "since"), [(1.0, 240, 60), (1.0, 1000, 60), (60.0, 52, 12)])
@pytest.mark.parametrize("kind", ["spike", "drop", "level_shift", "variance_change", "flat_line", "pattern_break"])
def test_a_minute_after_its_onset_an_anomaly_has_its_name(
    kind: str, interval_s: float, before: int, since: int
) -> None:
    rng = np.random.default_rng(1)
    names = [named(planted(kind, rng, before, since), since, interval_s) for _ in range(SEEDS)]
    # At twelve rows a course can hardly be told from a roughness.
    enough = 0.6 if since == 12 and kind in {"pattern_break", "variance_change"} else 0.9
    assert names.count(kind) >= enough * SEEDS, {name: names.count(name) for name in set(names)}


def test_at_the_onset_a_shift_is_a_spike_and_upwards_is_not_downwards() -> None:
    values = noise(np.random.default_rng(0), 305)
    values[300:] += 9
    assert named(values, 5) == "spike"
    values[300:] -= 18
    assert named(values, 5) == "drop"


def test_noise_so_large_that_half_a_minute_of_it_lies_on_one_side_is_no_shift() -> None:
    rng = np.random.default_rng(2)
    for _ in range(SEEDS):
        values = noise(rng, 360)
        values[300:] += rng.normal(4, 12, 60)
        assert named(values, 60) == "variance_change"


def test_with_too_little_to_compare_it_says_nothing() -> None:
    assert not named([1.0, 2.0, 9.0], 1)
    assert not named([np.nan] * 50 + [9.0] * 5, 5)
    assert not named([1.0] * 50 + [np.nan] * 5, 5)


def test_missing_and_absurd_readings_are_left_out() -> None:
    values = noise(np.random.default_rng(2), 300)
    values[240:] += 8
    values[::3] = np.nan
    values[::7] = np.inf
    values[::11] = 1e35
    assert named(values, 60) in {"level_shift", "spike"}


def test_a_difference_below_the_smallest_effect_is_no_excursion() -> None:
    values = noise(np.random.default_rng(3), 300)
    values[240:] += 5
    assert named(values, 60) == "level_shift"
    assert named(values, 60, channel=Channel("a", effect=30.0)) != "level_shift"


def test_a_rate_is_judged_on_its_logarithmic_scale() -> None:
    values = 1e5 * np.exp(noise(np.random.default_rng(4), 300))
    values[240:] *= np.exp(6)
    assert named(values, 60, channel=Channel("rate", log_reference=1e4, effect=2.0)) == "level_shift"


def test_a_channel_stuck_beyond_all_before_has_shifted() -> None:
    values = noise(np.random.default_rng(5), 300)
    values[240:] = 30.0
    assert named(values, 60) == "level_shift"


def test_a_flat_line_that_began_before_it_was_noticed_is_still_one() -> None:
    values = noise(np.random.default_rng(6), 300)
    values[200:] = values[199]
    assert named(values, 3) == "flat_line"


class TestFlatLine:
    """The rule for stuck channels."""

    @staticmethod
    def strengths(values: Any, interval_s: float = 1.0, floor: float = 0.0, missing: Any = None) -> Any:
        rule = FlatLine(1, interval_s, floor)
        valid = np.ones(len(values), bool) if missing is None else ~missing
        return np.array(
            [rule.step(np.array([value]), np.array([ok]))[0] for value, ok in zip(values, valid, strict=True)]
        )

    def test_a_lively_channel_that_is_stuck_is_found_after_a_minute(self) -> None:
        values = noise(np.random.default_rng(0), 2000)
        values[1500:] = values[1500]
        strength = self.strengths(values)
        assert strength[:1558].max() < 1.0
        assert 1555 <= int(np.argmax(strength >= 1.0)) <= 1562
        assert strength[-1] > 5

    @pytest.mark.parametrize("interval_s", [1.0, 300.0])
    def test_a_constant_channel_never_alarms(self, interval_s: float) -> None:
        values = np.full(20_000, 7.0)
        assert self.strengths(values, interval_s).max() < 1.0
        values[::500] = 8.0
        assert self.strengths(values, interval_s).max() < 1.0

    def test_a_channel_that_changes_seldom_never_alarms(self) -> None:
        rng = np.random.default_rng(1)
        values = np.cumsum(rng.random(20_000) < 0.1).astype(float)
        assert self.strengths(values).max() < 1.0

    def test_runs_that_it_is_used_to_are_no_alarm_and_are_forgotten_slowly(self) -> None:
        values = noise(np.random.default_rng(2), 40_000)
        for start in range(1000, 40_000, 1000):
            values[start : start + 100] = values[start]
        strength = self.strengths(values)
        assert strength[:1100].max() >= 1.0
        assert strength[1100:].max() < 1.0

    def test_missing_readings_are_neither_a_run_nor_its_end(self) -> None:
        values = noise(np.random.default_rng(3), 1200)
        missing = np.zeros(1200, bool)
        missing[1000:] = True
        assert self.strengths(values, missing=missing).max() < 1.0
        stuck = values.copy()
        stuck[1000:] = stuck[1000]
        gaps = np.zeros(1200, bool)
        gaps[1001::2] = True
        assert self.strengths(stuck, missing=gaps)[-1] >= 1.0

    def test_an_accepted_run_is_stuck_no_longer_until_the_value_changes(self) -> None:
        rule, present = FlatLine(1, 1.0, 0.0), np.array([True])
        lively = noise(np.random.default_rng(7), 2000)

        def strongest(values: Any) -> float:
            return max(float(rule.step(np.array([value]), present)[0]) for value in values)

        strongest(lively)
        assert strongest([3.0] * 600) >= 1.0
        rule.accept(present)
        assert strongest([3.0] * 200_000) < 1.0
        assert strongest(lively) < 1.0
        assert strongest([4.0] * 1000) < 1.0  # shorter than a run that was accepted

    def test_changes_up_to_the_floor_are_none(self) -> None:
        values = np.random.default_rng(4).uniform(0, 0.1, 3000)
        assert self.strengths(values, floor=0.2).max() < 1.0
        values[:2000] += 5.0 * np.random.default_rng(5).random(2000)
        assert self.strengths(values, floor=0.2)[-1] >= 1.0

    def test_at_a_slow_pace_a_run_must_be_no_chance(self) -> None:
        rng = np.random.default_rng(6)
        values = noise(rng, 300)
        values[200:] = values[200]
        assert int(np.argmax(self.strengths(values, 300.0) >= 1.0)) == 211
        # With a probability of 1/2 to stay constant, twenty times in a row have a probability of 1e-6.
        values = np.cumsum(rng.random(3000) < 0.5).astype(float)
        values[200:] = values[200]
        assert int(np.argmax(self.strengths(values, 300.0) >= 1.0)) >= 217
