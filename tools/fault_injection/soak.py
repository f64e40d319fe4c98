"""Soak test: a simulated month of the real daemon at full speed, with repeated faults of everything around it.

Time is simulated; the disk, the broker and the connection are real. The agent runs in a separate process that measures
itself every simulated hour: ``python -m tools.fault_injection.soak FOLDER DAYS``.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import msgspec
import numpy as np

from agent.config import loader as configuration
from agent.core.channel import Channel
from agent.core.clock import ManualClock
from agent.delivery.outbox import Outbox
from agent.messages.alert import Alert
from agent.service import log_format
from agent.service.daemon import Daemon
from agent.service.process_memory import rss_mib
from agent.sources.base import SourceConfig
from agent.sources.registry import REGISTRY
from tools.fault_injection.receiver import Receiver
from tools.testing.mosquitto import PERSISTENT, Mosquitto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.testing.findings import Findings

__all__ = ["WaywardSource", "run"]

_ROOT = Path(__file__).parents[2]
_HOUR_S, _DAY_S = 3600.0, 86400.0
_INTERVAL_S = 5.0
# Allowed growth of resident memory a day; docs/reliability.md gives the measured growth.
_STEEPEST_KIB = 10.0
# Days before growth is measured: buffers, histories and memory pools fill during them.
_SETTLED_DAYS = 10.0
# Simulated days that the broker is present, then away, in turn.
_PRESENT_DAYS, _AWAY_DAYS = 2.0, 1.0
# Disk jobs in the queue beyond which simulated time waits for the disk.
_MOST_JOBS = 4
# Seconds to wait for delivery at most, and without a new alert; chosen by hand.
_PATIENCE_S = 120.0
_DONE_S = 3.0
_SAMPLES = "samples.jsonl"
_CONFIG = """\
node: pi4
interval_s: {interval}
state_dir: {folder}/state
sources:
  - {{type: simulated, channels: 4, anomalies_per_hour: 2, quiet_s: 3600}}
  - {{type: wayward}}
detection: {{block_s: 30}}
history: {{max_mb: 1}}
outbox: {{max_age_s: 1e10}}
alerts: {{learning_s: 3600, merge_s: {merge}, budget_per_day: 1e9}}
mqtt: {{port: {port}, health_interval_s: {health}, commands: true, discovery: true}}
"""


class WaywardConfig(SourceConfig, frozen=True):
    """Keys of the source."""


class WaywardSource:
    """Faulty source: missing, infinite and huge values, wrong numbers of values, errors, and hangs."""

    Config: ClassVar[type[SourceConfig]] = WaywardConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: WaywardConfig, interval_s: float) -> None:
        del config, interval_s
        self._rng = random.Random(0)
        self.channels = (Channel("wayward.a", alarm_above=95.0), Channel("wayward.b", log_reference=1000.0, effect=1.5))

    def read(self) -> Sequence[float]:
        """See `Source.read`."""
        chance = self._rng.random()
        if chance < 2e-4:
            time.sleep(0.3)  # longer than a tick waits
        if chance < 5e-3:
            raise OSError(5, "Input/output error")
        if chance < 1e-2:
            return (1.0,)
        if chance < 3e-2:
            return self._rng.choice((math.nan, math.inf, -math.inf, 1e30, -1e300, 5e-324)), math.nan
        return self._rng.gauss(50.0, 5.0), self._rng.expovariate(1e-3)

    def close(self) -> None:
        """Do nothing."""


REGISTRY["wayward"] = ("tools.fault_injection.soak", "WaywardSource")


class _Sample(msgspec.Struct):
    """Resources of the agent's process at a simulated time."""

    day: float
    rss_kib: float
    threads: int
    descriptors: int


class _Time(ManualClock):
    """Simulated clock that waits for the disk and triggers clock jumps, sleep and reloads.

    Parameters
    ----------
    folder
        Folder of configuration and samples.
    days
        Simulated days until it stops.
    """

    def __init__(self, folder: Path, days: float) -> None:
        super().__init__(time.time())
        self._folder = folder
        self._end_s = days * _DAY_S
        self._hour = 0
        self._unsynchronised_until_ns = 0
        self._rng = random.Random(0)
        self._samples = (folder / _SAMPLES).open("ab", buffering=0)
        self.daemon: Daemon | None = None

    def sleep_until(self, deadline_ns: int) -> bool:
        """See `Clock.sleep_until`; runs the hourly events between ticks."""
        going = super().sleep_until(deadline_ns)
        while self.daemon is not None and self.daemon.delivery.jobs > _MOST_JOBS:
            time.sleep(1e-4)
        if self.now_ns >= self._end_s * 1e9:
            self.stop()
        hour = int(self.now_ns / 1e9 // _HOUR_S)
        if hour > self._hour:
            self._hour = hour
            self._hourly(hour)
        return going

    def synchronised(self) -> bool:
        """Whether the wall clock is synchronised: not for ten minutes after a jump."""
        return self.now_ns >= self._unsynchronised_until_ns

    def _hourly(self, hour: int) -> None:
        self._samples.write(msgspec.json.encode(_measured(self.now_ns / 1e9 / _DAY_S)) + b"\n")
        if hour % 31 == 0:
            self.start_wall += self._rng.choice((-365 * _DAY_S, -_HOUR_S, _HOUR_S, 365 * _DAY_S))
            self._unsynchronised_until_ns = self.now_ns + 600 * 10**9
        if hour % 101 == 0:
            self.now_ns += round(8 * _HOUR_S * 1e9)  # suspended for a night
        if hour % 6 == 0 and self.daemon is not None:
            # A change of `health_interval_s` replaces the connection, one of `merge_s` the whole pipeline.
            path = self._folder / "config.yaml"
            settings = {"merge": 30 + hour // 48 % 2, "health": 60 + hour // 12 % 2}
            path.write_text(_text(self._folder, self.daemon.parts.config.mqtt.address[1], **settings), "utf-8")
            self.daemon.request_reload()


def _text(folder: Path, port: int, *, merge: int = 30, health: int = 60) -> str:
    return _CONFIG.format(interval=_INTERVAL_S, folder=folder, port=port, merge=merge, health=health)


def _measured(day: float) -> _Sample:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (threads,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))
    return _Sample(day, rss_mib() * 1024, threads, len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - one is its own


class _Found(NamedTuple):
    """Samples and outbox at the end of a run."""

    samples: list[_Sample]
    next_seq: int
    waiting: list[int]


def run(findings: Findings, folder: Path, *, days: float) -> None:
    """Simulate ``days`` days, and check growth of resources and loss of alerts."""
    broker = Mosquitto(folder / "broker", PERSISTENT)
    receiver = Receiver(broker.port)
    (folder / "config.yaml").write_text(_text(folder, broker.port), encoding="utf-8")
    (folder / _SAMPLES).touch()
    command = [sys.executable, "-m", "tools.fault_injection.soak", str(folder), str(days)]
    restarts = 0
    with (folder / "agent.log").open("wb") as errors:
        process = subprocess.Popen(command, cwd=_ROOT, stdout=errors, stderr=errors)
    try:
        present = True
        while process.poll() is None:
            time.sleep(0.2)
            now = _samples(folder)
            day = now[-1].day if now else 0.0
            findings.progress(round(day * 24), round(days * 24))
            due = day % (_PRESENT_DAYS + _AWAY_DAYS) < _PRESENT_DAYS
            if due is not present:
                present = due
                restarts += present
                (broker.start if present else broker.kill)()
        if not present:
            broker.start()
        found = _left(folder)
        _settle(receiver, found)
    finally:
        process.kill()
        process.wait()
        receiver.close()
        broker.stop()
    findings.figure("restarts of the broker", restarts)
    findings.promise("the agent ends normally", process.returncode == 0)
    _judge(findings, folder, found, receiver)


def _samples(folder: Path) -> list[_Sample]:
    lines = (folder / _SAMPLES).read_bytes().splitlines()
    with contextlib.suppress(msgspec.DecodeError):  # the last line is being written
        return [msgspec.json.decode(line, type=_Sample) for line in lines]
    return []


def _left(folder: Path) -> _Found:
    outbox = Outbox(folder / "state")
    waiting = [msgspec.json.decode(payload, type=Alert).seq for _, payload in outbox.pending(0, 1_000_000)]
    next_seq = outbox.next_seq
    outbox.close()
    return _Found(_samples(folder), next_seq, waiting)


def _settle(receiver: Receiver, found: _Found) -> None:
    """Wait for the alerts that the broker still holds."""
    until, count, since = time.monotonic() + _PATIENCE_S, -1, time.monotonic()
    while time.monotonic() < until and time.monotonic() - since < _DONE_S:
        time.sleep(0.1)
        if len(receiver.alerts) != count:
            count, since = len(receiver.alerts), time.monotonic()
        if len(receiver.unique()) + len(found.waiting) >= found.next_seq - 1:
            return


def _judge(findings: Findings, folder: Path, found: _Found, receiver: Receiver) -> None:
    samples = found.samples
    settled = [s for s in samples if s.day >= _SETTLED_DAYS]
    text = (folder / "agent.log").read_text("utf-8")
    received = {alert.seq for alert in receiver.alerts}
    findings.figure("simulated days", round(samples[-1].day, 1))
    findings.figure("alerts", found.next_seq - 1)
    findings.figure("alerts waiting at the end", len(found.waiting))
    findings.figure("largest resident memory, MiB", round(max(s.rss_kib for s in samples) / 1024, 1))
    findings.figure("most threads", max(s.threads for s in samples))
    findings.figure("most descriptors", max(s.descriptors for s in samples))
    if samples[-1].day >= 2 * _SETTLED_DAYS:
        slope = float(np.polyfit([s.day for s in settled], [s.rss_kib for s in settled], 1)[0])
        findings.figure("growth of resident memory, KiB a day", round(slope, 2))
        findings.promise(f"memory grows by at most {_STEEPEST_KIB:g} KiB a day", slope <= _STEEPEST_KIB)
    half = len(samples) // 2
    for resource_name in ("threads", "descriptors"):
        # Compare medians: a file open only while it is written is no growth.
        first, second = (median(getattr(s, resource_name) for s in part) for part in (samples[:half], samples[half:]))
        findings.promise(f"{resource_name} do not grow", second <= first)
    findings.promise("the log has no traceback", "Traceback" not in text)
    numbers = received | set(found.waiting)
    findings.promise("alerts are numbered without gaps", numbers == set(range(1, found.next_seq)))
    findings.promise("alerts are raised", found.next_seq > 1)


def main() -> None:
    """Run the agent in this process."""
    parser = argparse.ArgumentParser(prog="python -m tools.fault_injection.soak")
    parser.add_argument("folder", type=Path)
    parser.add_argument("days", type=float)
    options = parser.parse_args()
    log_format.configure(20)
    clock = _Time(options.folder, options.days)
    path = options.folder / "config.yaml"
    clock.daemon = Daemon(configuration.load(path), clock, reload=lambda: configuration.load(path))
    clock.daemon.run()


if __name__ == "__main__":
    main()
