"""Thousands of kills (SIGKILL) while incidents open and close and the broker is killed and restarted."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tools.fault_injection.driven_source import LIMIT, Drive
from tools.fault_injection.receiver import Receiver
from tools.testing.mosquitto import PERSISTENT, Mosquitto

if TYPE_CHECKING:
    from tools.testing.findings import Findings

__all__ = ["run"]

_ROOT = Path(__file__).parents[2]
_INTERVAL_S = 0.05
# Share of kills during the start, and seconds until a kill after the start or the first reading; chosen by hand.
_EARLY, _START_S, _LIFE_S = 0.2, (0.05, 1.0), (0.0, 1.5)
# Seconds with and without a fault, chosen by hand.
_FAULT_S, _CALM_S = (3.0, 8.0), (3.0, 8.0)
# Chance of a broker kill each second, and its longest absence in seconds; chosen by hand.
_BROKER_KILLS = 0.03
_BROKER_AWAY_S = 2.0
# Seconds without a new alert until the end is reached, and to wait at most; chosen by hand.
_SETTLED_S = 3.0
_PATIENCE_S = 60.0
_CONFIG = """\
node: {node}
interval_s: {interval}
state_dir: {folder}/state
sources: [{{type: driven, path: {folder}/drive}}]
alerts: {{learning_s: 1, provisional_s: 1, confirm_s: 0.1, clear_s: 0.3, merge_s: 0, cooldown_s: 0}}
mqtt: {{port: {port}}}
"""


class _Node:
    """An agent with a driven number, its faults and its kills."""

    def __init__(self, folder: Path, name: str, port: int) -> None:
        folder.mkdir()
        self.name = name
        self.drive = Drive(folder / "drive")
        self.log = folder / "agent.log"
        self.faults = 0
        self.kills = 0
        self._config = folder / "config.yaml"
        self._config.write_text(
            _CONFIG.format(node=name, interval=_INTERVAL_S, folder=folder, port=port), encoding="utf-8"
        )

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            command = [
                sys.executable,
                "-m",
                "tools.fault_injection.driven_source",
                "run",
                "--config",
                str(self._config),
            ]
            return subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log)

    def toggle_faults(self, rng: random.Random, over: threading.Event) -> None:
        """Exceed the hard limit from time to time until ``over`` is set."""
        while not over.wait(rng.uniform(*_CALM_S)):
            self.faults += 1
            self.drive.value = LIMIT + 1.0
            over.wait(rng.uniform(*_FAULT_S))
            self.drive.value = 1.0

    def kill_repeatedly(self, rng: random.Random, rounds: int) -> None:
        """Start and kill the agent ``rounds`` times."""
        for _ in range(rounds):
            before = self.drive.readings
            process = self.start()
            if rng.random() < _EARLY:
                time.sleep(rng.uniform(*_START_S))
            else:
                until = time.monotonic() + _PATIENCE_S
                while self.drive.readings == before and time.monotonic() < until:
                    time.sleep(0.005)
                time.sleep(rng.uniform(*_LIFE_S))
            process.kill()
            process.wait()
            self.kills += 1


def run(findings: Findings, folder: Path, *, rounds: int, nodes: int = 2, seed: int = 0) -> None:
    """Kill agents ``rounds`` times in total, and check the received alerts."""
    rng = random.Random(seed)
    broker = Mosquitto(folder / "broker", PERSISTENT)
    receiver = Receiver(broker.port)
    agents = [_Node(folder / f"node{k}", f"node{k}", broker.port) for k in range(nodes)]
    processes: list[subprocess.Popen[bytes]] = []
    over = threading.Event()
    try:
        _learn(agents, receiver)
        learned = len(receiver.states)
        faults = [threading.Thread(target=n.toggle_faults, args=(random.Random(rng.random()), over)) for n in agents]
        kills = [
            threading.Thread(target=n.kill_repeatedly, args=(random.Random(rng.random()), rounds // nodes))
            for n in agents
        ]
        for thread in (*faults, *kills):
            thread.start()
        broker_kills = 0
        while any(thread.is_alive() for thread in kills):
            time.sleep(1.0)
            findings.progress(sum(n.kills for n in agents), rounds)
            if rng.random() < _BROKER_KILLS:
                broker.kill()
                broker_kills += 1
                time.sleep(rng.uniform(0.0, _BROKER_AWAY_S))
                broker.start()
        over.set()
        for thread in faults:
            thread.join()
        processes = [n.start() for n in agents]
        _settle(receiver)
    finally:
        over.set()
        for process in processes:
            process.terminate()
            process.wait(10)
        receiver.close()
        broker.stop()
    findings.figure("kills of the agent", sum(n.kills for n in agents))
    findings.figure("kills of the broker", broker_kills)
    findings.figure("alerts received, including duplicates", len(receiver.alerts))
    _judge(findings, agents, receiver, learned)


def _learn(nodes: list[_Node], receiver: Receiver) -> None:
    """Let all agents finish learning, and stop them cleanly."""
    processes = [node.start() for node in nodes]
    until = time.monotonic() + _PATIENCE_S
    while {s["node"] for s in tuple(receiver.states) if s["state"] != "learning"} != {n.name for n in nodes}:
        if time.monotonic() > until:
            raise TimeoutError("the agents do not finish learning")
        time.sleep(0.1)
    time.sleep(1.0)
    for process in processes:
        process.terminate()
        process.wait(10)


def _settle(receiver: Receiver) -> None:
    """Wait until all incidents are closed and no more alerts arrive."""
    until = time.monotonic() + _PATIENCE_S
    count, since = -1, time.monotonic()
    while time.monotonic() < until:
        time.sleep(0.1)
        if len(receiver.alerts) != count:
            count, since = len(receiver.alerts), time.monotonic()
        opened = Counter(alert.phase for alert in receiver.unique())
        if time.monotonic() - since > _SETTLED_S and opened["open"] == opened["close"]:
            return


def _judge(findings: Findings, nodes: list[_Node], receiver: Receiver, learned: int) -> None:
    unique = receiver.unique()
    for node in nodes:
        own = [alert for alert in unique if alert.node == node.name]
        numbers = [alert.seq for alert in own]
        phases = Counter((alert.incident, alert.phase) for alert in own)
        opened = [incident for incident, phase in phases if phase == "open"]
        closed = [incident for incident, phase in phases if phase == "close"]
        findings.figure(f"{node.name}: faults", node.faults)
        findings.figure(f"{node.name}: incidents", len(opened))
        findings.promise(f"{node.name}: most faults open an incident", len(opened) >= node.faults / 2)
        findings.promise(
            f"{node.name}: no sequence number is missing", sorted(numbers) == list(range(1, len(numbers) + 1))
        )
        findings.promise(f"{node.name}: every incident closes once", sorted(opened) == sorted(closed))
        findings.promise(f"{node.name}: no incident opens twice", max(phases[i, "open"] for i in opened) == 1)
        findings.promise(f"{node.name}: no more incidents than faults", len(opened) <= node.faults)
        logged = {line.split()[3].rstrip(":") for line in node.log.read_text("utf-8").splitlines() if _raised(line)}
        findings.promise(f"{node.name}: all logged alerts are received", logged <= {alert.id for alert in own})
        relearned = [s for s in receiver.states[learned:] if s["node"] == node.name and s["state"] == "learning"]
        findings.promise(f"{node.name}: no restart learns relearned", not relearned)


def _raised(line: str) -> bool:
    return line.startswith(("INFO open", "INFO update", "INFO close"))
