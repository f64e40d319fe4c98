from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.config import AlertsConfig
from agent.incidents import Incidents
from agent.types import Alert, Channel, Frame, Verdict

CHANNELS = (Channel("cpu.percent", "%"), Channel("disk.write", "B/s"), Channel("load"))


def make(**alerts: Any) -> Incidents:
    config = AlertsConfig(**{"confirm_s": 5, "clear_s": 3, "merge_s": 10, "cooldown_s": 20, **alerts})
    return Incidents(CHANNELS, config, 1.0, node="pi4", model="default@1.0.0", instance="7f3a", next_seq=123)


def verdict(strength: Any, value: Any = None, accepted: Any = None, seen: float = 1e9) -> Verdict:
    strengths = np.array(strength, float)
    n = strengths.size
    return Verdict(
        value=np.array([88.0] * n if value is None else value, np.float32),
        outlook=np.array([[6.1] * n, [5.0] * n, [7.0] * n]),
        limits=(np.full(n, -4.1), np.full(n, 7.9)),
        in_units=lambda scaled: scaled,
        strength=strengths,
        anomalous=strengths >= 1,
        accepted=np.zeros(n, bool) if accepted is None else np.array(accepted),
        seen=np.full(n, seen),
        learning_rows=100,
        provisional_rows=1000,
        state_score=0.0,
        errors=np.full((2, n), np.nan),
    )


class Feed:
    def __init__(self, incidents: Incidents) -> None:
        self.incidents = incidents
        self.seq = 0

    def __call__(self, *strength: float, times: int = 1, **kwargs: Any) -> list[Alert]:
        alerts = []
        for _ in range(times):
            frame = Frame(self.seq, 0, 1_700_000_000.0 + self.seq, np.zeros(3, np.float32))
            alerts += self.incidents.step(frame, verdict(strength, **kwargs))
            self.seq += 1
        return alerts


@pytest.fixture
def feed() -> Feed:
    return Feed(make())


def test_one_bad_tick_is_no_incident(feed: Feed) -> None:
    assert feed(0, 0, 0, times=10) + feed(9, 0, 0, times=3) + feed(0, 0, 0, times=10) == []


def test_four_of_five_bad_ticks_open_an_incident(feed: Feed) -> None:
    feed(0, 0, 0, times=10)
    (alert,) = feed(3, 0, 0, times=2) + feed(0, 0, 0) + feed(3, 0, 0, times=2)
    assert (alert.phase, alert.reason, alert.severity) == ("open", "onset", "warning")
    assert (alert.id, alert.seq, alert.incident) == ("pi4-7f3a-000123", 123, "pi4-7f3a-000123")
    assert alert.ts - alert.started == 4  # the excursion began with its first bad tick
    assert alert.contributors[0].channel == "cpu.percent"
    assert alert.contributors[0].share == 1.0
    assert alert.summary == "cpu.percent 88 % (expected 2 – 14 %)"
    assert alert.score >= alert.threshold


def test_it_closes_when_quiet_for_long_enough_and_not_before(feed: Feed) -> None:
    feed(3, 0, 0, times=5)
    assert feed(0.9, 0, 0, times=20) == []  # within limits, but not clearly
    assert feed(0.1, 0, 0, times=2) == []
    (alert,) = feed(0.1, 0, 0)
    assert (alert.phase, alert.reason, alert.seq) == ("close", "recovered", 124)
    assert alert.id == "pi4-7f3a-000123.1"
    assert alert.incident == "pi4-7f3a-000123"
    assert alert.duration_s == 27
    assert "reached 88 %" in alert.summary
    assert feed.incidents.open == ()


def test_channels_that_go_wrong_together_are_one_incident(feed: Feed) -> None:
    opened = feed(3, 0, 0, times=5) + feed(3, 6, 0, times=20)
    assert [a.phase for a in opened] == ["open", "update"]
    assert opened[1].reason == "joined"
    assert [c.channel for c in opened[1].contributors] == ["disk.write", "cpu.percent"]
    assert [c.share for c in opened[1].contributors] == [pytest.approx(0.667), pytest.approx(0.333)]
    assert opened[1].severity == "critical"
    assert "and 1 more" in opened[1].summary
    assert len(feed(0, 0, 0, times=10)) == 1


def test_a_channel_that_goes_wrong_much_later_is_an_incident_of_its_own(feed: Feed) -> None:
    feed(3, 0, 0, times=30)
    (second,) = feed(3, 3, 0, times=5)
    assert second.phase == "open"
    assert second.incident == "pi4-7f3a-000124"
    assert feed.incidents.open == ("pi4-7f3a-000123", "pi4-7f3a-000124")


def test_a_worse_turn_is_told_once_and_not_more_often_than_the_pause(feed: Feed) -> None:
    feed(2, 0, 0, times=5)
    updates = feed(9, 0, 0, times=40)
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


def test_a_pattern_that_no_single_reading_shows_is_said_as_such(feed: Feed) -> None:
    (alert,) = feed(3, 0, 0, times=5, value=[5.0, 5.0, 5.0])
    assert alert.summary == "cpu.percent shows an unusual pattern, last 5 % (expected 2 – 14 %)"


def test_a_clock_that_cannot_be_believed_is_said_with_every_message() -> None:
    incidents = Incidents(CHANNELS, AlertsConfig(), 1.0, node="n", model="m", instance="i", clock_synced=lambda: False)
    (alert,) = Feed(incidents)(3, 0, 0, times=5)
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
    assert [a.phase for a in incidents.step(frame, verdict([3, 0, 0]))] == ["open"]
