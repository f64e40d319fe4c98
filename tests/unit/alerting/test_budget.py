from __future__ import annotations

import math

import numpy as np
import pytest

from agent.alerting.budget import LOUDEST, AlertBudget
from agent.alerting.suppressed import SuppressedIncidents
from agent.messages.alert import HeldBack
from tests.support import naive

DAY_S = 86400.0
# Incidents a day that pass however small the budget is.
LEAST = 3.0


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
def test_a_storm_is_thinned_out_to_the_target_or_three_a_day(interval_s: float, target: float, spread: float) -> None:
    days, passing = 100.0, max(target, LEAST)
    passed = sent(AlertBudget(target), interval_s, days, per_day=100.0, seed=1, spread=spread)
    assert 0.7 * passing * days - 4 < passed <= passing * days + 7


@pytest.mark.parametrize("target", [0.3, 3.0, 10.0])
def test_no_strength_however_large_exceeds_the_target_or_three_a_day_in_the_long_run(target: float) -> None:
    budget = AlertBudget(target)
    passed = sum(budget.admits(1e9, minute * 60.0) for minute in range(100 * 1440))
    assert 0.9 * 100 * max(target, LEAST) < passed <= 100 * max(target, LEAST) + 7


def test_it_is_the_strongest_that_pass() -> None:
    budget, rng = AlertBudget(1.0), np.random.default_rng(0)
    strengths = np.exp(np.abs(rng.normal(0, 1, 3000)))
    passed = [s for i, s in enumerate(strengths.tolist()) if budget.admits(s, i * 864.0 / LEAST)]
    assert min(passed[5:]) > np.quantile(strengths, 0.9)


def test_the_first_alarm_passes_and_the_next_must_be_twice_as_strong() -> None:
    budget = AlertBudget(0.1)
    assert budget.needed(0.0) == 1.0
    assert [budget.admits(strength, 0.0) for strength in (0.99, 1.0, 1.99, 2.0, 3.99, 4.0)] == [False, True] * 3
    assert budget.needed(0.0) == pytest.approx(8.0)


@pytest.mark.parametrize("target", [0.001, 0.1, 3.0])
def test_three_doublings_are_forgotten_within_a_day_however_small_the_budget(target: float) -> None:
    budget = AlertBudget(target)
    assert all(budget.admits(2.0**sent, 0.0) for sent in range(3))
    # Three doublings in a day.
    assert budget.needed(8 * 3600.0) == pytest.approx(4.0)
    assert budget.needed(DAY_S) == pytest.approx(1.0)
    assert budget.admits(1.0, DAY_S * (1.0 + 1e-9))


def test_time_counts_from_the_end_of_learning_on() -> None:
    budget = AlertBudget(3.0)
    assert budget.admits(1.0, 0.0)
    budget.begin(DAY_S)
    assert budget.needed(DAY_S) == pytest.approx(2.0)
    assert budget.needed(DAY_S + 4 * 3600.0) == pytest.approx(2.0**0.5)
    assert budget.needed(DAY_S + 8 * 3600.0) == 1.0


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
        now_s += float(rng.exponential(DAY_S / max(per_day, LEAST) / 2.0))
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
