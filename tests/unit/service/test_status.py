from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.alerting.suppressed import SuppressedIncidents
from agent.messages.alert import Digest, HeldBack
from agent.messages.status import Health, Metrics, NodeState
from agent.service.status import StatusReports
from agent.service.status_messages import AgentHealth
from agent.service.step_times import StepTimes

if TYPE_CHECKING:
    from tests.unit.service.conftest import Node


class Connection:
    """Fake publisher that records messages."""

    reconnects, refused, discarded = 1, 2, 3

    def __init__(self) -> None:
        self.messages: list[tuple[str, Any]] = []

    def publish(self, leaf: str, payload: Any, *, qos: int, retain: bool) -> None:
        assert (qos, retain) == {"state": (1, True), "metrics": (0, False)}.get(leaf, (0, True))
        self.messages.append((leaf, payload))

    def take(self) -> dict[str, Any]:
        taken, self.messages = dict(self.messages), []
        return taken


class Outbox:
    durable, dropped = True, 4


class Shown:
    """Fake Prometheus page that records its values."""

    def __init__(self) -> None:
        self.shown: list[tuple[Health, NodeState, Metrics]] = []

    def show(self, *messages: Any) -> None:
        self.shown.append(messages)  # type: ignore[arg-type]


class Reporter:
    """Status reports of one node, published to a list."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.connection: Any = Connection()
        self.suppressed = SuppressedIncidents()
        outbox: Any = Outbox()
        health = AgentHealth(node.clock, StepTimes(), outbox, node.delivery)  # type: ignore[arg-type]
        self.reports = StatusReports(node.clock, health, self.suppressed)

    def report(self, *, fault: bool = False, renewed: bool = False, page: Any = None) -> dict[str, Any]:
        self.observed = self.node.step(fault)
        self.reports.publish(self.observed, self.connection, page, renewed=renewed)
        taken: dict[str, Any] = self.connection.take()
        return taken


@pytest.fixture
def reporter(node: Node) -> Reporter:
    return Reporter(node)


def test_all_but_an_empty_digest_is_published_at_the_first_tick_and_then_at_its_own_pace(reporter: Reporter) -> None:
    published = [set(reporter.report()) for _ in range(61)]
    assert published[0] == {"state", "metrics", "health"}
    assert [tick for tick, leaves in enumerate(published) if "state" in leaves] == [0, 60]
    assert [tick for tick, leaves in enumerate(published) if "health" in leaves] == [0, 30, 60]
    assert [tick for tick, leaves in enumerate(published) if "metrics" in leaves] == list(range(0, 61, 2))


def test_an_incident_changes_the_state_at_once(reporter: Reporter) -> None:
    for _ in range(200):
        reporter.report()
    states = [message for _ in range(20) if (message := reporter.report(fault=True).get("state"))]
    assert [state.state for state in states] == ["anomalous"]
    assert len(states[0].open_incidents) == 1
    assert states[0].since == states[0].ts
    assert reporter.reports.summary(reporter.observed) == "anomalous, open incidents: 1"


def test_a_silence_changes_the_state_at_once(reporter: Reporter) -> None:
    reporter.report()
    assert "state" not in reporter.report()
    reporter.node.pipeline.incidents.silences.add(["*"], 60.0, reporter.node.clock.monotonic_ns())
    assert reporter.report()["state"].silenced == 2


def test_after_a_new_connection_all_that_is_retained_is_published_again(reporter: Reporter) -> None:
    reporter.report()
    reporter.report()
    assert set(reporter.report(renewed=True)) - {"metrics"} == {"state", "health", "digest"}


def test_the_digest_follows_when_an_incident_was_suppressed(reporter: Reporter) -> None:
    reporter.report()
    incident = HeldBack(0.0, 1.0, 0.5, 1.0, "b", ("simulated.1",))
    reporter.suppressed.add([incident], 0.0)
    digests = [message for _ in range(61) if (message := reporter.report().get("digest"))]
    assert [(type(digest), digest.suppressed, digest.incidents) for digest in digests] == [(Digest, 1, (incident,))]


def test_the_page_shows_health_state_and_metrics_every_five_seconds(reporter: Reporter) -> None:
    page = Shown()
    for _ in range(11):
        reporter.report(page=page)
    assert [tuple(map(type, shown)) for shown in page.shown] == [(Health, NodeState, Metrics)] * 3


def test_health_tells_of_deliveries_and_failures(reporter: Reporter) -> None:
    health = reporter.report()["health"]
    assert (health.reconnects, health.refused, health.discarded, health.dropped) == (1, 2, 3, 4)
    assert health.uptime_s == 0.0
    assert set(reporter.report(renewed=True)["health"].source_failures) == {"simulated"}
