"""A page for Prometheus: the numbers of ``health``, ``state`` and ``metrics`` in its text format, on loopback.

The loop shows the messages that it makes anyway; one thread serves the newest, to one reader at a time.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from agent.core.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.integrations.settings import PrometheusConfig
    from agent.messages.status import Health, Metrics, NodeState

__all__ = ["Page"]

_LOG = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_FAREWELL_S = 1.0

# Fields of `Health` that only grow, and those that go up and down.
_COUNTED = {
    "steps": "Frames judged.",
    "missed_ticks": "Ticks that came too late to be taken.",
    "invalid_readings": "Readings that were there but could not be used.",
    "dropped": "Alerts dropped because the outbox was full.",
    "reconnects": "Connections to the broker after the first.",
    "refused": "Times that the broker did not take an alert.",
    "discarded": "Messages from outside that were too large, or too many.",
    "snapshot_bytes": "Bytes written of what was learned.",
    "snapshot_failures": "Snapshots that could not be written.",
    "suppressed": "Incidents held back by the alert budget or a silence.",
}
_LEVELS = {
    "uptime_s": "Seconds since the agent started.",
    "clock_synced": "Whether the wall clock can be believed.",
    "outbox_depth": "Alerts that wait for the broker.",
    "outbox_durable": "Whether alerts survive the process.",
    "rss_mib": "Resident memory in MiB.",
}
_STATE = {
    "score": "Largest score of any channel, 0 to 1.",
    "state_score": "How unusual the node is as a whole, 0 to 1.",
    "learning_progress": "How much of the silent part of learning the farthest channel has done, 0 to 1.",
    "channels": "Channels watched.",
    "silenced": "Channels that raise no alerts now.",
}
_CHANNEL = {
    "value": "Newest reading.",
    "expected": "What the models expected.",
    "lower": "Lower end of the normal range.",
    "upper": "Upper end of the normal range.",
    "score": "How unusual the reading is, 0 to 1.",
    "progress": "How much of the silent part of learning is done, 0 to 1.",
    "anomalous": "Whether the channel is anomalous.",
}


class Page:
    """Serves what was shown last under ``/metrics``.

    Parameters
    ----------
    config
        The section ``prometheus``.

    Raises
    ------
    EnvironmentFault
        The library prometheus-client is missing, or the address cannot be listened on.
    """

    def __init__(self, config: PrometheusConfig) -> None:
        try:
            import prometheus_client  # noqa: PLC0415 - an extra, needed by those who configure it
            import prometheus_client.core  # noqa: PLC0415
        except ImportError as error:
            raise EnvironmentFault(
                "the library prometheus-client is not installed",
                location="$.prometheus",
                remedy="pip install 'edgewatch[prometheus]', or leave the section out",
            ) from error
        self._families = prometheus_client.core
        self._shown: tuple[Health, NodeState, Metrics] | None = None
        registry = prometheus_client.CollectorRegistry()
        registry.register(self)
        try:
            self._server = _Server(config)
        except OSError as error:
            raise EnvironmentFault(
                f"cannot listen there: {error.strerror or error}",
                location=f"$.prometheus: {config.address}:{config.port}",
                remedy="choose another port",
            ) from error
        self._server.set_app(prometheus_client.make_wsgi_app(registry))
        #: Where it listens.
        self.address = self._server.server_address[:2]
        self._thread = threading.Thread(target=self._server.serve_forever, name="prometheus", daemon=True)
        self._thread.start()

    def show(self, health: Health, state: NodeState, metrics: Metrics) -> None:
        """Serve these from now on; safe while the page is being read."""
        self._shown = (health, state, metrics)

    def close(self) -> None:
        """Stop serving, within a second whatever a reader does."""
        stopper = threading.Thread(target=self._server.shutdown, daemon=True)
        stopper.start()
        stopper.join(_FAREWELL_S)
        self._server.server_close()

    def collect(self) -> Iterator[Any]:
        """What is shown, as prometheus-client's metric families; called by its registry."""
        shown = self._shown
        if shown is None:
            return
        health, state, metrics = shown
        yield self._family("Info", "", "What runs here.", [({}, {"version": health.version, "model": health.model})])
        for name, text in _COUNTED.items():
            yield self._family("Counter", name, text, [({}, getattr(health, name))])
        failures = [({"source": source}, count) for source, count in health.source_failures.items()]
        yield self._family("Counter", "source_failures", "Readings that a source failed to give.", failures, ["source"])
        for name, text in _LEVELS.items():
            yield self._family("Gauge", name, text, [({}, getattr(health, name))])
        steps = [({"quantile": "0.5"}, health.step_ms_p50), ({"quantile": "0.99"}, health.step_ms_p99)]
        yield self._family("Gauge", "step_ms", "Milliseconds a step takes.", steps, ["quantile"])
        for name, text in _STATE.items():
            yield self._family("Gauge", name, text, [({}, getattr(state, name))])
        yield self._family("Gauge", "open_incidents", "Incidents open.", [({}, len(state.open_incidents))])
        for name, text in _CHANNEL.items():
            known = [({"channel": c}, getattr(metric, name)) for c, metric in metrics.channels.items()]
            yield self._family("Gauge", f"channel_{name}", text, known, ["channel"])

    def _family(
        self,
        kind: str,
        name: str,
        text: str,
        samples: list[tuple[dict[str, str], Any]],
        labels: list[str] | None = None,
    ) -> Any:
        family = getattr(self._families, f"{kind}MetricFamily")(
            f"edgewatch_{name}".rstrip("_"), text, labels=labels or []
        )
        for where, value in samples:
            if value is not None:
                family.add_metric(list(where.values()), value)
        return family


class _Handler(WSGIRequestHandler):
    """Says nothing of each request, and waits for no reader for long."""

    timeout = _PATIENCE_S

    def log_message(self, *args: object) -> None:
        del args


class _Server(WSGIServer):
    """Listens on exactly one address, without asking the DNS for its name."""

    def __init__(self, config: PrometheusConfig) -> None:
        if ipaddress.ip_address(config.address).version == 6:
            self.address_family = socket.AF_INET6
        super().__init__((config.address, config.port), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request
        _LOG.debug("prometheus: a reader at %s went away", client_address, exc_info=True)
