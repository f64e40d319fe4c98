from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from tests.support.thresholds import THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.detection.verdict import Verdict
    from agent.models.bundle import Bundle

ALERTS = AlertsConfig(learning_s=0)


@pytest.fixture
def make(default_bundle: Bundle) -> Callable[..., Ensemble]:
    def make_one(*channels: Channel, alerts: AlertsConfig = ALERTS, **detection: Any) -> Ensemble:
        settings = DetectionConfig(**{"block_s": 1.0, **detection})
        return Ensemble(channels or (Channel("a"),), default_bundle, settings, alerts, 1.0)

    return make_one


def run(monitor: Ensemble, rows: Any, start: int = 0) -> list[Verdict]:
    return [
        monitor.step(Frame(start + i, 0, float(start + i), np.atleast_1d(np.asarray(row, np.float32))))
        for i, row in enumerate(rows)
    ]


def noise(rows: int, channels: int = 1, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(50, 1, (rows, channels)).astype(np.float32)


def test_learning_is_silent_and_shows_its_progress(make: Any) -> None:
    monitor = make(alerts=AlertsConfig(learning_s=150, provisional_s=300))
    rows = noise(320)
    rows[120] = 1e6
    verdicts = run(monitor, rows)
    assert not any(v.anomalous.any() for v in verdicts[:151])
    assert verdicts[74].progress()[0] == pytest.approx(0.5)
    assert verdicts[149].progress()[0] == 1.0
    assert verdicts[298].provisional()[0]
    assert not verdicts[300].provisional()[0]


def test_a_jump_is_anomalous_at_once_and_for_as_long_as_it_lasts(make: Any) -> None:
    monitor = make()
    rows = noise(400)
    rows[300:340] += 60
    verdicts = run(monitor, rows)
    before = [bool(v.anomalous[0]) for v in verdicts[100:300]]
    assert not any(a and b for a, b in itertools.pairwise(before))
    assert all(v.anomalous[0] for v in verdicts[300:340])
    assert not any(v.anomalous[0] for v in verdicts[345:])


def test_the_expectation_stays_what_would_be_normal_while_anomalous(make: Any) -> None:
    monitor = make()
    rows = noise(400)
    rows[300:340] += 60
    verdicts = run(monitor, rows)
    for verdict in verdicts[300:340]:
        expected, lower, upper = verdict.bounds()[:, 0]
        assert 40 < lower < expected < upper < 100
        assert verdict.value[0] > upper


def test_a_level_that_lasts_becomes_the_new_normal(make: Any) -> None:
    monitor = make(accept_after_s=60.0)
    rows = noise(600)
    rows[300:] += 60
    verdicts = run(monitor, rows)
    accepted = [i for i, v in enumerate(verdicts) if v.accepted[0]]
    assert accepted == [359]
    assert not any(v.anomalous[0] for v in verdicts[400:])
    assert verdicts[-1].bounds()[0, 0] == pytest.approx(110, abs=4)


def test_nothing_smaller_than_the_effect_is_anomalous(make: Any) -> None:
    rows = np.full((400, 2), 5.0, np.float32) + noise(400, 2) * 1e-3
    rows[300:320] += 4.0
    verdict = run(make(Channel("a"), Channel("b", effect=10.0)), rows)[305]
    assert verdict.anomalous.tolist() == [True, False]


def test_a_missing_reading_is_no_anomaly_and_harms_no_other_channel(make: Any) -> None:
    rows = noise(500, 3)
    holed = rows.copy()
    holed[200:260, 1] = np.nan
    holed[300, 1] = np.inf
    holed[310, 1] = 3e38
    whole, missing = run(make(*map(Channel, "abc")), rows), run(make(*map(Channel, "abc")), holed)
    for i, (a, b) in enumerate(zip(whole, missing, strict=True)):
        assert np.array_equal(a.strength[[0, 2]], b.strength[[0, 2]]), i
        assert np.array_equal(a.bounds()[:, [0, 2]], b.bounds()[:, [0, 2]], equal_nan=True)
    assert not any(v.anomalous[1] for v in [*missing[200:260], missing[300], missing[310]])
    assert all(np.isfinite(v.score()).all() for v in missing)


def test_invalid_readings_are_counted(make: Any) -> None:
    monitor = make()
    run(monitor, [1.0, np.nan, np.inf, -np.inf, 3e38])
    assert monitor.invalid == 3


def test_a_channel_that_is_always_missing_never_disturbs(make: Any) -> None:
    rows = noise(300, 2)
    rows[:, 1] = np.nan
    verdicts = run(make(*map(Channel, "ab")), rows)
    assert all(v.strength[1] == 0 and v.progress()[1] == 0 for v in verdicts)
    assert all(np.isfinite(v.state_score) for v in verdicts)


def test_what_follows_never_changes_a_verdict(make: Any) -> None:
    rows = noise(500, 2, seed=3)
    rows[400:] += 100
    long, short = run(make(*map(Channel, "ab")), rows), run(make(*map(Channel, "ab")), rows[:350])
    for a, b in zip(long, short, strict=False):
        assert np.array_equal(a.strength, b.strength)
        assert np.array_equal(a.bounds(), b.bounds(), equal_nan=True)
        assert a.state_score == b.state_score


def test_a_recurring_burst_becomes_usual(default_bundle: Bundle) -> None:
    rows = noise(3000)
    rows[200::50] += 30
    alerts = msgspec.structs.replace(ALERTS, learning_s=6000)
    verdicts = run(Ensemble((Channel("a"),), default_bundle, DetectionConfig(), alerts, 60.0), rows)
    early = sum(v.anomalous[0] for v in verdicts[200:500])
    late = sum(v.anomalous[0] for v in verdicts[2000:])
    assert early >= 2
    assert late == 0


def test_what_is_strange_for_seconds_is_usual_after_three_times(default_bundle: Bundle) -> None:
    rows = noise(6 * 3600)
    for start in range(1200, len(rows), 600):
        rows[start : start + 30] += 30
    verdicts = run(Ensemble((Channel("a"),), default_bundle, DetectionConfig(), ALERTS, 1.0), rows)
    found = [any(v.anomalous[0] for v in verdicts[start : start + 30]) for start in range(1200, len(rows), 600)]
    assert all(found[:3])
    assert not any(found[4:])


def test_a_small_alarm_does_not_hide_a_large_one_after_it(make: Any) -> None:
    rows = noise(400)
    rows[300] += 4
    rows[320:340] += 60
    verdicts = run(make(), rows)
    assert 1.0 <= verdicts[300].strength[0] < verdicts[320].strength[0]
    assert all(v.anomalous[0] for v in verdicts[320:340])


def test_a_broken_pattern_is_seen_by_the_state_score(make: Any) -> None:
    rows = noise(1200) * 0.1 + 10 * np.sin(np.arange(1200) / 4)[:, None]
    rows[1000:1060] = np.random.default_rng(5).permutation(rows[1000:1060])
    verdicts = run(make(), rows)
    before = np.mean([v.state_score for v in verdicts[700:1000]])
    during = np.mean([v.state_score for v in verdicts[1000:1060]])
    assert during > 2 * before


def test_what_relearns_is_like_new_and_keeps_its_counts(make: Any) -> None:
    monitor, fresh = make(), make()
    run(monitor, np.concatenate((noise(300), [[np.inf]])))
    monitor.relearn(np.array([True]))
    assert monitor.invalid == 1
    rows = noise(300, seed=4)
    for old, new in zip(run(monitor, rows), run(fresh, rows), strict=True):
        assert np.array_equal(old.strength, new.strength)
        assert np.array_equal(old.bounds(), new.bounds(), equal_nan=True)
        assert np.array_equal(old.progress(), new.progress())


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: type(threshold).__name__)
def test_one_channel_relearns_and_the_others_do_not_notice(make: Any, threshold: Any) -> None:
    channels = Channel("a"), Channel("b", effect=2.0, log_reference=5.0), Channel("c", effect=1.0)
    # Whole cycles of the coarsest scale, so that the fresh one's blocks end where the other's do.
    before, after = noise(960, 3), noise(700, 3, seed=4)
    after[500:520] += 60
    # Relations between channels are tested in test_cross_channel.
    by_itself = {"threshold": threshold, "relations": False}
    # Three channels share three times the budget, so that an alarm of each is as rare as one alone: once an hour.
    three, one = (AlertsConfig(learning_s=0, budget_per_day=budget) for budget in (72.0, 24.0))
    monitor, untouched = make(*channels, alerts=three, **by_itself), make(*channels, alerts=three, **by_itself)
    fresh = make(channels[1], alerts=one, **by_itself)
    run(monitor, before)
    run(untouched, before)
    monitor.relearn(np.array([False, True, False]))
    found, same = run(monitor, after, 960), run(untouched, after, 960)
    new = run(fresh, after[:, 1:2], 960)
    assert any(verdict.anomalous[1] for verdict in found)
    for verdict, unchanged, alone in zip(found, same, new, strict=True):
        for name in ("strength", "peak", "anomalous", "accepted", "state"):
            np.testing.assert_array_equal(getattr(verdict, name)[[0, 2]], getattr(unchanged, name)[[0, 2]], name)
            np.testing.assert_allclose(getattr(verdict, name)[1], getattr(alone, name)[0], 1e-4, 1e-4, err_msg=name)
        np.testing.assert_allclose(verdict.bounds()[:, 1], alone.bounds()[:, 0], 1e-4)
        assert verdict.progress()[1] == alone.progress()[0]


@pytest.mark.parametrize("extreme", [1e-30, 1e29, -1e29])
def test_extreme_but_valid_readings_never_make_anything_but_numbers(make: Any, extreme: float) -> None:
    rows = noise(300)
    rows[::7] = extreme
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        verdicts = run(make(), rows)
    assert all(np.isfinite(v.strength).all() for v in verdicts)
