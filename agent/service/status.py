"""Publishes ``state`` when it changes, and ``metrics``, ``health`` and ``digest`` at their intervals."""

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

# Seconds between `state` messages while nothing changes; chosen by hand, as a sign of life.
_STATE_INTERVAL_S = 60.0
# Seconds between checks for newly suppressed incidents; chosen by hand.
_DIGEST_INTERVAL_S = 60.0
# Seconds between updates of the Prometheus page; chosen by hand, below the usual scrape interval of 15 s.
_PAGE_INTERVAL_S = 5.0


class StatusReports:
    """Publishes state, metrics, health and digest, and updates the Prometheus page.

    Parameters
    ----------
    clock
        Source of time.
    health
        Composes the message ``health``.
    suppressed
        Incidents that the alert budget or a silence suppressed.
    """

    def __init__(self, clock: Clock, health: AgentHealth, suppressed: SuppressedIncidents) -> None:
        self._clock = clock
        self._health = health
        self._suppressed = suppressed
        self._timetable = Timetable(clock)
        self._status: Status = "learning"
        self._since = clock.wall()
        # Fields of the last `state` message; a change of one of them makes a new message due.
        self._published: tuple[object, ...] = ()
        self._digested: tuple[HeldBack, ...] = ()

    def summary(self, observed: Observation) -> str:
        """Describe the node in one line, for ``systemctl status``."""
        return f"{self._status}, open incidents: {len(observed.pipeline.incidents.open)}"

    def publish(self, observed: Observation, publisher: Publisher, page: Page | None, *, renewed: bool) -> None:
        """Publish the messages that have changed or are due.

        Parameters
        ----------
        observed
            The newest frame and its verdict.
        publisher
            The present connection to the broker.
        page
            The Prometheus page; None unless configured.
        renewed
            Whether to publish all retained messages again, as after a new connection.
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
        """Update the node's status; True if the message ``state`` is due."""
        status = status_messages.status_of(observed)
        if status != self._status:
            self._status, self._since = status, observed.frame.wall
        incidents = observed.pipeline.incidents
        published = (status, incidents.open, incidents.silenced)
        changed, self._published = published != self._published, published
        return self._timetable.is_due("state", _STATE_INTERVAL_S) or changed

    def _state(self, observed: Observation) -> NodeState:
        return status_messages.node_state(observed, self._status, self._since)
