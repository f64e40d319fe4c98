"""What the configuration says of channels, and channels that are worked out from others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import loader
from agent.core.channel import NOBODY, Channel
from agent.core.clock import ManualClock
from agent.core.errors import UserError
from agent.core.name_patterns import glob
from agent.sampling.channel_rules import ChannelRules, Plausible
from agent.sampling.derived_channels import DerivedChannels
from agent.sampling.sampler import Sampler
from agent.sampling.settings import ChannelConfig, DerivedConfig
from tests.support.sampling import Fake, values


class TestRules:
    def test_the_last_that_says_something_counts_and_the_rest_stays(self) -> None:
        rules = ChannelRules(
            [
                ChannelConfig(names=("*",), unit="°C", sensitivity=0.5),
                ChannelConfig(names=("room.?", "attic"), sensitivity=2.0, silent=True),
            ]
        )
        source = Channel("room.1", "?", effect=3.0, maximum=99.0)
        assert rules.applied(source) == Channel("room.1", "°C", effect=3.0, maximum=99.0, sensitivity=2.0, silent=True)
        assert rules.applied(Channel("cellar")).sensitivity == 0.5

    def test_without_a_rule_a_channel_stays_the_same_object(self) -> None:
        channel = Channel("a")
        assert ChannelRules([ChannelConfig(names=("b",), unit="V")]).applied(channel) is channel

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_no_pattern_makes_it_fail(self, pattern: str, name: str) -> None:
        assert glob([pattern]).match(name) is None or pattern or not name

    def test_what_is_beyond_the_bounds_is_no_reading(self) -> None:
        plausible = Plausible([Channel("a", invalid_above=85.0), Channel("b", invalid_below=0.0), Channel("c")])
        row = np.array([85.5, -0.1, 1e9], np.float32)
        assert plausible.clean(row) == 2
        assert np.isnan(row[:2]).all()
        assert row[2] == np.float32(1e9)
        edge = np.array([85.0, 0.0, np.nan], np.float32)
        assert plausible.clean(edge) == 0

    def test_the_sampler_applies_them_and_counts_what_is_invalid(self) -> None:
        rules = ChannelRules([ChannelConfig(names=("a",), invalid_above=10.0, unit="V")])
        sampler = Sampler([("fake", Fake([5, 99], [50, 99], [6, 99]))], 1.0, ManualClock(), rules=rules)
        assert [channel.unit for channel in sampler.channels] == ["V", ""]
        np.testing.assert_array_equal(values(sampler), [[5, 99], [np.nan, 99], [6, 99]])
        assert sampler.invalid == 1


class TestDerived:
    def of(self, *parts: DerivedConfig, interval_s: float = 1.0, names: str = "ab") -> Any:
        derivations = DerivedChannels(parts, interval_s)
        derivations.find([*map(Channel, names), *derivations.channels])

        def fill(*row: float, seq: int = 0) -> list[float]:
            whole = np.array([*row, *[math.nan] * len(parts)], np.float32)
            derivations.fill(whole, seq)
            return whole[len(row) :].tolist()

        return fill

    def test_difference_ratio_and_sum(self) -> None:
        fill = self.of(
            DerivedConfig(name="d", how="difference", of=("b", "a")),
            DerivedConfig(name="r", how="ratio", of=("a", "b")),
            DerivedConfig(name="s", how="sum", of=("[ab]",)),
            DerivedConfig(name="of it", how="difference", of=("s", "d")),
        )
        assert fill(6.0, 2.0) == [-4.0, 3.0, 8.0, 12.0]
        np.testing.assert_array_equal(fill(6.0, 0.0), [-6.0, np.nan, 6.0, 12.0])
        np.testing.assert_array_equal(fill(np.nan, 2.0), [np.nan, np.nan, 2.0, np.nan])
        np.testing.assert_array_equal(fill(np.nan, np.nan), [np.nan] * 4)

    def test_a_rate_is_over_the_time_that_has_passed(self) -> None:
        fill = self.of(DerivedConfig(name="r", how="rate", of=("a",)), interval_s=2.0, names="a")
        assert math.isnan(fill(10.0, seq=0)[0])
        assert fill(14.0, seq=1) == [2.0]
        assert math.isnan(fill(np.nan, seq=2)[0])
        assert fill(22.0, seq=3) == [2.0]

    def test_a_rate_over_a_time(self) -> None:
        fill = self.of(DerivedConfig(name="r", how="rate", of=("a",), over_s=3.0), names="a")
        found = [fill(float(seq**2), seq=seq)[0] for seq in range(6)]
        np.testing.assert_array_equal(found, [np.nan] * 3 + [3.0, 5.0, 7.0])

    def test_a_counter_that_begins_anew_has_no_negative_rate(self) -> None:
        fill = self.of(DerivedConfig(name="r", how="rate", of=("a",), counter=True), names="a")
        found = [fill(value, seq=seq)[0] for seq, value in enumerate((5.0, 7.0, 1.0, 4.0))]
        np.testing.assert_array_equal(found, [np.nan, 2.0, np.nan, 3.0])

    def test_what_is_not_there_yet_is_missing_until_it_comes(self) -> None:
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

    def test_they_stand_behind_the_sources_and_rules_apply(self) -> None:
        sampler = Sampler(
            [("fake", Fake([5, 3], [7, 3]))],
            1.0,
            ManualClock(),
            derived=[DerivedConfig(name="gap", how="difference", of=("a", "b"), unit="K")],
            rules=ChannelRules([ChannelConfig(names=("gap",), alarm_above=9.0)]),
        )
        assert sampler.channels[-1] == Channel("gap", "K", alarm_above=9.0)
        assert values(sampler) == [[5, 3, 2], [7, 3, 4]]

    def test_a_name_that_a_source_has_is_refused(self) -> None:
        with pytest.raises(UserError, match="'b' comes from two"):
            Sampler([("fake", Fake())], 1.0, ManualClock(), derived=[DerivedConfig(name="b", how="sum", of=("a",))])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("channels: [{names: [a], invalid_below: 5, invalid_above: 5}]", "invalid_below 5 is not below"),
        ("channels: [{names: [a], sensitivity: 0}]", r"channels\[0\].sensitivity: expected a number above 0"),
        ("channels: [{unit: V}]", "required key 'names'"),
        ("derived: [{name: d, how: ratio, of: [a]}]", "a ratio is of 2 channels, not of 1"),
        ("derived: [{name: d, how: rate, of: ['a*']}]", "only a sum takes patterns"),
        ("derived: [{name: d, how: sum, of: [a], over_s: 5}]", "belong to a rate"),
        ("derived: [{name: d, how: product, of: [a]}]", "how: expected one of "),
        ("sources: [{type: host, interval_s: 2.5}]", "no whole multiple"),
        ("interval_s: 2\nsources: [{type: host, interval_s: 1}]", "no whole multiple"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        loader.parse(text.encode())
