"""Memory, CPU and start-up time of the daemon, measured at the same time as other agents."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tools.testing.mosquitto import Mosquitto

if TYPE_CHECKING:
    import argparse

# Seconds from start to the CPU measurement, chosen by hand.
_SETTLE_S = 5.0
# Tasks of psmqtt every second, similar to the channels of our default configuration.
_PSMQTT_TASKS = (
    ("cpu_percent", "[]"),
    ("cpu_times_percent", "[iowait]"),
    ("getloadavg", "['*']"),
    ("virtual_memory", "[percent]"),
    ("swap_memory", "[percent]"),
    ("disk_usage", "[percent, '/']"),
    ("disk_io_counters", "[read_bytes]"),
    ("disk_io_counters", "[write_bytes]"),
    ("net_io_counters", "[bytes_recv]"),
    ("net_io_counters", "[bytes_sent]"),
)
_ROOT = Path(__file__).parents[3]


__all__ = ["add_arguments", "cpu_s", "memory_mib", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument("--seconds", type=float, default=300.0, help="duration of the CPU measurement")
    parser.add_argument("--starts", type=int, default=5, help="number of timed starts")
    parser.add_argument("--without-peers", action="store_true", help="do not install and measure other agents")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print memory in MiB, CPU in percent of a core, and start-up time in seconds."""
    with tempfile.TemporaryDirectory(prefix="edgewatch-footprint-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        broker = Mosquitto(folder / "broker")
        stack.callback(broker.stop)
        port = broker.port
        (folder / "config.yaml").write_text(
            f"state_dir: {folder / 'state'}\nmqtt: {{host: 127.0.0.1, port: {port}}}\n", encoding="utf-8"
        )
        agent = [sys.executable, "-m", "agent", "run", "--config", str(folder / "config.yaml")]
        starts = sorted(_first_publish_s(agent, port) for _ in range(options.starts))
        commands = {"edgewatch": agent} | ({} if options.without_peers else _peers(folder, port))
        figures: dict[str, Any] = {"seconds": options.seconds, "first_publish_s": round(starts[len(starts) // 2], 3)}
        measured = _measure(commands, options.seconds)
        figures |= measured
    print(f"start → first publish (median of {options.starts}): {figures['first_publish_s']} s")
    print(f"{'':<12}{'RSS':>8}{'PSS':>8}{'private':>9}{'CPU %':>8}   over {options.seconds:g} s, MiB")
    for name in measured:
        row = figures[name]
        print(f"{name:<12}{row['rss']:>8}{row['pss']:>8}{row['private']:>9}{row['cpu_percent']:>8}")
    return figures


def _first_publish_s(command: list[str], port: int) -> float:
    """Seconds from process start to its birth message at a subscriber."""
    received, subscribed = threading.Event(), threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _client, _userdata, message: received.set() if message.payload == b"online" else None
    client.connect("127.0.0.1", port)
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    client.subscribe("edgewatch/+/status", qos=1)
    subscribed.wait(5.0)
    begin = time.perf_counter()
    process = _start(command)
    received.wait(20.0)
    seconds = time.perf_counter() - begin
    _end(process)
    client.disconnect()
    client.loop_stop()
    return seconds


def _measure(commands: dict[str, list[str]], seconds: float) -> dict[str, dict[str, float]]:
    """Run all commands at once; measure CPU after settling, and memory at the end."""
    processes = {name: _start(command) for name, command in commands.items()}
    try:
        time.sleep(_SETTLE_S)
        before = {name: cpu_s(process.pid) for name, process in processes.items() if process.poll() is None}
        begin = time.perf_counter()
        time.sleep(seconds)
        elapsed = time.perf_counter() - begin
        for name in [name for name, process in processes.items() if process.poll() is not None]:
            print(f"{name}: exited, left out")
            del processes[name]
        return {
            name: memory_mib(process.pid)
            | {"cpu_percent": round(100.0 * (cpu_s(process.pid) - before[name]) / elapsed, 3)}
            for name, process in processes.items()
        }
    finally:
        for process in processes.values():
            _end(process)


def _peers(folder: Path, port: int) -> dict[str, list[str]]:
    """Commands of other agents that publish once a second, each installed in its own environment if possible."""
    (folder / "glances.conf").write_text(f"[mqtt]\nhost=127.0.0.1\nport={port}\ntls=false\n", encoding="utf-8")
    tasks = "\n".join(f"      - {{task: {task}, params: {params}}}" for task, params in _PSMQTT_TASKS)
    (folder / "psmqtt.yaml").write_text(
        f"mqtt:\n  broker: {{host: 127.0.0.1, port: {port}}}\n"
        f"schedule:\n  - cron: every 1 seconds\n    tasks:\n{tasks}\n",
        encoding="utf-8",
    )
    glances = ["glances", "-q", "-t", "1", "--export", "mqtt", "-C", str(folder / "glances.conf")]
    wanted = {
        "glances": (["glances", "paho-mqtt", "certifi"], glances),
        "psmqtt": (["psmqtt"], ["env", f"PSMQTTCONFIG={folder / 'psmqtt.yaml'}", "psmqtt"]),
    }
    commands = {}
    for name, (packages, command) in wanted.items():
        environment = folder / name
        installed = subprocess.run([sys.executable, "-m", "venv", str(environment)], check=False, capture_output=True)
        if not installed.returncode:
            pip = [str(environment / "bin" / "pip"), "install", "--quiet", *packages]
            installed = subprocess.run(pip, check=False, capture_output=True)
        if installed.returncode:
            print(f"{name}: cannot be installed here, left out")
            continue
        commands[name] = [str(environment / "bin" / name) if part == name else part for part in command]
    return commands


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    """CPU seconds used by all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> dict[str, float]:
    """Memory of a process in MiB: resident, proportional (shared pages divided), and private."""
    kib = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]:
        key, value = line.split(":")
        kib[key] = int(value.split()[0])
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"rss": round(kib["Rss"] / 1024, 1), "pss": round(kib["Pss"] / 1024, 1), "private": round(private / 1024, 1)}
