"""Publishes how the node is: the state as soon as it changes, everything else at its own pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.service import status_messages
from agent.service.timetable import Timetable

if TYPE_CHECKING:
    from agent.alerting.suppressed import SuppressedIncidents
    from agent.core.clock import Clock
    from agent.delivery.publisher import Publisher
    from agent.integrations.prometheus import Page
    from agent.messages.alert import HeldBack
    from agent.messages.status import NodeState, Status
    from agent.service.status_messages import AgentHealth, Observation

__all__ = ["StatusReports"]

# Seconds between two `state` messages while nothing changes: a subscriber sees within a minute that the node lives.
_STATE_INTERVAL_S = 60.0
# Seconds between two looks at the suppressed incidents; they change with the end of an incident at most.
_DIGEST_INTERVAL_S = 60.0
# Seconds between two updates of the page for Prometheus, which is usually scraped every 15 s.
_PAGE_INTERVAL_S = 5.0


class StatusReports:
    """Publishes state, metrics, health and digest, and shows them on the page for Prometheus.

    Parameters
    ----------
    clock
        Source of time.
    health
        Composes the message about the agent itself.
    suppressed
        Incidents that the alert budget or a silence held back.
    """

    def __init__(self, clock: Clock, health: AgentHealth, suppressed: SuppressedIncidents) -> None:
        self._clock = clock
        self._health = health
        self._suppressed = suppressed
        self._timetable = Timetable(clock)
        self._status: Status = "learning"
        self._since = clock.wall()
        # Parts of the last `state` message that make it worth a new one when they change.
        self._published: tuple[object, ...] = ()
        self._digested: tuple[HeldBack, ...] = ()

    def summary(self, observed: Observation) -> str:
        """Describe the node in one line, for the service manager."""
        return f"{self._status}, open incidents: {len(observed.pipeline.incidents.open)}"

    def publish(self, observed: Observation, publisher: Publisher, page: Page | None, *, renewed: bool) -> None:
        """Publish what has changed or is due.

        Parameters
        ----------
        observed
            The newest frame and its verdict.
        publisher
            The present connection to the broker.
        page
            The page for Prometheus, if there is one.
        renewed
            Whether everything retained has to be published again, as after a new connection.
        """
        mqtt = observed.config.mqtt
        if self._update(observed) or renewed:
            publisher.publish("state", self._state(observed), qos=1, retain=True)
        if mqtt.metrics_interval_s and self._timetable.is_due("metrics", mqtt.metrics_interval_s):
            publisher.publish("metrics", status_messages.metrics(observed), qos=0, retain=False)
        if self._timetable.is_due("health", mqtt.health_interval_s) or renewed:
            health = self._health.message(observed, publisher, self._suppressed.count)
            publisher.publish("health", health, qos=0, retain=True)
        if self._timetable.is_due("digest", _DIGEST_INTERVAL_S) or renewed:
            strongest = self._suppressed.strongest(self._clock.monotonic_ns() / 1e9)
            if strongest != self._digested or renewed:
                self._digested = strongest
                message = status_messages.digest(observed, self._suppressed.count, strongest)
                publisher.publish("digest", message, qos=0, retain=True)
        if page is not None and self._timetable.is_due("page", _PAGE_INTERVAL_S):
            health = self._health.message(observed, publisher, self._suppressed.count)
            page.show(health, self._state(observed), status_messages.metrics(observed))

    def _update(self, observed: Observation) -> bool:
        """Take in the node's status; True when the message ``state`` is due."""
        status = status_messages.status_of(observed)
        if status != self._status:
            self._status, self._since = status, observed.frame.wall
        incidents = observed.pipeline.incidents
        published = (status, incidents.open, incidents.silenced)
        changed, self._published = published != self._published, published
        return self._timetable.is_due("state", _STATE_INTERVAL_S) or changed

    def _state(self, observed: Observation) -> NodeState:
        return status_messages.node_state(observed, self._status, self._since)
