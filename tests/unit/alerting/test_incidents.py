from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.frame import Frame
from tests.support.verdicts import CHANNELS, Feed, frames_of, make, verdict

if TYPE_CHECKING:
    from typing import Any

    from agent.messages.alert import Alert


@pytest.fixture
def feed() -> Feed:
    return Feed(make())


def test_one_bad_tick_is_no_incident(feed: Feed) -> None:
    assert feed(0, 0, 0, times=10) + feed(9, 0, 0, times=3) + feed(0, 0, 0, times=10) == []


def test_four_of_five_bad_ticks_open_an_incident(feed: Feed) -> None:
    feed(0, 0, 0, times=10)
    (alert,) = feed(3, 0, 0, times=2) + feed(0, 0, 0) + feed(3, 0, 0, times=2)
    assert (alert.phase, alert.reason, alert.severity) == ("open", "onset", "info")
    assert (alert.id, alert.seq, alert.incident) == ("pi4-7f3a-000123", 123, "pi4-7f3a-000123")
    assert alert.ts - alert.started == 4  # the excursion began with its first anomalous tick
    assert alert.contributors[0].channel == "cpu.percent"
    assert alert.contributors[0].share == 1.0
    assert alert.summary == "cpu.percent 88 % (expected 2 – 14 %), spike at 22:13:30 UTC"
    assert alert.score >= alert.threshold


def test_it_closes_when_quiet_for_long_enough_and_not_before(feed: Feed) -> None:
    feed(3, 0, 0, times=5)
    assert feed(1, 0, 0, times=20) == []  # the excursion goes on, however weak it is
    assert feed(0.9, 0, 0, times=2) == []  # over; excursions have their own hysteresis
    (alert,) = feed(0.9, 0, 0)
    assert (alert.phase, alert.reason, alert.seq) == ("close", "recovered", 124)
    assert alert.id == "pi4-7f3a-000123.1"
    assert alert.incident == "pi4-7f3a-000123"
    assert alert.duration_s == 27
    assert "reached 88 %" in alert.summary
    assert feed.incidents.open == ()


def test_channels_that_go_wrong_together_are_one_incident(feed: Feed) -> None:
    opened = feed(100, 0, 0, times=5) + feed(100, 200, 0, times=20)
    assert [a.phase for a in opened] == ["open", "update"]
    assert opened[1].reason == "joined"
    assert [c.channel for c in opened[1].contributors] == ["disk.write", "cpu.percent"]
    assert [c.share for c in opened[1].contributors] == [pytest.approx(0.667), pytest.approx(0.333)]
    assert opened[1].severity == "critical"
    assert "and 1 more" in opened[1].summary
    assert len(feed(0, 0, 0, times=10)) == 1


def test_a_channel_that_was_over_for_long_opens_another_incident_while_its_companion_goes_on(feed: Feed) -> None:
    (first,) = feed(3, 0, 4, times=5)
    assert feed(0, 0, 4, times=22) == []  # three ticks to clear, twenty of cool-down: not yet
    assert feed(3, 0, 4, times=5) == []
    assert feed(0, 0, 4, times=23) == []
    opened = feed(3, 0, 4, times=5)
    assert [(a.phase, [c.channel for c in a.contributors]) for a in opened] == [("open", ["cpu.percent"])]
    closed = feed(0, 0, 4, times=5)
    assert [(a.phase, a.incident == first.incident) for a in closed] == [("close", False)]
    (last,) = feed(0, 0, 0, times=10)
    assert (last.phase, last.incident) == ("close", first.incident)
    assert {c.channel for c in last.contributors} == {"cpu.percent", "load"}
    assert feed(0, 0, 0, times=30) == []
    assert [a.phase for a in feed(3, 0, 0, times=4)] == ["open"]


def test_what_has_left_an_incident_is_known_after_a_restart(feed: Feed) -> None:
    feed(3, 0, 4, times=5)
    feed(0, 0, 4, times=23)
    resumed = Feed(make())
    resumed.incidents.resume(feed.incidents.packed("x"), "x")
    resumed.seq = feed.seq
    assert [a.phase for a in resumed(3, 0, 4, times=5)] == ["open"]
    assert len(resumed.incidents.open) == 2


def test_a_channel_that_goes_wrong_much_later_is_an_incident_of_its_own(feed: Feed) -> None:
    feed(3, 0, 0, times=30)
    (second,) = feed(3, 3, 0, times=5)
    assert second.phase == "open"
    assert second.incident == "pi4-7f3a-000124"
    assert feed.incidents.open == ("pi4-7f3a-000123", "pi4-7f3a-000124")


def test_a_worse_turn_is_told_once_and_not_more_often_than_the_pause(feed: Feed) -> None:
    feed(9.9, 0, 0, times=5)
    updates = feed(100, 0, 0, times=40)
    assert [(u.phase, u.reason, u.severity) for u in updates] == [("update", "severity", "critical")]


def test_no_new_incident_during_the_cool_down_but_right_after_it(feed: Feed) -> None:
    feed(3, 0, 0, times=5)
    feed(0, 0, 0, times=3)
    closed = feed.seq - 1
    again = feed(3, 0, 0, times=40)
    assert [a.phase for a in again] == ["open"]
    assert again[0].ts - 1_700_000_000 == closed + 20


def test_a_new_normal_closes_with_its_reason(feed: Feed) -> None:
    feed(3, 0, 0, times=5)
    (alert,) = feed(0, 0, 0, accepted=[True, False, False])
    assert (alert.phase, alert.reason) == ("close", "accepted")


def test_a_channel_that_falls_silent_does_not_hold_its_incident_open_for_ever(feed: Feed) -> None:
    feed(3, 0, 0, times=5)
    gone = [np.nan, 1.0, 1.0]
    assert feed(0, 0, 0, times=59, value=gone) == []
    (alert,) = feed(0, 0, 0, value=gone)
    assert (alert.phase, alert.reason) == ("close", "missing")


def test_no_incident_opens_without_a_reading(feed: Feed) -> None:
    feed(3, 0, 0, times=5)
    gone = [np.nan, 1.0, 1.0]
    assert [a.reason for a in feed(3, 0, 0, times=300, value=gone)] == ["missing"]
    (alert,) = feed(3, 0, 0, times=5)  # readings are back, and still anomalous
    assert alert.phase == "open"


def test_silence_alone_is_not_recovery(feed: Feed) -> None:
    feed(3, 0, 0, times=5)
    feed(0, 0, 0, times=2)
    feed(0, 0, 0, times=30, value=[np.nan, 1.0, 1.0])
    assert feed.incidents.open


def test_stopping_closes_what_is_open() -> None:
    incidents = make()
    feed = Feed(incidents)
    feed(3, 0, 0, times=5)
    (alert,) = incidents.stop(Frame(9, 0, 1_700_000_009.0, np.zeros(3, np.float32)))
    assert (alert.phase, alert.reason) == ("close", "stopped")


def test_alerts_of_a_channel_still_being_learned_are_provisional() -> None:
    feed = Feed(make())
    (alert,) = feed(3, 0, 0, times=5, seen=500)
    assert alert.provisional


@pytest.mark.parametrize(
    ("strength", "severity"), [(1, "info"), (9.9, "info"), (10, "warning"), (99.9, "warning"), (100, "critical")]
)
def test_severity_says_how_much_rarer_it_is_than_needed_for_an_alert(
    feed: Feed, strength: float, severity: str
) -> None:
    (alert,) = feed(strength, 0, 0, times=5)
    assert alert.severity == severity


def test_many_weak_channels_are_no_severe_incident(feed: Feed) -> None:
    (alert,) = feed(6, 6, 6, times=5)
    assert (alert.strength, alert.severity) == (18.0, "info")


def test_what_was_learned_for_a_day_or_less_is_never_critical(feed: Feed) -> None:
    (alert,) = feed(1000, 0, 0, times=5, seen=500)
    assert (alert.provisional, alert.severity) == (True, "warning")


def test_a_pattern_that_no_single_reading_shows_is_said_as_such(feed: Feed) -> None:
    (alert,) = feed(3, 0, 0, times=5, value=[5.0, 5.0, 5.0])
    assert alert.summary == "cpu.percent shows an unusual pattern, last 5 % (expected 2 – 14 %)"


def test_a_clock_that_cannot_be_believed_is_said_with_every_message() -> None:
    incidents = Incidents(CHANNELS, AlertsConfig(), 1.0, node="n", model="m", instance="i", clock_synced=lambda: False)
    (alert,) = Feed(incidents)(4, 0, 0, times=5)
    assert not alert.clock_synced


def test_numbering_has_no_gaps(feed: Feed) -> None:
    seqs = []
    for _ in range(5):
        seqs += [a.seq for a in feed(3, 0, 0, times=30) + feed(0, 0, 0, times=30)]
    assert seqs == list(range(123, 123 + len(seqs)))
    assert len(seqs) >= 8


def test_with_a_long_interval_one_bad_tick_is_enough() -> None:
    incidents = Incidents(CHANNELS, AlertsConfig(), 300.0, node="n", model="m", instance="i")
    frame = Frame(0, 0, 0.0, np.zeros(3, np.float32))
    assert [a.phase for a in incidents.step(frame, verdict([4, 0, 0]))] == ["open"]


def test_with_a_long_interval_it_takes_three_quiet_readings_to_end_it() -> None:
    feed = Feed(Incidents(CHANNELS, AlertsConfig(), 300.0, node="n", model="m", instance="i"))
    assert [alert.phase for alert in feed(4, 0, 0)] == ["open"]
    assert feed(0, 0, 0, times=2) == []
    assert [alert.phase for alert in feed(0, 0, 0)] == ["close"]


def after_two(incidents: Incidents) -> Feed:
    """Feed of a node that has just sent two incidents: the next needs a strength of 4."""
    assert all(incidents.budget.admits(strength, 0.0) for strength in (1.0, 2.0))
    return Feed(incidents)


class TestBudget:
    """An incident suppressed by the budget publishes no message at all."""

    def test_the_first_incident_is_sent_however_weak_it_is(self) -> None:
        feed = Feed(make(budget_per_day=0.001))
        (opened,) = feed(1, 0, 0, times=10)
        assert (opened.phase, opened.strength) == ("open", 1.0)

    def test_an_incident_below_the_bar_is_held_back_wholly_and_can_be_read_afterwards(self) -> None:
        feed = after_two(make(budget_per_day=1))
        assert feed(2, 1.5, 0, times=40) + feed(0, 0, 0, times=10) == []
        assert feed.incidents.open == ()
        (held,) = feed.incidents.take_suppressed()
        assert (held.strength, held.channels) == (3.5, ("cpu.percent", "disk.write"))
        assert 3.9 < held.needed <= 4.0
        assert held.started == 1_700_000_000.0
        assert held.duration_s == 42
        assert held.summary.startswith("cpu.percent reached 88 %")
        assert feed.incidents.take_suppressed() == []

    def test_one_that_grows_past_the_bar_is_opened_then_with_its_true_beginning(self) -> None:
        feed = after_two(make(budget_per_day=1))
        assert feed(2, 0, 0, times=8) == []
        (opened,) = feed(2.5, 2, 0, times=10)  # only the sum of both passes
        assert (opened.phase, opened.reason, opened.strength) == ("open", "onset", 4.5)
        assert opened.started == 1_700_000_000.0
        assert opened.ts == 1_700_000_000.0 + 11
        assert [c.channel for c in opened.contributors] == ["cpu.percent", "disk.write"]
        (closed,) = feed(0, 0, 0, times=10)
        assert (closed.phase, closed.incident) == ("close", opened.incident)

    def test_what_is_held_back_takes_no_number(self) -> None:
        feed = after_two(make(budget_per_day=1))
        alerts = []
        for strength in (2, 5, 3, 9, 2, 30, 3, 60, 1.2):
            alerts += feed(strength, 0, 0, times=10) + feed(0, 0, 0, times=30)
        opened = [a for a in alerts if a.phase == "open"]
        assert [a.strength for a in opened] == [5, 9, 30, 60]
        assert [a.seq for a in alerts] == list(range(123, 131))
        assert [a.incident for a in opened] == [f"pi4-7f3a-{seq:06d}" for seq in (123, 125, 127, 129)]
        assert len(feed.incidents.take_suppressed()) == 5
        assert feed.incidents.count == 9

    def test_nothing_is_said_of_one_that_is_held_back_when_the_agent_stops(self) -> None:
        feed = after_two(make(budget_per_day=1))
        feed(2, 0, 0, times=10)
        assert feed.incidents.stop(Frame(11, 0, 1_700_000_011.0, np.zeros(3, np.float32))) == []
        assert len(feed.incidents.take_suppressed()) == 1

    def test_candidates_tell_what_any_other_budget_would_have_seen(self) -> None:
        feed = after_two(make(budget_per_day=1))
        feed(2, 1.5, 0, times=20)
        assert feed.incidents.candidates() == [(1, 3.5)]
        feed(0, 0, 0, times=10)
        assert feed.incidents.candidates() == []


class TestHardLimits:
    """A value beyond a hard limit opens an incident, regardless of the learned range."""

    CHANNELS = (Channel("disk.percent", "%", effect=2.0, alarm_above=95.0), Channel("oven", alarm_below=-5.0))

    def make(self, **alerts: Any) -> Incidents:
        config = AlertsConfig(**{"confirm_s": 5, "clear_s": 3, "cooldown_s": 20, "budget_per_day": 0.001, **alerts})
        return Incidents(self.CHANNELS, config, 1.0, node="n", model="m", instance="i")

    def run(self, incidents: Incidents, values: Any, strength: float = 0.0, start: int = 0, **more: Any) -> list[Alert]:
        alerts = []
        for frame in frames_of(values, start):
            alerts += incidents.step(frame, verdict([strength, 0.0], value=frame.values, **more))
        return alerts

    def test_it_is_sent_at_once_as_critical_while_learning_and_past_the_budget(self) -> None:
        (alert,) = self.run(after_two(self.make()).incidents, [[96, 0]] * 30, seen=0)
        assert (alert.phase, alert.reason, alert.severity) == ("open", "limit", "critical")
        assert alert.ts == 1_700_000_003.0  # four fifths of the confirm time
        assert alert.contributors[0].limit == 95
        assert alert.score >= alert.threshold
        assert "disk.percent 96 % (hard limit 95 %)" in alert.summary

    def test_both_ends_count_and_the_limit_itself(self) -> None:
        assert self.run(self.make(), [[94.9, -4.9]] * 30) == []
        assert [a.contributors[0].channel for a in self.run(self.make(), [[95, 0]] * 30)] == ["disk.percent"]
        assert [a.contributors[0].limit for a in self.run(self.make(), [[0, -5]] * 30)] == [-5]

    def test_one_reading_beyond_or_an_absurd_one_is_none(self) -> None:
        assert self.run(self.make(), [[50, 0]] * 9 + [[99, 0]] + [[50, 0]] * 9) == []
        assert self.run(self.make(), [[np.inf, 0]] * 30) == []
        assert self.run(self.make(), [[1e35, np.nan]] * 30) == []

    def test_it_lasts_until_the_value_is_clearly_back_and_does_not_flicker_around_the_limit(self) -> None:
        incidents = self.make()
        opened = self.run(incidents, [[96, 0]] * 9 + [[95.5 - (i % 6) / 4, 0] for i in range(291)])
        assert [a.phase for a in opened] == ["open"]
        closed = self.run(incidents, [[93.9, 0]] * 5, start=300)
        assert [(a.phase, a.reason) for a in closed] == [("close", "recovered")]

    def test_a_new_normal_does_not_end_it(self) -> None:
        incidents = self.make()
        alerts = self.run(incidents, [[97, 0]] * 10)
        alerts += self.run(incidents, [[97, 0]] * 10, start=10, accepted=[True, False])
        assert [a.phase for a in alerts] == ["open"]

    def test_a_held_back_incident_that_reaches_a_limit_is_sent(self) -> None:
        incidents = after_two(self.make()).incidents
        assert self.run(incidents, [[80, 0]] * 20, strength=2) == []
        (alert,) = self.run(incidents, [[96, 0]] * 20, strength=2, start=20)
        assert (alert.phase, alert.reason, alert.severity) == ("open", "limit", "critical")
        assert alert.started == 1_700_000_000.0

    def test_an_open_incident_that_reaches_a_limit_says_so(self) -> None:
        incidents = self.make(budget_per_day=1e9)
        alerts = self.run(incidents, [[80, 0]] * 20, strength=5) + self.run(
            incidents, [[96, 0]] * 20, strength=5, start=20
        )
        assert [(a.phase, a.reason) for a in alerts] == [("open", "onset"), ("update", "limit")]
        assert alerts[1].contributors[0].limit == 95

    def test_the_cool_down_of_another_incident_does_not_hold_it_back(self) -> None:
        incidents = self.make(budget_per_day=1e9, cooldown_s=1000)
        self.run(incidents, [[80, 0]] * 10, strength=5)
        self.run(incidents, [[50, 0]] * 10, start=10)
        assert [a.reason for a in self.run(incidents, [[96, 0]] * 10, start=20)] == ["limit"]


class TestKinds:
    """The summary names the first contributor's kind, corrected a minute later."""

    def feed(self, values: Any) -> list[Alert]:
        config = AlertsConfig(confirm_s=5, clear_s=3, budget_per_day=1e9)
        incidents = Incidents(CHANNELS[:1], config, 1.0, node="n", model="m", instance="i")
        alerts = []
        for frame in frames_of(np.array(values)[:, None]):
            alerts += incidents.step(frame, verdict([9.0 if abs(frame.values[0]) > 20 else 0.0], value=frame.values))
        return alerts

    def test_a_level_shift_looks_like_a_spike_first_and_is_revised(self) -> None:
        noise = np.random.default_rng(0).normal(0, 2, 400)
        noise[200:] += 50
        opened, revised = self.feed(noise)
        assert (opened.phase, opened.contributors[0].kind) == ("open", "spike")
        assert (revised.phase, revised.reason, revised.contributors[0].kind) == ("update", "revised", "level_shift")
        assert revised.summary.endswith(", level shift since 22:16:40 UTC")
        assert 59 <= revised.ts - opened.ts <= 61

    def test_a_broken_pattern_that_becomes_another_level_after_long_is_revised_then(self) -> None:
        config = AlertsConfig(confirm_s=5, clear_s=3, budget_per_day=1e9)
        feed = Feed(Incidents(CHANNELS[:1], config, 1.0, node="n", model="m", instance="i"))
        courses: list[Any] = [{}] * 100 + [{0: "pattern"}] * 500 + [{0: "level"}] * 100
        values = np.random.default_rng(0).normal(size=len(courses))
        found = [feed(9 if c else 0, value=[v], courses=c) for c, v in zip(courses, values, strict=True)]
        opened, revised = (alert for alerts in found for alert in alerts)
        assert (opened.contributors[0].kind, revised.contributors[0].kind) == ("pattern_break", "level_shift")
        assert revised.reason == "revised"

    def test_a_name_that_holds_is_not_sent_again(self) -> None:
        noise = np.random.default_rng(0).normal(0, 2, 400)
        noise[200:210] -= 50
        opened, closed = self.feed(noise)
        assert [a.contributors[0].kind for a in (opened, closed)] == ["drop", "drop"]
