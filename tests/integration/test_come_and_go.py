"""Channels that appear and disappear at run time do not affect the others, and survive a restart."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.alerting.settings import AlertsConfig
from agent.config.schema import Config
from agent.core.clock import ManualClock
from agent.core.frame import Frame
from agent.detection.settings import DetectionConfig
from agent.sampling.recorder import Recorder
from agent.sampling.recording import read, segments
from agent.service.pipeline import Pipeline
from agent.sources.simulated import SimulatedConfig
from agent.sources.stream import StreamConfig
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.messages.alert import Alert
    from agent.models.bundle import Bundle


class Writer:
    def do(self, job: Callable[[], None]) -> None:
        job()


class Node:
    """A pipeline with a simulated channel and a stream; the test supplies every frame."""

    def __init__(self, folder: Path, bundle: Bundle, **stream: Any) -> None:
        keys = {"type": "stream", "listen": f"unixgram://{folder}/in", "max_channels": 4, "stale_s": 1e6, **stream}
        config = Config(
            node="pi4",
            state_dir=str(folder / "state"),
            sources=(SimulatedConfig("simulated", channels=1), StreamConfig(**keys)),
            detection=DetectionConfig(block_s=1.0),
            alerts=AlertsConfig(learning_s=0, confirm_s=3, budget_per_day=24.0),
        )
        (folder / "state").mkdir(exist_ok=True)
        self.clock = ManualClock()
        self.watch = Pipeline(config, [bundle], self.clock, Writer(), "7f3a")  # type: ignore[arg-type]
        self.watch.resume(1, None)
        self.source: Any = self.watch.sampler.sources[1]
        self.rng = np.random.default_rng(1)
        self.told: list[Alert] = []
        self.seq = self.watch.sampler.first_seq

    def says(self, **readings: float) -> None:
        self.source._arrivals.take([(name.replace("_", "."), value) for name, value in readings.items()])

    def step(self, times: int = 1, **readings: float) -> Any:
        for _ in range(times):
            self.says(**{name: value + self.rng.normal() for name, value in readings.items()})
            values, _ = self.watch.sampler._read(self.seq)
            frame = Frame(self.seq, self.seq * 10**9, 1.7e9 + self.seq, values)
            self.seq += 1
            self.told += self.watch.settle(frame)
            verdict, alerts = self.watch.judge(frame)
            self.told += alerts
        return verdict

    def names(self) -> list[str]:
        return [channel.name for channel in self.watch.sampler.channels]

    def close(self) -> None:
        self.watch.sampler.close()


@pytest.fixture
def make(tmp_path: Path, default_bundle: Bundle) -> Iterator[Callable[..., Node]]:
    made = []

    def one(**stream: Any) -> Node:
        made.append(Node(tmp_path, default_bundle, **stream))
        return made[-1]

    yield one
    for node in made:
        node.close()


def test_a_channel_that_appears_learns_and_is_watched_and_the_others_go_on(make: Any) -> None:
    node = make()
    assert node.names() == ["simulated.1", "", "", "", ""]
    node.step(200)
    node.step(200, oven=180.0)
    verdict = node.step(1, oven=180.0, attic=20.0)
    assert node.names() == ["simulated.1", "oven", "attic", "", ""]
    assert verdict.progress().round(2).tolist() == [1.0, 1.0, 0.01, 0.0, 0.0]
    node.step(200, oven=180.0, attic=20.0)
    before = len(node.told)
    node.step(20, oven=180.0, attic=80.0)
    opened = node.told[before]
    assert opened.contributors[0].channel == "attic"
    assert opened.contributors[0].value == pytest.approx(80.0, abs=4.0)


def test_readings_by_a_socket_become_channels(make: Any, tmp_path: Path) -> None:
    node = make()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
        writer.sendto(b"boiler,room=attic t=21.5", f"{tmp_path}/in")
    wait_for(lambda: node.source.channels[0].name, what="the reading")
    node.step()
    assert node.names()[1] == "boiler.attic.t"


def test_a_channel_that_is_gone_closes_its_incident_and_leaves_nothing_to_its_successor(make: Any) -> None:
    now = 0.0
    node = make(forget_s=100, max_channels=1)
    node.source._arrivals._clock = lambda: now
    node.source._arrivals._searched_at = now
    node.step(200, oven=180.0)
    node.step(10, oven=280.0)
    assert [alert.phase for alert in node.told] == ["open"]
    now = 200.0
    node.step(2)
    assert [(alert.phase, alert.reason) for alert in node.told[1:]] == [("close", "missing")]
    assert node.names() == ["simulated.1", ""]
    verdict = node.step(1, attic=20.0)
    assert node.names() == ["simulated.1", "attic"]
    assert verdict.progress()[1] == pytest.approx(0.01)
    node.step(150, attic=20.0)
    assert all(alert.contributors[0].value < 100.0 for alert in node.told[2:])


def test_after_a_restart_channels_have_their_places_and_what_was_learned(make: Any) -> None:
    node = make()
    node.step(150, oven=180.0)
    node.step(150, oven=180.0, attic=20.0)
    node.watch.keep_all(node.seq)
    node.close()
    again = make()
    assert again.names() == ["simulated.1", "oven", "attic", "", ""]
    # Their first readings come in another order now.
    verdict = again.step(1, attic=20.0, oven=180.0)
    assert verdict.progress().tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert verdict.bounds()[0, 1] == pytest.approx(180.0, abs=3.0)
    assert again.told == []


def test_a_name_that_another_source_has_is_left_out_and_said(make: Any, caplog: Any) -> None:
    node = make()
    node.source._arrivals.take([("simulated.1", 5.0), ("oven", 1.0)])
    node.step()
    assert node.names() == ["simulated.1", "", "oven", "", ""]
    assert "'simulated.1' comes from two sources" in caplog.text


def test_a_recording_holds_the_channels_that_there_are(tmp_path: Path, make: Any) -> None:
    node = make()
    history = Recorder(tmp_path / "history", node.watch.sampler.channels, 1.0, 10_000_000)
    for count, readings in ((3, {}), (3, {"oven": 1.0}), (2, {"oven": 1.0, "attic": 2.0})):
        for _ in range(count):
            node.step(1, **readings)
            if node.watch.take_changed():
                history.change(node.watch.sampler.channels)
            history.add(Frame(0, 0, float(node.seq), node.watch.sampler._read(node.seq)[0]))
    history.flush()
    found = [
        [channel.name for channel in block.channels] for path in segments(tmp_path / "history") for block in read(path)
    ]
    assert found == [["simulated.1"], ["simulated.1", "oven"], ["simulated.1", "oven", "attic"]]
