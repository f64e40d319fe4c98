"""What tests share: a real broker, a bundle, frames, a subscriber."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent import bundle
from agent.config import (
    DspotThreshold,
    LikelihoodThreshold,
    MadThreshold,
    MeanStdThreshold,
    PercentileThreshold,
    RangeThreshold,
    SpotThreshold,
)
from tools.torture.mosquitto import Mosquitto, program
from training.extras import settle_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
#: Every threshold that a config can name, those that calibrate with little to do so.
THRESHOLDS = (
    RangeThreshold(),
    MeanStdThreshold(),
    PercentileThreshold(),
    MadThreshold(),
    LikelihoodThreshold(),
    SpotThreshold(calibration_rows=100),
    DspotThreshold(calibration_rows=100),
)
# Tests import it themselves, before a command could.
settle_tensorflow()

# An emulated processor is some fifty times slower.
hypothesis.settings.register_profile("emulated", max_examples=5, deadline=None)
# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "the condition") -> Any:
    """Poll until the condition gives something true; fail loudly otherwise."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"waited {timeout_s} s in vain for {what}")


@pytest.fixture(scope="session")
def mosquitto_available() -> None:
    if program() is None:
        pytest.skip("mosquitto is not installed (apt install mosquitto)")


@pytest.fixture
def make_mosquitto(mosquitto_available: None, tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    made: list[Mosquitto] = []

    def make(*lines: str) -> Mosquitto:
        folder = tmp_path / f"broker{len(made)}"
        folder.mkdir()
        made.append(Mosquitto(folder, lines or ("allow_anonymous true",)))
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def broker(make_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    return make_mosquitto()


class Subscriber:
    """Collects every message below a prefix, and says something itself."""

    def __init__(
        self, port: int, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5, prefix: str = "edgewatch"
    ) -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self._prefix = prefix
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=version)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _userdata, message: self.messages.append(message)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"{self._prefix}/#", qos=1)

    def say(self, topic: str, payload: bytes, *, retain: bool = False, **properties: Any) -> None:
        asked = None
        if properties:
            asked = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(asked, name, value)
        self._client.publish(topic, payload, qos=1, retain=retain, properties=asked).wait_for_publish(10)

    def on(self, leaf: str) -> list[mqtt.MQTTMessage]:
        return [message for message in tuple(self.messages) if message.topic.endswith(f"/{leaf}")]

    def json(self, leaf: str) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.on(leaf)]

    def texts(self, leaf: str) -> list[str]:
        return [message.payload.decode() for message in self.on(leaf)]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    made: list[Subscriber] = []

    def make(port: int, **more: Any) -> Subscriber:
        made.append(Subscriber(port, **more))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()


class AgentProcess:
    """The daemon as a user runs it."""

    def __init__(self, config: Path, *arguments: str) -> None:
        self.log = config.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "run", "--config", str(config), *arguments],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def words(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def end(self, timeout_s: float = 5.0) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout_s)


@pytest.fixture
def run_agent() -> Iterator[Callable[..., AgentProcess]]:
    made: list[AgentProcess] = []

    def run(config: Path, *arguments: str) -> AgentProcess:
        made.append(AgentProcess(config, *arguments))
        return made[-1]

    yield run
    for agent in made:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


@pytest.fixture(scope="session")
def tflite_python() -> str:
    """A Python with tflite-runtime, which needs an environment of its own."""
    python = os.environ.get("TFLITE_PYTHON") or str(ROOT / ".venv-tflite" / "bin" / "python")
    if not Path(python).exists():
        pytest.skip("no environment with tflite-runtime (`make test` makes one where Python 3.10 or 3.11 is there)")
    return python


@pytest.fixture(scope="session")
def default_bundle() -> bundle.Bundle:
    return bundle.load_builtin()
