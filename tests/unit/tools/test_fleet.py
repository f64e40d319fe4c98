"""The dashboard's fleet: stored messages, limits, and states of nodes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.messages.status import Metrics, NodeState
from tests.support.alerts import alert
from tests.support.metrics import metric
from tools.dashboard import fleet as module
from tools.dashboard.fleet import FIELDS, Fleet


class At:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> At:
    return At()


@pytest.fixture
def fleet(clock: At) -> Fleet:
    return Fleet("edgewatch", clock)


def state(word: Any = "normal", progress: float = 1.0) -> bytes:
    return msgspec.json.encode(NodeState(1, "pi4", word, 0.0, 0.0, 0.1, 0.1, 0.995, progress, False, 1, ()))


def metrics(ts: float, **scores: float) -> bytes:
    channels = {name: metric(score, anomalous=score > 0.995, value=10 * score) for name, score in scores.items()}
    return msgspec.json.encode(Metrics(1, "pi4", ts, int(ts), 0.1, 0.1, channels))


def said(**changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(alert(1), **changes))


def test_a_node_is_there_once_it_says_something_of_itself(fleet: Fleet) -> None:
    fleet.take("edgewatch/pi4/cmd", b'{"command": "reload"}')
    fleet.take("edgewatch/answers/me", b"{}")
    fleet.take("elsewhere/pi4/status", b"online")
    assert not fleet.nodes
    fleet.take("edgewatch/pi4/status", b"online")
    assert list(fleet.nodes) == ["pi4"]
    assert fleet.nodes["pi4"].standing == "unknown"
    fleet.take("edgewatch/pi4/state", state("learning", 0.4))
    assert (fleet.nodes["pi4"].standing, fleet.nodes["pi4"].progress) == ("learning", 0.4)


def test_a_node_that_says_goodbye_is_offline_and_one_that_is_removed_is_gone(fleet: Fleet) -> None:
    fleet.take("edgewatch/pi4/state", state())
    fleet.take("edgewatch/pi4/status", b"offline")
    assert fleet.nodes["pi4"].standing == "offline"
    fleet.take("edgewatch/pi4/status", b"online")
    assert fleet.nodes["pi4"].standing == "normal"
    fleet.take("edgewatch/pi4/status", b"")
    assert not fleet.nodes


def test_a_node_whose_metrics_stop_is_silent_until_they_come_again(fleet: Fleet, clock: At) -> None:
    fleet.take("edgewatch/pi4/state", state())
    for ts in (1.0, 3.0):
        fleet.take("edgewatch/pi4/metrics", metrics(ts, a=0.1))
        clock.s += 2.0
    assert fleet.nodes["pi4"].standing == "normal"
    clock.s += 5.1
    assert fleet.nodes["pi4"].standing == "silent"
    fleet.take("edgewatch/pi4/metrics", metrics(12.0, a=0.1))
    assert fleet.nodes["pi4"].standing == "normal"


def test_the_course_of_a_channel_is_what_was_said_of_it_oldest_first(fleet: Fleet) -> None:
    for ts in range(200):
        fleet.take("edgewatch/pi4/metrics", metrics(ts + 1.0, a=ts / 1000, **({"b": 0.999} if ts >= 150 else {})))
    course = fleet.nodes["pi4"].course
    times, rows = course.of("a")
    np.testing.assert_array_equal(times, np.arange(200) + 1.0)
    np.testing.assert_allclose(rows[FIELDS.index("value")], np.arange(200) / 100, rtol=1e-6)
    times, rows = course.of("b", after=148.0)
    assert np.isnan(rows[0][:2]).all()
    assert rows[FIELDS.index("anomalous")][2:].tolist() == [1.0] * 50
    assert course.of("c")[0].size == 0


def test_what_is_kept_has_a_bound(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_READINGS", 300)
    for ts in range(500):
        fleet.take("edgewatch/pi4/metrics", metrics(ts + 1.0, a=0.1, b=0.2))
    times, _ = fleet.nodes["pi4"].course.of("a")
    np.testing.assert_array_equal(times, np.arange(350, 500) + 1.0)
    for ts in range(500, 600):  # another channel makes room for fewer rows
        fleet.take("edgewatch/pi4/metrics", metrics(ts + 1.0, a=0.1, b=0.2, c=0.3))
    times, rows = fleet.nodes["pi4"].course.of("c")
    np.testing.assert_array_equal(times, np.arange(500, 600) + 1.0)
    assert np.isfinite(rows[0]).all()


def test_rows_that_come_again_or_late_do_not_count_but_a_clock_set_back_does(fleet: Fleet) -> None:
    for ts in (1000.0, 1001.0, 1001.0, 1000.5, 900.0, 901.0):
        fleet.take("edgewatch/pi4/metrics", metrics(ts, a=0.1))
    assert fleet.nodes["pi4"].course.of("a")[0].tolist() == [1000.0, 1001.0, 900.0, 901.0]


def test_incidents_open_change_and_close_and_a_message_that_comes_again_counts_once(fleet: Fleet) -> None:
    for message in (
        said(id="i", incident="i", phase="open", started=5.0),
        said(id="i", incident="i", phase="open", started=5.0),
        said(id="j", incident="j", phase="open", started=6.0),
        said(id="j.1", incident="j", phase="update", reason="acknowledged"),
    ):
        fleet.take("edgewatch/pi4/alert", message)
    node = fleet.nodes["pi4"]
    assert [(incident.name, incident.acknowledged) for incident in node.open] == [("j", True), ("i", False)]
    fleet.take("edgewatch/pi4/alert", said(id="i.1", incident="i", phase="close", ts=9.0))
    assert [incident.name for incident in node.open] == ["j"]
    assert (node.incidents["i"].opened, node.incidents["i"].closed) == (5.0, 9.0)


def test_channels_that_stand_out_come_first(fleet: Fleet) -> None:
    fleet.take("edgewatch/pi4/metrics", metrics(1.0, a=0.5, b=0.999, c=0.7, d=0.1))
    worst = fleet.nodes["pi4"].worst()
    assert [(each.channel, each.anomalous) for each in worst] == [("b", True), ("c", False), ("a", False)]


def test_more_nodes_than_the_bound_are_not_taken_in(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_NODES", 3)
    for index in range(10):
        fleet.take(f"edgewatch/n{index}/status", b"online")
    assert len(fleet.nodes) == 3


def test_names_are_shown_without_control_characters(fleet: Fleet) -> None:
    fleet.take("edgewatch/\x1b[2J<b>/status", b"online")
    assert [node.name for node in fleet.nodes.values()] == ["·[2J<b>"]


@given(
    leaf=st.sampled_from(["status", "state", "metrics", "health", "digest", "alert", "cmd", "x/y", ""]),
    payload=st.binary(max_size=60) | st.sampled_from([state(), metrics(1.0, a=0.1), said(), b"[" * 5000, b"online"]),
)
def test_nothing_that_arrives_raises(leaf: str, payload: bytes) -> None:
    shown = Fleet("edgewatch")
    for _ in range(2):
        shown.take(f"edgewatch/pi4/{leaf}", payload)
    for node in shown.nodes.values():
        assert node.standing
        node.worst()
