from __future__ import annotations

import math

import numpy as np
import pytest

from agent.alerting.budget import LOUDEST, AlertBudget
from agent.alerting.suppressed import SuppressedIncidents
from agent.messages.alert import HeldBack
from tests.support import naive

DAY_S = 86400.0


def sent(budget: AlertBudget, interval_s: float, days: float, per_day: float, seed: int, spread: float) -> int:
    """Feed incidents at random ticks with heavy-tailed strengths; count those that pass."""
    rng = np.random.default_rng(seed)
    rows = np.unique(rng.integers(0, int(days * DAY_S / interval_s), int(days * per_day)))
    strengths = np.exp(np.abs(rng.normal(0, spread, rows.size)))
    return sum(
        budget.admits(float(strength), float(row) * interval_s) for row, strength in zip(rows, strengths, strict=True)
    )


@pytest.mark.parametrize("interval_s", [1.0, 300.0])
@pytest.mark.parametrize("target", [0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_many_incidents_are_thinned_out_to_the_target(interval_s: float, target: float, spread: float) -> None:
    days = 100.0
    passed = sent(AlertBudget(target), interval_s, days, per_day=100.0, seed=1, spread=spread)
    assert 0.7 * target * days - 4 < passed <= target * days + 7


@pytest.mark.parametrize("target", [0.3, 3.0])
def test_no_strength_however_large_exceeds_the_target_in_the_long_run(target: float) -> None:
    budget = AlertBudget(target)
    assert sum(budget.admits(1e9, minute * 60.0) for minute in range(100 * 1440)) <= 100 * target + 7


def test_it_is_the_strongest_that_pass() -> None:
    budget, rng = AlertBudget(1.0), np.random.default_rng(0)
    strengths = np.exp(np.abs(rng.normal(0, 1, 3000)))
    passed = [s for i, s in enumerate(strengths.tolist()) if budget.admits(s, i * 864.0)]
    assert min(passed[5:]) > np.quantile(strengths, 0.9)


def test_the_bar_does_not_sink_before_there_is_anything_to_send() -> None:
    budget = AlertBudget(3.0)
    budget.keep_initial(DAY_S, 10)
    assert budget.needed(DAY_S) == pytest.approx(4.0)
    assert budget.needed(DAY_S + 8 * 3600.0) == pytest.approx(2.0)


def test_among_many_channels_only_what_is_strong_passes_at_first() -> None:
    few, many = AlertBudget(3.0), AlertBudget(3.0)
    few.keep_initial(600.0, 16)
    many.keep_initial(600.0, 1600)
    assert (few.needed(600.0), many.needed(600.0)) == (pytest.approx(4.0), pytest.approx(40.0))
    # A restored or raised level is not lowered; the loudest incidents always pass.
    many.keep_initial(700.0, 16)
    assert many.needed(700.0) == pytest.approx(40.0)
    many.keep_initial(700.0, 10_000_000)
    assert many.admits(LOUDEST, 700.0)


def test_after_a_storm_the_strongest_waits_for_no_longer_than_one_of_the_days_share() -> None:
    budget = AlertBudget(3.0)
    for second in range(3600):
        budget.admits(1e6, float(second))
    assert budget.level <= math.log(2 * LOUDEST) + 1e-9
    assert not budget.admits(1e6, 4 * 3600.0)
    assert budget.admits(LOUDEST, 9.1 * 3600.0)


def test_after_a_storm_a_weak_incident_is_heard_within_two_days_of_the_default_budget() -> None:
    budget = AlertBudget(3.0)
    for second in range(3600):
        budget.admits(1e6, float(second))
    assert not budget.admits(4.0, DAY_S)
    assert budget.admits(4.0, 2 * DAY_S)


@pytest.mark.parametrize("interval_s", [1.0, 300.0])
def test_a_large_number_is_no_budget(interval_s: float) -> None:
    budget = AlertBudget(1e9)
    assert all(budget.admits(1.0, row * interval_s) for row in range(1, 1000))


def test_quiet_weeks_do_not_save_up_more_than_the_bar_can_rise() -> None:
    budget = AlertBudget(3.0)
    burst = [budget.admits(LOUDEST, 365 * DAY_S + second) for second in range(100)]
    assert sum(burst) == 7


@pytest.mark.parametrize("per_day", [0.3, 3.0, 50.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_level_is_that_of_a_bucket_that_leaks_from_the_first_incident_on(per_day: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    budget = AlertBudget(per_day)
    sent_s: list[float] = []
    now_s = 0.0
    for strength in np.exp(np.abs(rng.normal(0, 2, 300))).tolist():
        now_s += float(rng.exponential(DAY_S / per_day / 2.0))
        level = naive.budget_level(sent_s, now_s, per_day)
        assert budget.needed(now_s) == pytest.approx(math.exp(level), rel=1e-9)
        if budget.admits(strength, now_s):
            assert min(strength, LOUDEST) >= math.exp(level) * (1.0 - 1e-9)
            sent_s.append(now_s)
    assert 20 < len(sent_s) < 280


def held(strength: float) -> HeldBack:
    return HeldBack(0.0, 10.0, strength, 100.0, "", ("a",))


def test_the_digest_shows_the_twenty_strongest_of_the_last_day() -> None:
    digest = SuppressedIncidents()
    for hour in range(30):
        digest.add([held(100.0 - hour), held(0.5)], hour * 3600.0)
    shown = [incident.strength for incident in digest.strongest(29.5 * 3600.0)]
    assert shown == [94.0 - i for i in range(20)]
    assert digest.count == 60


def test_the_digest_stays_small_in_a_storm() -> None:
    digest = SuppressedIncidents()
    for i in range(5000):
        digest.add([held(float(i % 997))], float(i))
    assert len(digest._incidents) <= 200
    assert [incident.strength for incident in digest.strongest(5000.0)][:5] == [996.0] * 5
    assert digest.strongest(5000.0 + DAY_S) == ()
