"""Time and memory for many channels: the step alone, and the daemon with a real broker; beside half-space trees.

*Steps*: the production step on random readings with 1 to 10,000 channels, each number in its own process, in turn
with river's `HalfSpaceTrees`, one a channel. *Daemon*: the complete agent, with readings from mosquitto at 1 Hz.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from agent.service.process_memory import rss_mib
from tools.benchmark.cost.footprint import cpu_s, memory_mib
from tools.benchmark.cost.step import agent_step, step_us
from tools.fault_injection.receiver import Receiver
from tools.testing.mosquitto import Mosquitto
from tools.testing.mqtt_flood import MqttFlood, packet

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

__all__ = ["add_arguments", "run"]

_ROOT = Path(__file__).parents[3]
_CHANNELS = (1, 10, 100, 1000, 10_000)
# Rows a round: 48 blocks of five, a whole cycle of all time scales.
_ROWS_A_ROUND = 240
# River's defaults: ten trees of height eight, windows of 250.
_TREES = {"n_trees": 10, "height": 8, "window_size": 250}
# Largest number of channels measured with trees, chosen by hand.
_MOST_FOR_TREES = 1000
_TREE_ROWS = 24
_BLOCK = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument(
        "--channels", type=int, nargs="+", default=list(_CHANNELS), metavar="N", help="numbers of channels"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-peers", action="store_true", help="do not install and measure river")
    parser.add_argument(
        "--live", type=int, nargs="*", default=[100, 10_000], metavar="N", help="numbers of channels by MQTT"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of the daemon's CPU measurement")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="file for a plot of the time a channel")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print times in microseconds, memory in MiB, and CPU in percent of a core."""
    with tempfile.TemporaryDirectory(prefix="edgewatch-scale-") as folder:
        python = None if options.without_peers else _river(Path(folder))
        steps = [_compared(n, options.rounds, python) for n in options.channels]
        print(
            f"{'channels':>9}{'µs a step':>12}{'a channel':>11}{'RSS':>8}{'river, a channel':>18}{'RSS':>8}{'ratio':>8}"
        )
        for row in steps:
            trees = f"{row['river_us']:>18,.1f}{row['river_rss']:>8}{row['ratio']:>8}" if "ratio" in row else ""
            print(f"{row['channels']:>9,}{row['step_us']:>12,.0f}{row['channel_us']:>11,.2f}{row['rss']:>8}{trees}")
        live = [_live(n, options.seconds, Path(folder, str(n))) for n in options.live]
    if live:
        print(f"{'by MQTT':>9}{'CPU %':>8}{'RSS':>8}{'step p50 ms':>13}{'p99':>8}{'missed':>8}")
    for row in live:
        print(
            f"{row['channels']:>9,}{row['cpu_percent']:>8}{row['rss']:>8}{row['step_ms_p50']:>13}"
            f"{row['step_ms_p99']:>8}{row['missed_ticks']:>8}"
        )
    if options.plot:
        _draw(steps, options.plot)
        print(f"plot written to {options.plot}")
    return {"steps": steps, "live": live}


def _compared(n: int, rounds: int, python: Path | None) -> dict[str, Any]:
    """Measure Edgewatch and river in turn, each in its own process."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(_ours(n))
        theirs = stack.enter_context(_trees(n, python)) if python and n <= _MOST_FOR_TREES else None
        pairs = [(ours(), theirs() if theirs else (np.nan, np.nan)) for _ in range(rounds)]
    step = float(np.median([own for (own, _), _ in pairs]))
    row = {"channels": n, "step_us": round(step, 1), "channel_us": round(step / n, 3), "rss": pairs[-1][0][1]}
    if theirs:
        row["river_us"] = round(float(np.median([other for _, (other, _) in pairs])) / n, 1)
        row["river_rss"] = pairs[-1][1][1]
        row["ratio"] = round(float(np.median([other / own for (own, _), (other, _) in pairs])), 2)
    return row


@contextlib.contextmanager
def _ours(n: int) -> Iterator[Callable[[], tuple[float, float]]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve_steps, args=(there, n), daemon=True)
    process.start()
    there.close()

    def measure() -> tuple[float, float]:
        here.send(None)
        found: tuple[float, float] = here.recv()
        return found

    try:
        here.recv()
        yield measure
    finally:
        here.close()
        process.join()


def _serve_steps(connection: Connection, n: int) -> None:
    """Send the time of a step and the memory of this process on request."""
    step = agent_step(n, _BLOCK, warm_rows=_ROWS_A_ROUND)
    connection.send(None)
    with contextlib.suppress(EOFError):
        while True:
            connection.recv()
            connection.send((step_us(step, _ROWS_A_ROUND), round(rss_mib(), 1)))


# Runs in a separate environment without Edgewatch.
_RIVER = """
import random, resource, sys, time
from river.anomaly import HalfSpaceTrees
n, rows = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(0)
trees = [HalfSpaceTrees(n_trees={n_trees}, height={height}, window_size={window_size}, seed=0) for _ in range(n)]
def step():
    for tree in trees:
        x = {{"x": min(max(rng.gauss(0.5, 0.05), 0.0), 1.0)}}
        tree.score_one(x)
        tree.learn_one(x)
while True:
    begin = time.perf_counter()
    for _ in range(rows):
        step()
    us = (time.perf_counter() - begin) / rows * 1e6
    with open("/proc/self/statm") as file:
        rss = int(file.read().split()[1]) * resource.getpagesize() / 2**20
    print(us, rss, flush=True)
    if not sys.stdin.readline():
        break
"""


@contextlib.contextmanager
def _trees(n: int, python: Path) -> Iterator[Callable[[], tuple[float, float]]]:
    command = [str(python), "-c", _RIVER.format(**_TREES), str(n), str(_TREE_ROWS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asked, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        answers.readline()  # the first row builds the trees

        def measure() -> tuple[float, float]:
            asked.write("\n")
            asked.flush()
            microseconds, rss = answers.readline().split()
            return float(microseconds), round(float(rss), 1)

        try:
            yield measure
        finally:
            asked.close()


def _river(folder: Path) -> Path | None:
    """Install river in a new environment; give its Python, None if that fails."""
    environment = folder / "river"
    python = environment / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "river"],
    ):
        if subprocess.run(command, check=False, capture_output=True).returncode:
            print("river: cannot be installed, left out")
            return None
    return python


def _live(n: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Measure the daemon with ``n`` channels from a broker, one message a channel and second."""
    broker = Mosquitto(folder / "broker")
    (folder / "config.yaml").write_text(
        f"node: scale\nstate_dir: {folder / 'state'}\n"
        f"sources: [{{type: mqtt, port: {broker.port}, max_channels: {n}, topics: [{{filter: 's/#'}}]}}]\n"
        f"mqtt: {{host: 127.0.0.1, port: {broker.port}, health_interval_s: 5}}\n",
        encoding="utf-8",
    )
    receiver = Receiver(broker.port)
    command = [sys.executable, "-m", "agent", "run", "--config", str(folder / "config.yaml")]
    publish = [sys.executable, "-c", _PUBLISH, str(broker.port), str(n)]
    with (folder / "log").open("wb") as log:
        agent = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log)
        publisher = subprocess.Popen(publish, cwd=_ROOT, stdout=log, stderr=log)
    try:
        # Wait until all time scales have had their first block, to measure the steady state.
        _wait(receiver, n, seconds=48 * _BLOCK + 10)
        before, begin = cpu_s(agent.pid), time.perf_counter()
        missed = receiver.health[-1]["missed_ticks"]
        time.sleep(seconds)
        share = (cpu_s(agent.pid) - before) / (time.perf_counter() - begin)
        memory, health = memory_mib(agent.pid), receiver.health[-1]
    finally:
        for process in (agent, publisher):
            process.terminate()
            process.wait(20)
        receiver.close()
        broker.stop()
    return {
        "channels": receiver.states[-1]["channels"],
        "cpu_percent": round(100.0 * share, 1),
        "rss": memory["rss"],
        "step_ms_p50": round(health["step_ms_p50"], 1),
        "step_ms_p99": round(health["step_ms_p99"], 1),
        "missed_ticks": health["missed_ticks"] - missed,
    }


# Seconds to wait for all channels, chosen by hand: a node publishes their number once a minute.
_PATIENCE_S = 150.0
_PUBLISH = "import sys; from tools.benchmark.cost.scale import publish; publish(int(sys.argv[1]), int(sys.argv[2]))"


def publish(port: int, n: int) -> None:
    """Publish a message for each of ``n`` sensors a second, spread evenly, until terminated."""
    rng = np.random.default_rng(0)
    topics = [f"s/{index}".encode() for index in range(n)]
    level = rng.uniform(0, 100, n)
    with contextlib.closing(MqttFlood(port)) as flood:
        due = time.monotonic()
        while True:
            values = (level + rng.normal(0, 1, n)).round(3).astype(str).tolist()
            packets = [packet(topic, value.encode()) for topic, value in zip(topics, values, strict=True)]
            due = flood.spread(packets, due)


def _wait(receiver: Receiver, n: int, *, seconds: float) -> None:
    """Wait for all channels, then ``seconds`` more."""
    until = time.monotonic() + _PATIENCE_S
    while not (receiver.states and receiver.states[-1]["channels"] >= n and receiver.health):
        if time.monotonic() > until:
            print(
                f"timeout: expected {n:,} channels, found {receiver.states[-1]['channels'] if receiver.states else 0:,}"
            )
            break
        time.sleep(0.2)
    time.sleep(seconds)


def _draw(steps: list[dict[str, Any]], path: Path) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - where a plot is asked for

    plt.switch_backend("Agg")
    figure, axis = plt.subplots(figsize=(7, 4))
    axis.loglog([r["channels"] for r in steps], [r["channel_us"] for r in steps], "o-", label="Edgewatch")
    trees = [row for row in steps if "river_us" in row]
    if trees:
        axis.loglog([r["channels"] for r in trees], [r["river_us"] for r in trees], "s--", label="half-space trees")
    axis.set_xlabel("channels")
    axis.set_ylabel("µs a step and channel")
    axis.grid(visible=True, which="both", alpha=0.3)
    axis.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
