"""Thousands of channels in groups: each gets the same verdict as alone, and work is spread over ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.frame import Frame
from agent.detection import ensemble, partitioned
from agent.detection.ensemble import Ensemble
from agent.detection.partitioned import PartitionedDetector
from agent.detection.settings import DetectionConfig
from agent.detection.universal import UniversalDetector
from agent.models.interpreter_pool import InterpreterPool
from tests.support.restart import carry_over

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array
    from agent.detection.verdict import Verdict
    from agent.models.bundle import Bundle

DETECTION, ALERTS = DetectionConfig(block_s=3.0), AlertsConfig(learning_s=60, confirm_s=3, budget_per_day=24.0)
ROWS = 420


def channels(n: int) -> list[Channel]:
    return [Channel(f"c{i}", "%", effect=1.0, log_reference=5.0 * (i % 3 == 2), minimum=0.0) for i in range(n)]


def rows(n: int) -> Float32Array:
    rng = np.random.default_rng(5)
    values = 50.0 + np.cumsum(rng.normal(0, 0.3, (ROWS, n)), axis=0) + rng.normal(0, 1, (ROWS, n))
    values[300:340, 1] += 60.0
    values[310:, n - 2] = values[310, n - 2]
    values[rng.random(values.shape) < 0.02] = np.nan
    return values.astype(np.float32)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioned, "LANES", 3)
    monkeypatch.setattr(ensemble, "LANES", 3)


def judged(watch: Any, values: Float32Array) -> list[Verdict]:
    return [watch.step(Frame(i, 0, float(i), row)) for i, row in enumerate(values)]


def test_a_channel_in_a_group_is_judged_as_in_a_watch_of_its_own(default_bundle: Bundle, small_groups: None) -> None:
    n = 8
    names, values = channels(n), rows(n)
    together = judged(PartitionedDetector(names, InterpreterPool(default_bundle), DETECTION, ALERTS, 1.0), values)
    assert any(verdict.anomalous[1] for verdict in together)
    # Three groups; a cycle of four blocks of three rows, spread over them.
    for place, phase in ((slice(0, 3), 0), (slice(3, 6), 4), (slice(6, 8), 8)):
        # The alert budget is that of all eight.
        alone = UniversalDetector(
            names[place], InterpreterPool(default_bundle), DETECTION, ALERTS, 1.0, phase=phase, sparing=True, among=n
        )
        for whole, part in zip(together, judged(alone, values[:, place]), strict=True):
            for name in ("strength", "peak", "anomalous", "accepted", "state"):
                np.testing.assert_array_equal(getattr(whole, name)[place], getattr(part, name), name)
            np.testing.assert_array_equal(whole.period_s[place], part.period_s)
            np.testing.assert_array_equal(whole.evidence()[:, place], part.evidence())
            np.testing.assert_array_equal(whole.errors[:, place], part.errors)
            np.testing.assert_array_equal(whole.bounds()[:, place], part.bounds())
            np.testing.assert_array_equal(whole.progress()[place], part.progress())
            assert {
                c - place.start: k for c, k in whole.courses.items() if place.start <= c < place.stop
            } == part.courses


def test_the_groups_are_at_work_in_turn(default_bundle: Bundle, small_groups: None, monkeypatch: Any) -> None:
    at_work: list[int] = []
    reconstruct = type(default_bundle.autoencoder(1)).reconstruct

    def counted(self: Any, windows: Any) -> Any:
        at_work.append(row)
        return reconstruct(self, windows)

    monkeypatch.setattr(type(default_bundle.autoencoder(1)), "reconstruct", counted)
    watched = Ensemble(channels(12), default_bundle, DETECTION, ALERTS, 1.0)
    for row, values in enumerate(rows(12)[:120]):
        watched.step(Frame(row, 0, float(row), values))
    # Four groups, each every twelfth row.
    assert len(at_work) == len(set(at_work))
    assert len(at_work) == pytest.approx(4 * 120 / 12, abs=4)


def test_what_groups_learned_goes_on_after_a_restart(default_bundle: Bundle, small_groups: None) -> None:
    names, values = channels(7), rows(7)
    uncut = Ensemble(names, default_bundle, DETECTION, ALERTS, 1.0)
    expected = judged(uncut, values)
    first, second = (Ensemble(names, default_bundle, DETECTION, ALERTS, 1.0) for _ in range(2))
    judged(first, values[:200])
    carry_over(first, second)
    for row in range(200, ROWS):
        verdict = second.step(Frame(row, 0, float(row), values[row]))
        np.testing.assert_array_equal(verdict.strength, expected[row].strength)
        np.testing.assert_array_equal(verdict.state, expected[row].state)
        assert verdict.state_score == expected[row].state_score


def test_few_channels_are_one_group_whose_networks_share_their_interpreters(default_bundle: Bundle) -> None:
    made = InterpreterPool(default_bundle)
    one, two = made.forecaster(4), made.forecaster(4)
    assert one._interpreter is two._interpreter
    assert one.h is not two.h
    assert made.autoencoder(4) is made.autoencoder(4)
    assert made.forecaster(5)._interpreter is not one._interpreter
    watched = Ensemble(channels(4), default_bundle, DETECTION, ALERTS, 1.0)
    assert type(watched._detectors[0]) is UniversalDetector


def test_a_channel_in_a_group_relearns_alone(default_bundle: Bundle, small_groups: None) -> None:
    names, values = channels(7), rows(7)
    watched, untouched = (Ensemble(names, default_bundle, DETECTION, ALERTS, 1.0) for _ in range(2))
    judged(watched, values[:200])
    judged(untouched, values[:200])
    watched.relearn(np.arange(7) == 4)
    for row in range(200, 280):
        frame = Frame(row, 0, float(row), values[row])
        verdict, other = watched.step(frame), untouched.step(frame)
        np.testing.assert_array_equal(np.delete(verdict.strength, 4), np.delete(other.strength, 4))
        np.testing.assert_array_equal(verdict.progress() < other.progress(), np.arange(7) == 4)


def test_gaps_are_gone_over_by_all_groups(default_bundle: Bundle, small_groups: None) -> None:
    names, values = channels(5), rows(5)
    watched = Ensemble(names, default_bundle, DETECTION, ALERTS, 1.0)
    for seq in (*range(100), *range(5000, 5100)):
        verdict = watched.step(Frame(seq, 0, float(seq), values[seq % ROWS]))
    assert np.isfinite(verdict.strength).all()
    assert watched.invalid == 0
