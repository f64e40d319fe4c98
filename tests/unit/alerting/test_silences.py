from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig, MaintenanceConfig, SilenceConfig, moment
from agent.alerting.silences import Silences, matching
from agent.config import loader
from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.core.frame import Frame
from agent.messages.command import LONGEST_S
from tests.support.verdicts import Feed, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.messages.alert import Alert

DISK = (Channel("disk.read"), Channel("disk.write"), Channel("load"))
WALL = 1_700_000_000.0  # as in the frames of test_incidents
NAMED = (Channel("cpu.percent", "%", alarm_above=95.0), Channel("disk.write", "B/s"), Channel("load"))


def frame(second: float, wall: float | None = None) -> Frame:
    return Frame(int(second), round(second * 1e9), WALL + second if wall is None else wall, np.zeros(3, np.float32))


def silenced(silences: Silences, at: Frame) -> list[list[bool]] | None:
    mask = silences.at(at)
    return None if mask is None else mask.tolist()


def parsed(text: str) -> AlertsConfig:
    return loader.parse(f"alerts:\n  {text}\n".encode(), "c.yaml").alerts


@pytest.fixture(params=["UTC", "Europe/Berlin"])
def zone(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_without_a_silence_nothing_is_asked_of_the_frame() -> None:
    assert Silences(DISK, AlertsConfig()).at(Frame(0, 0, float("nan"), None)) is None


def test_a_silence_by_command_ends_by_itself_whatever_the_wall_clock_does() -> None:
    silences = Silences(DISK, AlertsConfig())
    assert silences.add(["disk.*"], 60.0, now_ns=0) == 2
    assert silenced(silences, frame(59.9, wall=0.0)) == [[True, True, False], [False] * 3]
    assert silenced(silences, frame(59.9, wall=4e9)) == [[True, True, False], [False] * 3]
    assert silenced(silences, frame(60, wall=0.0)) is None


def test_the_latest_command_counts_for_each_channel() -> None:
    silences = Silences(DISK, AlertsConfig())
    silences.add(["*"], 3600.0, now_ns=0, include_limits=True)
    silences.add(["load"], 10.0, now_ns=0)
    assert silenced(silences, frame(5)) == [[True, True, True], [True, True, False]]
    assert silenced(silences, frame(11)) == [[True, True, False], [True, True, False]]
    assert silences.lift(["disk.read"]) == 1
    assert silenced(silences, frame(11)) == [[False, True, False], [False, True, False]]
    assert silences.lift(["*"]) == 3
    assert silenced(silences, frame(11)) is None


def test_no_command_silences_for_longer_than_thirty_days() -> None:
    silences = Silences(DISK, AlertsConfig())
    silences.add(["*"], 1e300, now_ns=0)
    assert silenced(silences, frame(LONGEST_S - 1)) is not None
    assert silenced(silences, frame(LONGEST_S)) is None


def test_a_pattern_that_matches_nothing_is_refused_and_changes_nothing() -> None:
    silences = Silences(DISK, AlertsConfig())
    with pytest.raises(UserError, match=r"no channel matches 'dsk\.\*'"):
        silences.add(["load", "dsk.*"], 60.0, now_ns=0)
    assert silences.at(frame(1)) is None


@given(st.text(max_size=40))
def test_no_pattern_does_anything_but_match_or_be_refused(pattern: str) -> None:
    try:
        assert matching([pattern], DISK).any()
    except UserError:
        assert pattern not in {channel.name for channel in DISK}


def test_a_pattern_made_to_be_slow_is_not() -> None:
    begin = time.perf_counter()
    with pytest.raises(UserError):
        matching(["*a" * 60 + "b"], [Channel("a" * 128)])
    assert time.perf_counter() - begin < 1.0


def test_what_remains_goes_on_in_another_process() -> None:
    silences = Silences(DISK, AlertsConfig())
    silences.add(["disk.read"], 60.0, now_ns=0, include_limits=True)
    silences.add(["load"], 20.0, now_ns=0)
    left = silences.remaining(15_000_000_000)
    assert left == {"disk.read": (45.0, 45.0), "load": (5.0, 0.0)}
    other = Silences((Channel("load"), Channel("new"), Channel("disk.read")), AlertsConfig())
    other.resume(left, now_ns=1_000_000_000)
    assert silenced(other, frame(5.9)) == [[True, False, True], [False, False, True]]
    assert silenced(other, frame(6.1)) == [[False, False, True], [False, False, True]]
    assert silenced(other, frame(46.1)) is None
    other.resume(left, now_ns=0, away_s=40.0)
    assert silenced(other, frame(4.9)) == [[False, False, True], [False, False, True]]
    assert silenced(other, frame(5.1)) is None


def test_a_configured_silence_holds_from_its_beginning_to_its_end() -> None:
    part = SilenceConfig(channels=("disk.*",), begin="2026-03-01T10:00:00Z", until="2026-03-01T12:00:00+01:00")
    silences = Silences(DISK, AlertsConfig(silences=(part,)))
    ten = moment("2026-03-01T10:00:00Z")
    assert [silences.at(frame(0, wall=ten + s)) is not None for s in (-1, 0, 3599, 3600)] == [False, True, True, False]
    for backwards in (3599, -1):
        assert (silences.at(frame(0, wall=ten + backwards)) is not None) is (backwards > 0)


def test_times_without_an_offset_are_local(zone: str) -> None:
    offset = {"UTC": 0, "Europe/Berlin": 2}[zone]
    assert moment("2026-07-01T12:00") == moment("2026-07-01T12:00:00Z") - offset * 3600
    assert moment("2026-07-01") == moment("2026-07-01T00:00")


def test_maintenance_comes_back_on_its_days_by_local_time(zone: str) -> None:
    part = MaintenanceConfig(days=("sun",), at="23:30", for_s=3600.0)
    silences = Silences(DISK, AlertsConfig(maintenance=(part,)))
    inside = []
    begin = moment("2026-07-01")  # a Wednesday
    for quarter in range(14 * 96):
        wall = begin + quarter * 900
        if silences.at(frame(0, wall=wall)) is not None:
            inside.append(time.strftime("%a %H:%M", time.localtime(wall)))
    assert inside == ["Sun 23:30", "Sun 23:45", "Mon 00:00", "Mon 00:15"] * 2
    # The wall clock decides, even after jumps.
    sunday = moment("2026-07-05T23:30")
    assert silences.at(frame(0, wall=sunday)) is not None
    assert silences.at(frame(0, wall=sunday - 3600)) is None
    assert silences.at(frame(0, wall=sunday - 7 * 86400)) is not None


def test_maintenance_lasts_as_long_as_it_says_when_clocks_are_put_forward(berlin: None) -> None:
    part = MaintenanceConfig(at="01:30", for_s=3600.0)
    silences = Silences(DISK, AlertsConfig(maintenance=(part,)))
    begin = moment("2026-03-29T01:30")  # at 02:00 the clock moves to 03:00
    assert [silences.at(frame(0, wall=begin + s)) is not None for s in (-1, 0, 3599, 3600)] == [
        False,
        True,
        True,
        False,
    ]
    assert time.strftime("%H:%M", time.localtime(begin + 3600)) == "03:30"


@pytest.mark.parametrize("wall", [float("nan"), float("inf"), -1e18, 1e18, -1e9, 0.0])
def test_a_wall_clock_that_is_in_no_calendar_harms_nothing(wall: float) -> None:
    part = MaintenanceConfig(at="00:00", for_s=60.0, days=("mon",))
    silences = Silences(DISK, AlertsConfig(maintenance=(part,), silences=(SilenceConfig(("*",), until="2020-01-01"),)))
    silences.at(frame(0, wall=wall))
    assert silences.at(frame(0, wall=moment("2026-07-06T00:00:30"))) is not None


def test_the_configuration_says_it_as_people_write_it() -> None:
    alerts = parsed(
        "silences: [{channels: ['disk.*'], from: 2026-12-24T18:00, until: 2026-12-27}]\n"
        "  maintenance: [{days: [sun], at: 02:00, for_s: 3600}]"
    )
    assert alerts.silences == (SilenceConfig(("disk.*",), until="2026-12-27", begin="2026-12-24T18:00"),)
    assert alerts.maintenance == (MaintenanceConfig(days=("sun",), at="02:00", for_s=3600.0, channels=("*",)),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("silences: [{channels: ['*']}]", "$.alerts.silences[0]: required key 'until' is missing"),
        ("silences: [{channels: ['*'], until: tomorrow}]", "$.alerts.silences[0]: 'tomorrow' is no ISO 8601 time"),
        ("silences: [{channels: ['*'], from: 2026-02-01, until: 2026-01-01}]", "is not after from '2026-02-01'"),
        ("silences: [{channels: [], until: 2026-01-01}]", "$.alerts.silences[0].channels: expected a list of 1 to"),
        ("maintenance: [{at: 25:00, for_s: 60}]", "$.alerts.maintenance[0].at: expected a text that matches"),
        (
            "maintenance: [{at: 02:00, for_s: 90000}]",
            "[0].for_s: expected a number above 0 and at most 86,400",
        ),
        ("maintenance: [{at: 02:00, for_s: 60, days: [sunday]}]", "$.alerts.maintenance[0].days[0]: expected one of"),
    ],
)
def test_a_silence_that_cannot_be_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parsed(text)
    assert told in str(caught.value)


def test_a_window_for_channels_that_are_not_there_is_said(caplog: pytest.LogCaptureFixture) -> None:
    Silences(DISK, AlertsConfig(silences=(SilenceConfig(("dsk.*",), until="2030-01-01"),)))
    assert "no channel matches 'dsk.*'" in caplog.text


class SilencedFeed(Feed):
    def __init__(self, **alerts: Any) -> None:
        settings: dict[str, Any] = {
            "confirm_s": 5,
            "clear_s": 3,
            "merge_s": 10,
            "cooldown_s": 20,
            "budget_per_day": 1e9,
            **alerts,
        }
        more: Any = {"node": "pi4", "model": "m", "instance": "7f3a", "next_seq": 1}
        super().__init__(Incidents(NAMED, AlertsConfig(**settings), 1.0, **more))

    def silence(self, *patterns: str, for_s: float = 1e6, include_limits: bool = False) -> None:
        now_ns = self.seq * 1_000_000_000
        self.incidents.silences.add(patterns, for_s, now_ns, include_limits=include_limits)

    def __call__(self, *strength: float, times: int = 1, **kwargs: Any) -> list[Alert]:
        alerts = []
        for _ in range(times):
            judged = verdict(strength, **kwargs)
            now = Frame(self.seq, self.seq * 1_000_000_000, WALL + self.seq, judged.value)
            alerts += self.incidents.step(now, judged)
            self.newest = now
            self.seq += 1
        return alerts


CALM, LOUD = [6.0, 6.0, 6.0], [88.0, 6.0, 6.0]


def test_an_anomaly_of_a_silenced_channel_is_held_back_with_that_reason() -> None:
    feed = SilencedFeed()
    feed.silence("cpu.*")
    assert feed(9, 0, 0, times=20, value=LOUD) + feed(0, 0, 0, times=10) == []
    assert feed.incidents.open == ()
    (held,) = feed.incidents.take_suppressed()
    assert (held.reason, held.channels, held.strength) == ("silenced", ("cpu.percent",), 9.0)
    assert feed.incidents.silenced == 1


def test_other_channels_are_heard_all_the_same_in_an_incident_of_their_own() -> None:
    feed = SilencedFeed()
    feed.silence("cpu.*")
    opened = feed(9, 0, 0, times=5) + feed(9, 3, 0, times=20)
    assert [(a.phase, [c.channel for c in a.contributors]) for a in opened] == [("open", ["disk.write"])]
    closed = feed(0, 0, 0, times=10)
    assert [a.phase for a in closed] == ["close"]
    assert [h.channels for h in feed.incidents.take_suppressed()] == [("cpu.percent",)]


def test_a_silenced_channel_does_not_join_what_is_heard() -> None:
    feed = SilencedFeed()
    feed.silence("load")
    assert [a.phase for a in feed(3, 0, 0, times=5) + feed(3, 0, 9, times=30)] == ["open"]
    assert len(feed.incidents.open) == 1
    assert feed.incidents.candidates() == [(1, 3.0)]


def test_an_open_incident_is_closed_in_spite_of_a_silence_and_not_updated() -> None:
    feed = SilencedFeed()
    (opened,) = feed(2, 0, 0, times=5)
    feed.silence("*")
    assert feed(9, 9, 0, times=60) == []
    (closed,) = feed(0, 0, 0, times=10)
    assert (closed.phase, closed.incident) == ("close", opened.incident)


def test_what_outlasts_its_silence_is_told_when_it_ends() -> None:
    feed = SilencedFeed()
    feed.silence("*", for_s=30.0)
    assert feed(5, 0, 0, times=30) == []
    (late,) = feed(5, 0, 0, times=10)
    assert (late.phase, late.reason) == ("open", "onset")
    assert late.ts - late.started == 30
    assert [a.phase for a in feed(0, 0, 0, times=5)] == ["close"]


def test_what_is_over_when_its_silence_ends_is_not_told() -> None:
    feed = SilencedFeed()
    feed.silence("*", for_s=30.0)
    assert feed(5, 0, 0, times=29) + feed(0, 0, 0, times=20) == []
    assert [h.reason for h in feed.incidents.take_suppressed()] == ["silenced"]


def test_a_silenced_incident_costs_the_budget_nothing() -> None:
    feed = SilencedFeed(budget_per_day=1.0)
    before = feed.incidents.budget.level
    feed.silence("*")
    for _ in range(3):
        feed(60, 0, 0, times=10)
        feed(0, 0, 0, times=40)
    assert feed.incidents.budget.level <= before


def test_hard_limits_are_heard_unless_silenced_by_name() -> None:
    full = [97.0, 6.0, 6.0]
    feed = SilencedFeed()
    feed.silence("*")
    (alert,) = feed(0, 0, 0, times=5, value=full)
    assert (alert.phase, alert.reason) == ("open", "limit")
    feed = SilencedFeed()
    feed.silence("*", include_limits=True)
    assert feed(0, 0, 0, times=20, value=full) + feed(0, 0, 0, times=20, value=CALM) == []
    assert [h.reason for h in feed.incidents.take_suppressed()] == ["silenced"]


def test_a_silenced_channel_that_reaches_its_limit_later_is_heard_then() -> None:
    feed = SilencedFeed()
    feed.silence("*")
    assert feed(5, 0, 0, times=10, value=LOUD) == []
    (alert,) = feed(5, 0, 0, times=10, value=[97.0, 6.0, 6.0])
    assert (alert.phase, alert.reason) == ("open", "limit")


def test_an_acknowledged_incident_says_so_once_and_then_only_that_it_is_over() -> None:
    feed = SilencedFeed()
    (opened,) = feed(2, 0, 0, times=5)
    (told,) = feed.incidents.acknowledge(f"{opened.id}.3", feed.newest)
    assert (told.phase, told.reason, told.incident, told.seq) == ("update", "acknowledged", opened.incident, 2)
    assert feed.incidents.acknowledge(opened.id, feed.newest) == []
    assert feed(9, 9, 0, times=60) == []
    assert [(a.phase, a.id) for a in feed(0, 0, 0, times=10)] == [("close", f"{opened.id}.2")]
    with pytest.raises(UserError, match="no open incident"):
        feed.incidents.acknowledge(opened.id, feed.newest)


def test_relearning_closes_what_is_open() -> None:
    feed = SilencedFeed()
    (opened,) = feed(2, 0, 0, times=5)
    (closed,) = feed.incidents.relearn(feed.newest, np.ones(3, bool))
    assert (closed.phase, closed.reason, closed.incident) == ("close", "relearned", opened.incident)
    assert feed.incidents.open == ()


def test_relearning_a_channel_leaves_incidents_of_others_open() -> None:
    feed = SilencedFeed()
    (opened,) = feed(2, 0, 0, times=5)
    assert feed.incidents.relearn(feed.newest, np.array([False, True, True])) == []
    assert feed.incidents.open == (opened.incident,)
    (closed,) = feed.incidents.relearn(feed.newest, np.array([True, False, False]))
    assert (closed.reason, closed.incident) == ("relearned", opened.incident)


@pytest.mark.parametrize("name", ["", "pi4-7f3a", "pi4-7f3a-00000", "\x00"])
def test_only_an_open_incident_that_was_sent_can_be_acknowledged(name: str) -> None:
    feed = SilencedFeed()
    feed(2, 0, 0, times=5)
    feed.silence("load")
    feed(2, 0, 9, times=20)
    with pytest.raises(UserError, match="no open incident"):
        feed.incidents.acknowledge(name, feed.newest)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.9, 1.2, 9.0]), st.sampled_from([0.0, 9.0]), st.integers(0, 9)), max_size=120
    ),
)
def test_whatever_is_silenced_every_open_has_its_close(course: list[tuple[float, float, int]]) -> None:
    feed = SilencedFeed(cooldown_s=5)
    alerts = []
    for first, second, act in course:
        if act == 0:
            feed.silence("cpu.*", for_s=15.0)
        if act == 1:
            feed.silence("*", for_s=8.0, include_limits=True)
        if act == 2:
            feed.incidents.silences.lift(["*"])
        alerts += feed(first, second, 0, times=3)
    alerts += feed(0, 0, 0, times=30)
    assert feed.incidents.open == ()
    phases: dict[str, list[str]] = {}
    for alert in alerts:
        phases.setdefault(alert.incident, []).append(alert.phase)
    assert all(p[0] == "open" and p[-1] == "close" and "open" not in p[1:] for p in phases.values())
    assert [a.seq for a in alerts] == list(range(1, len(alerts) + 1))
