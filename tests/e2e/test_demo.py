"""``make run`` without a terminal: plain lines, and Ctrl-C stops all processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import wait_for
from tools.demo.embedded_broker import listens
from tools.testing.mosquitto import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Demo:
    def __init__(self, config: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tools.demo", "--config", str(config)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)

    def text(self) -> str:
        return "".join(self.lines)

    def interrupt(self) -> float:
        """Seconds from Ctrl-C to the end."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(10) == 0
        self._reader.join(5)
        assert self.process.stdout
        self.process.stdout.close()
        return time.monotonic() - begin


@pytest.mark.broker
def test_with_a_broker_on_localhost_it_uses_that_and_leaves_offline_behind(
    broker: Any, subscribe: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    path = tmp_path / "config.yaml"
    path.write_text(f"node: demo\nmqtt: {{port: {broker.port}}}\n")
    demo = Demo(path)
    wait_for(lambda: subscriber.on("metrics"), what="metrics")
    wait_for(lambda: "demo learning" in demo.text(), what="a line")
    metrics = subscriber.json("metrics")[-1]
    assert {"cpu.percent", "memory.percent", "latency.loopback"} <= set(metrics["channels"])
    assert demo.interrupt() < 2.0
    assert "the broker at localhost" in demo.text()
    assert demo.text().rstrip().endswith("stopped")
    wait_for(lambda: subscriber.texts("status") == ["online", "offline"], 2, "the farewell")


def test_without_a_broker_it_brings_its_own_and_takes_it_away_again(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    port = free_port()
    path.write_text(f"node: demo\nmqtt: {{port: {port}}}\n")
    demo = Demo(path)
    wait_for(lambda: "demo learning" in demo.text(), 40, f"a line: {demo.text()}")
    assert f"its own broker at 127.0.0.1:{port}" in demo.text()
    page = urlsplit(re.search(r"dashboard (\S+)", demo.text())[1])  # type: ignore[index]
    wait_for(lambda: listens(page.hostname, page.port), what="the dashboard")
    assert demo.interrupt() < 2.0
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"tools.demo.embedded_broker --port {port}" not in left
    assert "edgewatch-demo-" not in left


def test_an_agent_that_cannot_start_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"models: [/nowhere]\nmqtt: {{port: {free_port()}}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo", "--config", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "/nowhere/manifest.json: cannot read the bundle's manifest" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "figure"),
    [
        (["step", "--without-keras", "--rounds", "1"], "step_over_invokes"),
        (["growth", "--steps", "3000", "--after", "1000"], "growth_mib"),
    ],
)
def test_benchmarks_write_their_figures_with_the_machine(arguments: list[str], figure: str, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "result.json"
    subprocess.run(
        [sys.executable, "-m", "tools.benchmark", *arguments, "--output", str(output)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    record = json.loads(output.read_text())
    assert isinstance(record["figures"][figure], float)
    assert "cores, Python 3" in record["machine"]
