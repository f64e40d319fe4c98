from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.alerting.settings import AlertsConfig
from agent.alerting.suppressed import SuppressedIncidents
from agent.config.schema import Config
from agent.core.clock import ManualClock
from agent.core.frame import Frame
from agent.detection.settings import DetectionConfig
from agent.mqtt.settings import MqttConfig
from agent.service.alert_dispatch import AlertDispatch
from agent.service.pipeline import Pipeline
from agent.service.status_messages import Observation
from agent.sources.simulated import SimulatedConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agent.messages.alert import Alert
    from agent.models.bundle import Bundle

# Value of an anomalous channel; normal values are 50 ± 1.
FAULT = 110.0


class Delivery:
    """Fake delivery worker that records alerts and runs jobs at once."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.publishers: list[Any] = []
        self.depth = 0

    def put(self, alerts: Sequence[Alert], incidents: bytes) -> None:
        assert incidents
        self.alerts += alerts

    def do(self, job: Callable[[], None]) -> None:
        job()

    def wake(self) -> None:
        pass

    def change_publisher(self, publisher: Any) -> None:
        self.publishers.append(publisher)


class Node:
    """A pipeline of two channels; the test supplies every frame."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.bundle = bundle
        self.config = Config(
            node="pi4",
            state_dir=str(folder),
            sources=(SimulatedConfig("simulated", channels=2),),
            detection=DetectionConfig(block_s=1.0),
            alerts=AlertsConfig(learning_s=0, confirm_s=3, budget_per_day=24.0),
            mqtt=MqttConfig(metrics_interval_s=2.0, health_interval_s=30.0),
        )
        self.clock = ManualClock()
        self.delivery = Delivery()
        self.suppressed = SuppressedIncidents()
        self.dispatch = AlertDispatch(self.delivery, self.suppressed, self.clock)  # type: ignore[arg-type]
        self.pipeline = Pipeline(self.config, [bundle], self.clock, self.delivery, "7f3a")  # type: ignore[arg-type]
        self._rng = np.random.default_rng(1)
        self._seq = 0

    def step(self, fault: bool = False) -> Observation:
        """Judge one frame, a second after the one before, and dispatch its alerts."""
        if self._seq:
            self.clock.now_ns += 10**9
        values = self._rng.normal((FAULT if fault else 50, 20), 1.0).astype(np.float32)
        frame = Frame(self._seq, self.clock.monotonic_ns(), self.clock.wall(), values)
        self.pipeline.frame = frame
        self._seq += 1
        verdict, alerts = self.pipeline.judge(frame)
        self.dispatch.send(alerts, self.pipeline)
        return Observation(self.config, self.pipeline, frame, verdict)

    def steps(self, count: int, fault: bool = False) -> Observation:
        """Judge several frames; return the last."""
        return [self.step(fault) for _ in range(count)][-1]


@pytest.fixture
def node(default_bundle: Bundle, tmp_path: Path) -> Node:
    return Node(tmp_path, default_bundle)
