"""Texts of alerts: the value, its usual range and its rarity, at the scale that noticed the anomaly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from tests.support.verdicts import Feed, make

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array
    from agent.messages.alert import Alert

DAY_S = 86400.0


def told(*evidence: float) -> Float64Array:
    """Value, expectation, ends of the usual range and seconds averaged of the first of three channels."""
    all_of_them = np.full((5, 3), np.nan)
    all_of_them[:, 0] = evidence
    return all_of_them


def opened(*evidence: float, days: float = 0.0, **more: Any) -> Alert:
    """The alert of an excursion that was noticed by this evidence; the newest reading is 88 %, usual are 2 to 14 %."""
    period_s = np.array([days * DAY_S, 0.0, 0.0])
    (alert,) = Feed(make())(3, 0, 0, times=5, told=told(*evidence), period_s=period_s, **more)
    return alert


def test_an_averaged_value_is_named_with_its_own_range_and_time() -> None:
    alert = opened(41.5, 20.0, 12.0, 28.0, 720.0)
    assert alert.summary == "cpu.percent 41.5 % on average over 12 min (expected 12 – 28 %)"
    (first,) = alert.contributors
    assert (first.value, first.expected, first.lower, first.upper, first.over_s) == (41.5, 20.0, 12.0, 28.0, 720.0)


@pytest.mark.parametrize(("seconds", "words"), [(45.0, "45 s"), (60.0, "1 min"), (1800.0, "30 min"), (10_800.0, "3 h")])
def test_the_time_of_an_average_is_named_in_its_largest_unit(seconds: float, words: str) -> None:
    assert f"41.5 % on average over {words} (" in opened(41.5, 20.0, 12.0, 28.0, seconds).summary


def test_a_block_of_one_row_is_a_reading_and_no_average() -> None:
    alert = opened(41.5, 20.0, 12.0, 28.0, 1.0)
    assert alert.summary == "cpu.percent 41.5 % (expected 12 – 28 %)"
    assert alert.contributors[0].over_s == 0.0


def test_without_evidence_of_its_own_the_newest_reading_and_its_range_are_named() -> None:
    assert opened(*[np.nan] * 5).summary.startswith("cpu.percent 88 % (expected 2 – 14 %)")


@pytest.mark.parametrize(
    ("days", "once_in", "words"),
    [
        (0.6, 0.6, ", about once in 14 h"),
        (1.4, 1.4, ", about once a day"),
        (1.6, 1.6, ", about once in 2 days"),
        (43.21, 43.0, ", about once in 43 days"),
        (364.0, 360.0, ", about once in 360 days"),
        (365.0, 365.0, ", rarer than once a year"),
        (1e12, 365.0, ", rarer than once a year"),
    ],
)
def test_rarity_is_told_in_words_and_in_days_up_to_a_year(days: float, once_in: float, words: str) -> None:
    alert = opened(41.5, 20.0, 12.0, 28.0, 720.0, days=days)
    assert alert.summary.endswith(f"(expected 12 – 28 %){words}")
    assert alert.contributors[0].once_in_days == pytest.approx(once_in, rel=0.02)


def test_nothing_is_said_of_a_rarity_that_is_unknown() -> None:
    alert = opened(41.5, 20.0, 12.0, 28.0, 720.0)
    assert alert.contributors[0].once_in_days is None
    assert alert.summary.endswith("(expected 12 – 28 %)")


@pytest.mark.parametrize("value", [41.5, 3.0])
def test_a_value_outside_the_range_is_named_as_such(value: float) -> None:
    text = opened(value, 20.0, 12.0, 28.0, 720.0, value=[20.0, 6.0, 6.0]).summary
    assert text == f"cpu.percent {value:g} % on average over 12 min (expected 12 – 28 %)"


def test_a_value_within_its_range_is_an_unusual_pattern() -> None:
    text = opened(20.5, 20.0, 12.0, 28.0, 5.0).summary
    assert text == "cpu.percent shows an unusual pattern, last 20.5 % on average over 5 s (expected 12 – 28 %)"


def test_a_flat_line_has_no_range_and_no_rarity() -> None:
    feed = Feed(make())
    rng = np.random.default_rng(0)
    for value in rng.normal(50.0, 5.0, 300):
        feed(0, 0, 0, value=[value, 6.0, 6.0])
    stuck = told(50.0, np.nan, np.nan, np.nan, 0.0)
    feed(0, 0, 0, times=70, value=[50.0, 6.0, 6.0])
    (alert,) = feed(3, 0, 0, times=5, value=[50.0, 6.0, 6.0], told=stuck)
    (first,) = alert.contributors
    assert (first.kind, first.value, first.lower, first.upper) == ("flat_line", 50.0, None, None)
    assert alert.summary.startswith("cpu.percent does not change any more, 50 %, flat line since ")
    assert "expected" not in alert.summary


def test_at_a_hard_limit_the_reading_itself_and_the_limit_are_named() -> None:
    channels = (Channel("disk.percent", "%", alarm_above=95.0), Channel("a"), Channel("b"))
    incidents = Incidents(channels, AlertsConfig(confirm_s=5), 1.0, node="n", model="m", instance="i")
    period_s = np.array([40 * DAY_S, 0.0, 0.0])
    evidence = told(70.0, 20.0, 12.0, 28.0, 720.0)
    (alert,) = Feed(incidents)(3, 0, 0, times=5, value=[96.0, 6.0, 6.0], told=evidence, period_s=period_s)
    assert alert.summary == "disk.percent 96 % (hard limit 95 %)"
    (first,) = alert.contributors
    # The range is that of single readings, as the value is.
    assert (first.value, first.expected, first.lower, first.upper) == (96.0, 6.1, 2.0, 14.0)
    assert (first.limit, first.over_s) == (95.0, 0.0)


def test_the_close_tells_the_strongest_evidence_of_the_excursion() -> None:
    feed = Feed(make(clear_s=3))
    period_s = np.array([40 * DAY_S, 0.0, 0.0])
    feed(3, 0, 0, times=5, told=told(41.5, 20.0, 12.0, 28.0, 720.0), period_s=period_s)
    (closed,) = feed(0, 0, 0, times=5)
    assert closed.summary.startswith(
        "cpu.percent reached 41.5 % on average over 12 min (expected 12 – 28 %), about once in 40 days"
    )
    assert closed.summary.endswith("recovered after 7 s")
