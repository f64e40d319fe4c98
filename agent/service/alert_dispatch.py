"""Hands alerts to delivery, and collects suppressed incidents for the digest."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.alerting.suppressed import SuppressedIncidents
    from agent.core.clock import Clock
    from agent.delivery.worker import DeliveryWorker
    from agent.messages.alert import Alert
    from agent.service.pipeline import Pipeline

__all__ = ["AlertDispatch"]

_LOG = logging.getLogger(__name__)


class AlertDispatch:
    """Passes on the outcome of incidents: alerts to the outbox, suppressed ones to the digest.

    Parameters
    ----------
    delivery
        The worker that commits and sends alerts.
    suppressed
        Collects incidents that the alert budget or a silence suppressed.
    clock
        Source of time.
    """

    def __init__(self, delivery: DeliveryWorker, suppressed: SuppressedIncidents, clock: Clock) -> None:
        self._delivery = delivery
        self._suppressed = suppressed
        self._clock = clock

    def send(self, alerts: Sequence[Alert], pipeline: Pipeline) -> None:
        """Hand alerts to the outbox together with the state of their incidents, and log them."""
        if not alerts:
            return
        self._delivery.put(alerts, pipeline.packed())
        for alert in alerts:
            _LOG.info("%s %s %s: %s", alert.phase, alert.severity, alert.id, alert.summary)

    def collect_suppressed(self, pipeline: Pipeline) -> None:
        """Collect and log the incidents that were suppressed since the last call."""
        suppressed = pipeline.incidents.take_suppressed()
        if suppressed:
            self._suppressed.add(suppressed, self._clock.monotonic_ns() / 1e9)
        for incident in suppressed:
            text = "suppressed, strength %.3g of %.3g needed: %s"
            _LOG.info(text, incident.strength, incident.needed, incident.summary)

    def close_incidents(self, pipeline: Pipeline) -> None:
        """Close every open incident of a pipeline that will not be continued."""
        if pipeline.frame is not None:
            self.send(pipeline.incidents.stop(pipeline.frame), pipeline)
            self.collect_suppressed(pipeline)
