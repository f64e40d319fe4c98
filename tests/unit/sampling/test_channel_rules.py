"""Rules of the configuration for channels, by name pattern."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import loader
from agent.core.channel import Channel
from agent.core.clock import ManualClock
from agent.core.errors import UserError
from agent.core.name_patterns import glob
from agent.sampling.channel_rules import ChannelRules, Plausible
from agent.sampling.sampler import Sampler
from agent.sampling.settings import ChannelConfig
from tests.support.sampling import Fake, values


def test_the_last_that_says_something_counts_and_the_rest_stays() -> None:
    rules = ChannelRules(
        [
            ChannelConfig(names=("*",), unit="°C", sensitivity=0.5),
            ChannelConfig(names=("room.?", "attic"), sensitivity=2.0, silent=True),
        ]
    )
    source = Channel("room.1", "?", effect=3.0, maximum=99.0)
    assert rules.applied(source) == Channel("room.1", "°C", effect=3.0, maximum=99.0, sensitivity=2.0, silent=True)
    assert rules.applied(Channel("cellar")).sensitivity == 0.5


def test_without_a_rule_a_channel_stays_the_same_object() -> None:
    channel = Channel("a")
    assert ChannelRules([ChannelConfig(names=("b",), unit="V")]).applied(channel) is channel


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_pattern_makes_it_fail(pattern: str, name: str) -> None:
    assert glob([pattern]).match(name) is None or pattern or not name


def test_what_is_beyond_the_bounds_is_no_reading() -> None:
    plausible = Plausible([Channel("a", invalid_above=85.0), Channel("b", invalid_below=0.0), Channel("c")])
    row = np.array([85.5, -0.1, 1e9], np.float32)
    assert plausible.clean(row) == 2
    assert np.isnan(row[:2]).all()
    assert row[2] == np.float32(1e9)
    edge = np.array([85.0, 0.0, np.nan], np.float32)
    assert plausible.clean(edge) == 0


def test_the_sampler_applies_them_and_counts_what_is_invalid() -> None:
    rules = ChannelRules([ChannelConfig(names=("a",), invalid_above=10.0, unit="V")])
    sampler = Sampler([("fake", Fake([5, 99], [50, 99], [6, 99]))], 1.0, ManualClock(), rules=rules)
    assert [channel.unit for channel in sampler.channels] == ["V", ""]
    np.testing.assert_array_equal(values(sampler), [[5, 99], [np.nan, 99], [6, 99]])
    assert sampler.invalid == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("channels: [{names: [a], invalid_below: 5, invalid_above: 5}]", "invalid_below 5 is not below"),
        ("channels: [{names: [a], sensitivity: 0}]", r"channels\[0\].sensitivity: expected a number above 0"),
        ("channels: [{unit: V}]", "required key 'names'"),
        ("sources: [{type: host, interval_s: 2.5}]", "no whole multiple"),
        ("interval_s: 2\nsources: [{type: host, interval_s: 1}]", "no whole multiple"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        loader.parse(text.encode())
