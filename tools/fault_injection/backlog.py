"""Backlog: after a week without a broker, all alerts are delivered in order and fast, and no tick is missed."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.delivery.outbox import Outbox
from tools.fault_injection.receiver import Receiver
from tools.testing.alerts import alert
from tools.testing.mosquitto import Mosquitto

if TYPE_CHECKING:
    from tools.testing.findings import Findings

__all__ = ["run"]

_ROOT = Path(__file__).parents[2]
# Required deliveries a second, and allowed memory in MiB; chosen by hand.
_LEAST_A_SECOND = 1000.0
_MOST_MIB = 100.0
# Alerts committed at once while filling, and seconds to wait for delivery; chosen by hand.
_AT_ONCE = 50
_PATIENCE_S = 600.0
_CONFIG = """\
node: pi4
interval_s: 0.5
state_dir: {folder}/state
sources: [{{type: driven, path: {folder}/drive}}]
mqtt: {{port: {port}, health_interval_s: 1}}
"""


def run(findings: Findings, folder: Path, *, alerts: int) -> None:
    """Fill an outbox with ``alerts`` alerts, start the agent with a broker, and wait for their delivery."""
    broker = Mosquitto(folder / "broker")
    receiver = Receiver(broker.port)
    _fill(findings, folder, alerts)
    config = folder / "config.yaml"
    config.write_text(_CONFIG.format(folder=folder, port=broker.port), encoding="utf-8")
    with (folder / "agent.log").open("wb") as log:
        command = [sys.executable, "-m", "tools.fault_injection.driven_source", "run", "--config", str(config)]
        process = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log)
    try:
        begin = end = 0.0
        most_mib = 0.0
        until = time.monotonic() + _PATIENCE_S
        while len(receiver.alerts) < alerts and time.monotonic() < until:
            time.sleep(0.01)
            begin = begin or (time.monotonic() if receiver.alerts else 0.0)
            most_mib = max(most_mib, _rss_mib(process.pid))
            findings.progress(len(receiver.alerts), alerts)
        end = time.monotonic()
        time.sleep(2.0)  # for a health message after the last delivery
    finally:
        process.terminate()
        process.wait(10)
        receiver.close()
        broker.stop()
    rate = len(receiver.alerts) / max(end - begin, 1e-9)
    findings.figure("delivered a second", rate)
    findings.figure("largest resident memory, MiB", most_mib)
    numbers = [one.seq for one in receiver.alerts]
    findings.promise("all alerts are delivered once and in order", numbers == list(range(1, alerts + 1)))
    findings.promise("all alerts are marked as replayed", all(one.replayed for one in receiver.alerts))
    findings.promise(f"at least {_LEAST_A_SECOND:g} a second are delivered", rate >= _LEAST_A_SECOND)
    findings.promise(f"memory stays within {_MOST_MIB:g} MiB", most_mib <= _MOST_MIB)
    health = receiver.health[-1]
    findings.promise("no tick is missed during delivery", health["missed_ticks"] == 0)
    findings.promise("the outbox is empty at the end", health["outbox_depth"] == 0)


def _fill(findings: Findings, folder: Path, alerts: int) -> None:
    """Store alerts in the outbox as an agent without a broker does, several at once."""
    outbox = Outbox(folder / "state")
    begin = time.monotonic()
    for first in range(1, alerts + 1, _AT_ONCE):
        outbox.append([alert(seq) for seq in range(first, min(first + _AT_ONCE, alerts + 1))])
        findings.progress(first, alerts)
    seconds = time.monotonic() - begin
    outbox.close()
    size = sum(path.stat().st_size for path in (folder / "state").iterdir())
    findings.figure("alerts waiting", alerts)
    findings.figure("committed a second", alerts / seconds)
    findings.figure("MiB on disk", size / 2**20)
    findings.promise("no alert is dropped", outbox.dropped == 0)


def _rss_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * resource.getpagesize() / 2**20
