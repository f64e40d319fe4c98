"""A page for Prometheus: the numbers of ``health``, ``state`` and ``metrics`` in its text format, on loopback.

The sampling loop passes on messages that it composes anyway. A thread serves the newest ones to one reader at a time.
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

# Seconds for a reader to send its request; chosen by hand.
_PATIENCE_S = 5.0
# Seconds for the server to stop; chosen by hand.
_FAREWELL_S = 1.0

# Help texts by field: first the counters of `Health`, then its gauges, then those of `NodeState` and `ChannelMetric`.
_COUNTED = {
    "steps": "Frames judged.",
    "missed_ticks": "Missed ticks.",
    "invalid_readings": "Readings that were infinite or implausible.",
    "dropped": "Alerts dropped because the outbox was full or they were too old.",
    "reconnects": "Connections to the broker after the first.",
    "refused": "Times that the broker refused an alert.",
    "discarded": "Received messages that were too large, or too many.",
    "snapshot_bytes": "Bytes of snapshots written.",
    "snapshot_failures": "Snapshots that could not be written.",
    "suppressed": "Incidents suppressed by the alert budget or a silence.",
}
_LEVELS = {
    "uptime_s": "Seconds since the agent started.",
    "clock_synced": "Whether the wall clock is synchronised.",
    "outbox_depth": "Alerts that wait for the broker.",
    "outbox_durable": "Whether alerts are on disk and survive the process.",
    "rss_mib": "Resident memory in MiB.",
}
_STATE = {
    "score": "Largest score of any channel, 0 to 1.",
    "state_score": "Anomaly score of the whole node, 0 to 1.",
    "learning_progress": "Learning progress of the most advanced channel, 0 to 1.",
    "channels": "Monitored channels.",
    "silenced": "Silenced channels.",
}
_CHANNEL = {
    "value": "Newest reading.",
    "expected": "Expected value.",
    "lower": "Lower end of the normal range.",
    "upper": "Upper end of the normal range.",
    "score": "Anomaly score of the reading, 0 to 1.",
    "progress": "Learning progress, 0 to 1.",
    "anomalous": "Whether the channel is anomalous.",
}


class Page:
    """Serves the newest messages as metrics under ``/metrics``, in its own thread.

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
            import prometheus_client  # noqa: PLC0415 - an extra, needed only if configured
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
                remedy="choose another port, or an address of this machine",
            ) from error
        self._server.set_app(prometheus_client.make_wsgi_app(registry))
        #: Address and port on which it listens.
        self.address = self._server.server_address[:2]
        self._thread = threading.Thread(target=self._server.serve_forever, name="prometheus", daemon=True)
        self._thread.start()

    def show(self, health: Health, state: NodeState, metrics: Metrics) -> None:
        """Serve these messages; safe while the page is being read."""
        self._shown = (health, state, metrics)

    def close(self) -> None:
        """Stop serving; takes at most a second."""
        stopper = threading.Thread(target=self._server.shutdown, daemon=True)
        stopper.start()
        stopper.join(_FAREWELL_S)
        self._server.server_close()

    def collect(self) -> Iterator[Any]:
        """Yield the metric families of the newest messages; called by prometheus-client's registry."""
        shown = self._shown
        if shown is None:
            return
        health, state, metrics = shown
        yield self._family(
            "Info",
            "",
            "Version of the agent, and name of its model.",
            [({}, {"version": health.version, "model": health.model})],
        )
        for name, text in _COUNTED.items():
            yield self._family("Counter", name, text, [({}, getattr(health, name))])
        failures = [({"source": source}, count) for source, count in health.source_failures.items()]
        yield self._family("Counter", "source_failures", "Failed and late readings.", failures, ["source"])
        for name, text in _LEVELS.items():
            yield self._family("Gauge", name, text, [({}, getattr(health, name))])
        steps = [({"quantile": "0.5"}, health.step_ms_p50), ({"quantile": "0.99"}, health.step_ms_p99)]
        yield self._family("Gauge", "step_ms", "Duration of a step in milliseconds.", steps, ["quantile"])
        for name, text in _STATE.items():
            yield self._family("Gauge", name, text, [({}, getattr(state, name))])
        yield self._family("Gauge", "open_incidents", "Open incidents.", [({}, len(state.open_incidents))])
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
        for label_values, value in samples:
            if value is not None:
                family.add_metric(list(label_values.values()), value)
        return family


class _Handler(WSGIRequestHandler):
    """Logs no requests, and waits for a reader at most five seconds."""

    timeout = _PATIENCE_S

    def log_message(self, *args: object) -> None:
        del args


class _Server(WSGIServer):
    """Listens on one address, without a DNS look-up of its name."""

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
        _LOG.debug("prometheus: the connection to the reader %s failed", client_address, exc_info=True)
