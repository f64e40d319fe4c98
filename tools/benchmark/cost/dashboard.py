"""CPU and memory of the dashboard's server, and frames a second of its page, for a simulated fleet."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from playwright.sync_api import sync_playwright

from agent.core.errors import EnvironmentFault
from agent.detection.verdict import SCORE_THRESHOLD
from agent.messages.status import ChannelMetric, Metrics, NodeState
from tools.benchmark.cost.footprint import cpu_s, memory_mib
from tools.demo.embedded_broker import listens
from tools.testing.browser import launched
from tools.testing.mosquitto import Mosquitto, free_port
from tools.testing.mqtt_flood import MqttFlood, packet

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from playwright.sync_api import Page

__all__ = ["add_arguments", "run"]

_ROOT = Path(__file__).parents[3]
_PREFIX = "edgewatch"
# Rows published at once for the first node: half an hour at 1 Hz, so that its charts are full.
_PAST_ROWS = 1800
# Charts that the page shows by default.
_SHOWN = 6
# Seconds for the server to start, to settle, and of a frame count; chosen by hand.
_START_S = 30.0
_WARM_S = 5.0
_FRAMES_S = 10.0
# Frames a second, longest pause between two frames in milliseconds, and heap of the page in MiB.
_LOOK = """seconds => new Promise(done => {
  let frames = 0, begin = performance.now(), last = begin, longest = 0;
  const next = now => {
    frames += 1; longest = Math.max(longest, now - last); last = now;
    if (now - begin < 1000 * seconds) return requestAnimationFrame(next);
    done({ frames: 1000 * frames / (now - begin), longest, heap: performance.memory.usedJSHeapSize / 2 ** 20 });
  };
  requestAnimationFrame(next);
})"""
# Number of points in the visible parts of the charts.
_POINTS = """() => {
  const plot = document.querySelector(".ew-plots").plot, [from, to] = plot.window();
  const seen = e => { const box = e.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight; };
  return [...plot.charts.values()].filter(chart => seen(chart.getDom())).flatMap(chart => chart.getOption().series)
    .map(line => line.data.filter(([at, number]) => at >= from && at <= to && number !== null).length)
    .reduce((sum, count) => sum + count, 0);
}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument("--nodes", type=int, default=50, help="nodes that publish once a second")
    parser.add_argument("--channels", type=int, default=50, help="channels of each node")
    parser.add_argument("--minutes", type=float, default=5.0, help="duration of the measurement")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print CPU in percent of a core, memory in MiB, and frames a second of a visible page."""
    with tempfile.TemporaryDirectory(prefix="edgewatch-dashboard-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        broker = Mosquitto(folder / "broker")
        stack.callback(broker.stop)
        browser = launched(stack.enter_context(sync_playwright()))
        if browser is None:
            raise EnvironmentFault("Chromium is not installed", remedy="apt install chromium")
        stack.callback(browser.close)
        address = ("127.0.0.1", free_port())
        command = [sys.executable, "-m", "tools.dashboard", "--broker", f"127.0.0.1:{broker.port}"]
        server = subprocess.Popen([*command, "--port", str(address[1])], cwd=_ROOT, stdout=subprocess.DEVNULL)
        stack.callback(_end, server)
        until = time.monotonic() + _START_S
        while not listens(*address):
            if time.monotonic() > until:
                raise EnvironmentFault("the dashboard did not start")
            time.sleep(0.1)
        fleet = stack.enter_context(_publishing(broker.port, options.nodes, options.channels))
        pages = [browser.new_page(viewport={"width": 1440, "height": 900}) for _ in range(2)]
        for page, path in zip(pages, ("/", "/node?name=node0"), strict=True):
            page.goto(f"http://{address[0]}:{address[1]}{path}")
        _show_all(pages[1])
        time.sleep(_WARM_S)
        figures = _measured(server.pid, pages, 60.0 * options.minutes)
        if fleet.poll() is not None:
            raise EnvironmentFault("the simulated nodes exited")
    print(f"{options.nodes} nodes of {options.channels} channels, a message each a second; both pages open")
    for key, value in figures.items():
        print(f"{key:<34}{value!s:>10}")
    return {"nodes": options.nodes, "channels": options.channels, **figures}


def _show_all(page: Page) -> None:
    page.get_by_role("button", name="30 min").click()
    page.locator(".ew-plot").nth(_SHOWN - 1).wait_for()
    page.bring_to_front()


def _measured(pid: int, pages: list[Page], seconds: float) -> dict[str, Any]:
    looks: list[dict[str, float]] = []
    memory: list[float] = []
    begin, cpu = time.monotonic(), cpu_s(pid)
    while not looks or time.monotonic() - begin < seconds:
        looks.append(pages[1].evaluate(_LOOK, _FRAMES_S))
        memory.append(memory_mib(pid)["rss"])
    share = 100.0 * (cpu_s(pid) - cpu) / (time.monotonic() - begin)
    third = max(1, len(memory) // 3)
    heaps = [look["heap"] for look in looks]
    quarters = [part for part in np.array_split(memory, 4) if part.size]
    return {
        "server_cpu_percent": round(share, 1),
        "server_rss_mib": round(max(memory), 1),
        # Grows during the first half hour, until the history of every node is full.
        "server_rss_by_quarter_mib": [round(float(np.median(part)), 1) for part in quarters],
        "visible_points": int(pages[1].evaluate(_POINTS)),
        "frames_per_second": round(float(np.median([look["frames"] for look in looks])), 1),
        "longest_pause_ms": round(float(np.median([look["longest"] for look in looks])), 1),
        "page_growth_mib": round(min(heaps[-third:]) - min(heaps[:third]), 2),
    }


@contextlib.contextmanager
def _publishing(port: int, nodes: int, channels: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the simulated fleet in a separate process, so that its cost is not measured."""
    command = [sys.executable, "-m", "tools.benchmark.cost.dashboard", str(port), str(nodes), str(channels)]
    process = subprocess.Popen(command, cwd=_ROOT)
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def _publish(port: int, nodes: int, channels: int) -> None:
    """Publish as a fleet of agents, after half an hour of history for the first node."""
    flood, noise = MqttFlood(port), np.random.default_rng(0)
    flood.send(_state(node, channels) for node in range(nodes))
    now = time.time()
    for row in range(_PAST_ROWS):
        flood.send([_metrics(0, now - _PAST_ROWS + row, noise.normal(size=channels))])
        time.sleep(0.002)  # slow enough for the dashboard to keep up
    since = time.monotonic()
    while True:
        now = time.time()
        since = flood.spread([_metrics(node, now, noise.normal(size=channels)) for node in range(nodes)], since)


def _state(node: int, channels: int) -> bytes:
    name = f"node{node}"
    now = time.time()
    state = NodeState(
        v=1,
        node=name,
        state="normal",
        ts=now,
        since=now,
        score=0.1,
        state_score=0.1,
        threshold=SCORE_THRESHOLD,
        learning_progress=1.0,
        provisional=False,
        channels=channels,
        open_incidents=(),
    )
    return packet(f"{_PREFIX}/{name}/state".encode(), msgspec.json.encode(state), retain=True)


def _metrics(node: int, ts: float, noise: Any) -> bytes:
    name = f"node{node}"
    values = {
        f"channel.{index}": ChannelMetric(
            value=round(20 + value, 3),
            expected=20.0,
            lower=17.0,
            upper=23.0,
            score=round(min(abs(value) / 4, 1.0), 4),
            threshold=SCORE_THRESHOLD,
            anomalous=abs(value) > 3.5,
            progress=1.0,
            provisional=False,
            unit="°C",
        )
        for index, value in enumerate(noise.tolist())
    }
    message = Metrics(1, name, round(ts, 3), int(ts), 0.1, 0.1, values)
    return packet(f"{_PREFIX}/{name}/metrics".encode(), msgspec.json.encode(message))


if __name__ == "__main__":
    _publish(*map(int, sys.argv[1:]))
