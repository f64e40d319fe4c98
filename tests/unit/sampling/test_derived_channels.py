"""Derived channels: rates, differences, ratios and sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agent.config import loader
from agent.core.channel import NOBODY, Channel
from agent.core.clock import ManualClock
from agent.core.errors import UserError
from agent.sampling.channel_rules import ChannelRules
from agent.sampling.derived_channels import DerivedChannels
from agent.sampling.sampler import Sampler
from agent.sampling.settings import ChannelConfig, DerivedConfig
from tests.support import naive
from tests.support.sampling import Fake, values


def derive(*parts: DerivedConfig, interval_s: float = 1.0, names: str = "ab") -> Any:
    derivations = DerivedChannels(parts, interval_s)
    derivations.find([*map(Channel, names), *derivations.channels])

    def fill(*row: float, seq: int = 0) -> list[float]:
        whole = np.array([*row, *[math.nan] * len(parts)], np.float32)
        derivations.fill(whole, seq)
        return whole[len(row) :].tolist()

    return fill


def test_difference_ratio_and_sum() -> None:
    fill = derive(
        DerivedConfig(name="d", how="difference", of=("b", "a")),
        DerivedConfig(name="r", how="ratio", of=("a", "b")),
        DerivedConfig(name="s", how="sum", of=("[ab]",)),
        DerivedConfig(name="of it", how="difference", of=("s", "d")),
    )
    assert fill(6.0, 2.0) == [-4.0, 3.0, 8.0, 12.0]
    np.testing.assert_array_equal(fill(6.0, 0.0), [-6.0, np.nan, 6.0, 12.0])
    np.testing.assert_array_equal(fill(np.nan, 2.0), [np.nan, np.nan, 2.0, np.nan])
    np.testing.assert_array_equal(fill(np.nan, np.nan), [np.nan] * 4)


def test_a_rate_is_over_the_time_that_has_passed() -> None:
    fill = derive(DerivedConfig(name="r", how="rate", of=("a",)), interval_s=2.0, names="a")
    assert math.isnan(fill(10.0, seq=0)[0])
    assert fill(14.0, seq=1) == [2.0]
    assert math.isnan(fill(np.nan, seq=2)[0])
    assert fill(22.0, seq=3) == [2.0]


def test_a_rate_over_a_time() -> None:
    fill = derive(DerivedConfig(name="r", how="rate", of=("a",), over_s=3.0), names="a")
    found = [fill(float(seq**2), seq=seq)[0] for seq in range(6)]
    np.testing.assert_array_equal(found, [np.nan] * 3 + [3.0, 5.0, 7.0])


def test_a_counter_that_begins_anew_has_no_negative_rate() -> None:
    fill = derive(DerivedConfig(name="r", how="rate", of=("a",), counter=True), names="a")
    found = [fill(value, seq=seq)[0] for seq, value in enumerate((5.0, 7.0, 1.0, 4.0))]
    np.testing.assert_array_equal(found, [np.nan, 2.0, np.nan, 3.0])


def test_what_is_not_there_yet_is_missing_until_it_comes() -> None:
    part = DerivedConfig(name="d", how="difference", of=("a", "late"))
    derivations = DerivedChannels([part], 1.0)
    derivations.find([Channel("a"), NOBODY, *derivations.channels])
    row = np.array([3.0, np.nan, np.nan], np.float32)
    derivations.fill(row, 0)
    assert np.isnan(row[2])
    derivations.find([Channel("a"), Channel("late"), *derivations.channels])
    row[1] = 1.0
    derivations.fill(row, 1)
    assert row[2] == 2.0


def test_they_stand_behind_the_sources_and_rules_apply() -> None:
    sampler = Sampler(
        [("fake", Fake([5, 3], [7, 3]))],
        1.0,
        ManualClock(),
        derived=[DerivedConfig(name="gap", how="difference", of=("a", "b"), unit="K")],
        rules=ChannelRules([ChannelConfig(names=("gap",), alarm_above=9.0)]),
    )
    assert sampler.channels[-1] == Channel("gap", "K", alarm_above=9.0)
    assert values(sampler) == [[5, 3, 2], [7, 3, 4]]


def test_a_name_that_a_source_has_is_refused() -> None:
    with pytest.raises(UserError, match="'b' comes from two"):
        Sampler([("fake", Fake())], 1.0, ManualClock(), derived=[DerivedConfig(name="b", how="sum", of=("a",))])


def random_readings(seed: int) -> Any:
    """Readings of two channels, float32[60, 2]: counters and noise, some missing, some 0."""
    rng = np.random.default_rng(seed)
    readings = np.stack((rng.integers(0, 5, 60).cumsum(), rng.normal(0.0, 30.0, 60).round()), axis=1)
    readings[rng.integers(10, 50) :, 0] -= rng.integers(0, 40)
    readings[rng.random(readings.shape) < 0.1] = 0.0
    readings[rng.random(readings.shape) < 0.15] = np.nan
    return readings.astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("counter", [False, True])
@pytest.mark.parametrize("over_s", [0.0, 8.0, 21.0])
def test_a_rate_is_what_a_search_through_all_readings_finds(seed: int, counter: bool, over_s: float) -> None:
    part = DerivedConfig(name="r", how="rate", of=("a",), over_s=over_s, counter=counter)
    fill = derive(part, interval_s=2.0, names="a")
    readings = random_readings(seed)[:, 0].tolist()
    seen: list[float | None] = []
    for seq, reading in enumerate(readings):
        seen.append(None if math.isnan(reading) else reading)
        expected = naive.rate_of_change(seen, max(1, round(over_s / 2.0)), 2.0, counter=counter)
        assert fill(reading, seq=seq)[0] == pytest.approx(math.nan if expected is None else expected, nan_ok=True)


@pytest.mark.parametrize("seed", range(6))
def test_the_others_are_what_arithmetic_gives(seed: int) -> None:
    fill = derive(
        DerivedConfig(name="d", how="difference", of=("a", "b")),
        DerivedConfig(name="q", how="ratio", of=("a", "b")),
        DerivedConfig(name="s", how="sum", of=("a", "b")),
    )
    for first, second in random_readings(seed).tolist():
        there = [value for value in (first, second) if not math.isnan(value)]
        expected = [first - second, first / second if second else math.nan, sum(there) if there else math.nan]
        assert fill(first, second) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("derived: [{name: d, how: ratio, of: [a]}]", "a ratio is of 2 channels, not of 1"),
        ("derived: [{name: d, how: rate, of: ['a*']}]", "only a sum takes patterns"),
        ("derived: [{name: d, how: sum, of: [a], over_s: 5}]", "belong to a rate"),
        ("derived: [{name: d, how: product, of: [a]}]", "how: expected one of "),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        loader.parse(text.encode())
