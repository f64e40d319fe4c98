"""How rare evidence must be on a young node, with a budget, and among other channels."""

from __future__ import annotations

import numpy as np
import pytest

from agent.detection.alarm_bar import DAY_S, AlarmBar, cluster_gap

HOUR_S, BLOCK_S = 3600.0, 60.0


def test_an_alarm_of_one_channel_is_as_rare_as_the_budget() -> None:
    for budget in (0.1, 1.0, 3.0):
        assert AlarmBar(budget, 1, BLOCK_S).period_s(np.array([100 * DAY_S])) == pytest.approx(DAY_S / budget)


def test_however_large_the_budget_is_an_alarm_is_as_rare_as_once_an_hour() -> None:
    assert AlarmBar(1e9, 1, BLOCK_S).period_s(np.array([100 * DAY_S])) == HOUR_S
    assert AlarmBar(1e9, 1, BLOCK_S).period_s(np.array([0.0])) == HOUR_S


def test_on_a_young_node_an_alarm_is_ten_times_as_rare_as_the_time_learned() -> None:
    bar = AlarmBar(0.1, 1, BLOCK_S)
    # Six hours at least, soon a day, ten days at most.
    learned_s = [0.0, 600.0, HOUR_S, 2 * HOUR_S, 6 * HOUR_S, DAY_S, 2 * DAY_S]
    hours = bar.period_s(np.array(learned_s)) / HOUR_S
    assert hours == pytest.approx([6.0, 6.0, 24.0, 24.0, 60.0, 240.0, 240.0])


@pytest.mark.parametrize("channels", [1, 10, 800])
def test_among_many_channels_an_alarm_of_each_is_so_many_times_as_rare(channels: int) -> None:
    one, many = AlarmBar(0.1, 1, BLOCK_S), AlarmBar(0.1, channels, BLOCK_S)
    learned_s = np.array([0.0, HOUR_S, 30 * DAY_S])
    assert many.period_s(learned_s) == pytest.approx(channels * one.period_s(learned_s))


def test_strength_is_the_root_of_the_rarity_over_that_of_an_alarm() -> None:
    bar = AlarmBar(0.1, 2, BLOCK_S)
    periods_s = np.array([0.0, 0.2, 20.0, 80.0, 2000.0]) * DAY_S
    assert bar.strength(periods_s, np.array([30 * DAY_S])) == pytest.approx([0.0, 0.1, 1.0, 2.0, 10.0])
    # After six hours, the bar of two channels is five days.
    assert bar.strength(np.array([5 * DAY_S]), np.array([6 * HOUR_S])) == pytest.approx([1.0])


def test_fast_blocks_need_no_hours() -> None:
    # 4,320 and 720 blocks of a fifth of a second.
    assert AlarmBar(0.1, 1, 0.2).period_s(np.array([20.0])) == pytest.approx(864.0)
    assert AlarmBar(1e9, 1, 0.2).period_s(np.array([20.0])) == pytest.approx(144.0)


def test_no_strength_exceeds_a_thousand() -> None:
    assert AlarmBar(0.1, 1, BLOCK_S).strength(np.array([1e30, np.inf]), np.array([0.0])).tolist() == [1e3, 1e3]


def test_a_cluster_of_peaks_ends_after_ten_blocks_or_ten_minutes() -> None:
    assert cluster_gap(np.array([1.0, 5.0, 60.0, 300.0, 3600.0])).tolist() == [10.0, 10.0, 10.0, 2.0, 1.0]
