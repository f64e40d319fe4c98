"""Shared fixtures: a real broker, a bundle, frames, a subscriber."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from agent.models import loader
from tests.support.agent_process import AgentProcess
from tests.support.paths import ROOT
from tests.support.subscriber import Subscriber
from tools.testing.mosquitto import Mosquitto, free_port, program
from training.optional_imports import settle_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from agent.models.bundle import Bundle


# Tests import it themselves, before a command could.
settle_tensorflow()

# An emulated processor is some fifty times slower.
hypothesis.settings.register_profile("emulated", max_examples=5, deadline=None)
# No deadline: the time of an example depends on the load of the machine.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


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


@pytest.fixture
def port_of_an_older_broker() -> Iterator[int]:
    """A broker that supports only MQTT 3.1.1."""
    port = free_port()
    command = [sys.executable, "-m", "tools.demo.embedded_broker", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as broker:
        assert broker.stdout
        broker.stdout.readline()
        yield port
        broker.terminate()


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    made: list[Subscriber] = []

    def make(port: int, **more: Any) -> Subscriber:
        made.append(Subscriber(port, **more))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()


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
    """A Python with tflite-runtime, in its own environment."""
    python = os.environ.get("TFLITE_PYTHON") or str(ROOT / ".venv-tflite" / "bin" / "python")
    if not Path(python).exists():
        pytest.skip("no environment with tflite-runtime (`make test` makes one where Python 3.10 or 3.11 is there)")
    return python


@pytest.fixture(scope="session")
def default_bundle() -> Bundle:
    return loader.load_builtin()
