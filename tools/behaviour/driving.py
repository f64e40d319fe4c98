"""Run the agent in this process; no other file of this package imports the agent.

``replay`` runs through its command line. The daemon runs on a fake clock that advances only when it sleeps, and with a
list of messages in place of the broker; sources, commands, snapshots and the outbox are real.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from unittest.mock import patch

import msgspec

import agent
from agent.cli.main import main
from agent.config.loader import parse
from agent.mqtt.received import Received
from agent.service import daemon, parts
from agent.sources import push_buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["PACKAGE", "DaemonRun", "Heard", "Replayed", "Script", "replay", "run_daemon", "steady", "working_folder"]

#: Folder of the agent's package.
PACKAGE = Path(agent.__file__).parent
# Central Europe as a POSIX rule, which needs no time zone database; one series crosses the change to summer time.
_ZONE = "CET-1CEST,M3.5.0,M10.5.0/3"
_FOREIGN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "STATE_DIRECTORY", "EDGEWATCH_MQTT_PASSWORD", "CREDENTIALS_DIRECTORY")
_IN_MEMORY = "/dev/shm"  # noqa: S108 - a folder of a random name is made in it
# Seconds to wait for another thread before a run fails; chosen by hand, far beyond any normal wait.
_PATIENCE_S = 60.0
# Turns of the writer thread until all earlier work is on disk: one possibly under way, one that commits, one after it.
_TURNS = 3
# Fields of a health message that depend on the machine, the file format or the progress of the writer thread.
_OF_MACHINE = (
    *("version", "rss_mib", "step_ms_p50", "step_ms_p99"),
    *("snapshot_bytes", "outbox_depth", "outbox_durable"),
)


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Set a fixed time zone, unset the variables of service managers, and disable logging."""
    before = {name: os.environ.get(name) for name in ("TZ", *_FOREIGN)}
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    for name in _FOREIGN:
        os.environ.pop(name, None)
    os.environ["TZ"] = _ZONE
    time.tzset()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        time.tzset()
        logging.disable(disabled)


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """Make a temporary folder; in memory if possible, since every snapshot is followed by fsync."""
    in_memory = "TMPDIR" not in os.environ and os.access(_IN_MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="behaviour-", dir=_IN_MEMORY if in_memory else None) as name:
        yield Path(name)


class Replayed(NamedTuple):
    """Output of ``edgewatch replay``.

    Parameters
    ----------
    table
        Text of the CSV file, one row a step.
    incidents
        Text of JSON lines, one message a line.
    summary
        Printed text, without the folder and the run time.
    """

    table: str
    incidents: str
    summary: str


def replay(folder: Path, source: Path, config: Mapping[str, Any], arguments: Sequence[str] = ()) -> Replayed:
    """Run ``edgewatch replay`` over a CSV file.

    Parameters
    ----------
    folder
        Folder for configuration and outputs.
    source
        The CSV file.
    config
        Configuration, except ``node`` and ``state_dir``.
    arguments
        Further arguments of the command.

    Raises
    ------
    RuntimeError
        The command failed.
    """
    path, output, incidents = folder / "config.yaml", folder / "output.csv", folder / "incidents.jsonl"
    path.write_text(json.dumps({"node": "n", "state_dir": str(folder / "state"), **config}), encoding="utf-8")
    printed = io.StringIO()
    files = ("--config", path, "--input", source, "--output", output, "--incidents", incidents)
    with contextlib.redirect_stdout(printed):
        code = main(["replay", *map(str, files), *arguments])
    if code:
        raise RuntimeError(f"replay ended with {code}")
    summary = printed.getvalue().replace(str(source), source.name)
    summary = re.sub(r"; [0-9.]+ s$", "", summary, flags=re.MULTILINE)
    return Replayed(output.read_text("utf-8"), incidents.read_text("utf-8"), summary)


class Heard:
    """Messages published by the daemon, in order, as objects of JSON.

    Attributes
    ----------
    messages
        By the last level of the topic: ``alert``, ``state``, ``metrics``, ``digest``, ``health``, ``answer``, ….
    """

    def __init__(self) -> None:
        self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def take(self, leaf: str, payload: bytes, instance: str) -> None:
        """Record a message, with the random instance name replaced by ``i``."""
        message = json.loads(payload.replace(f"-{instance}-".encode(), b"-i-"))
        if leaf == "health":
            message = {key: value for key, value in message.items() if key not in _OF_MACHINE}
        self.messages[leaf].append(message)


class _Link:
    """Fake publisher: records messages and acknowledges them at once."""

    def __init__(self, heard: Heard, instance: str, on_progress: Callable[[], None]) -> None:
        self._heard = heard
        self._instance = instance
        self._turns = threading.Semaphore(0)
        self._waiting: list[Received] = []
        self._new = True
        self._on_progress = on_progress
        self.connected = True
        self.reconnects = self.refused = self.discarded = 0

    def start(self) -> None:
        """Do nothing."""

    def renewed(self) -> bool:
        """Whether the connection is new since the last call."""
        new, self._new = self._new, False
        return new

    def publish(self, leaf: str, payload: msgspec.Struct, *, qos: int, retain: bool) -> None:
        """Record a message."""
        del qos, retain
        self._heard.take(leaf, msgspec.json.encode(payload), self._instance)

    def send(self, name: str, payload: bytes, *, qos: int, retain: bool = False, correlation: bytes = b"") -> None:
        """Record an answer or an announcement."""
        del qos, retain, correlation
        self._heard.take(name.rsplit("/", 1)[1], payload, self._instance)

    def deliver(self, topic: str, payload: bytes) -> None:
        """Deliver a message to the daemon."""
        self._waiting.append(Received(topic, payload.replace(b"-i-", f"-{self._instance}-".encode())))

    def received(self) -> list[Received]:
        """Messages that have arrived since the last call."""
        arrived, self._waiting = self._waiting, []
        return arrived

    def pump(self, outbox: Any) -> None:
        """Record and acknowledge all pending alerts."""
        waiting = outbox.pending(0, 1_000_000)
        for _, payload in waiting:
            self._heard.take("alert", payload, self._instance)
        if waiting:
            outbox.acknowledge([rowid for rowid, _ in waiting])
        self._turns.release()

    def stop(self, outbox: Any) -> None:
        """Record the remaining alerts."""
        self.pump(outbox)

    def settle(self) -> None:
        """Wait until all earlier work of the writer thread is on disk."""
        while self._turns.acquire(blocking=False):
            pass
        for _ in range(_TURNS):
            self._on_progress()
            if not self._turns.acquire(timeout=_PATIENCE_S):
                raise TimeoutError("the writer thread does not respond")


#: Actions by tick, counted from the start of the run; they run before that tick is read.
Script: TypeAlias = "Mapping[int, Sequence[Callable[[DaemonRun], None]]]"


class DaemonRun:
    """One run of the daemon, and its fake clock.

    Parameters
    ----------
    folder
        Parent of the state directory ``state``.
    config
        Configuration of the daemon.
    script
        Actions by tick.
    wall
        Time of the first tick, seconds since 1970.
    heard
        Receives the messages.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], script: Script, wall: float, heard: Heard | None = None
    ) -> None:
        self.folder = folder
        self.config = dict(config)
        self.heard = heard or Heard()
        self.now_ns = 0
        self._wall = wall
        self._script = script
        self._tick = 0
        self._stopped = False
        self._link: _Link | None = None

    # The agent's `Clock`.

    def boot(self) -> str:
        """Empty boot identifier: the wall clock decides how much time passed between runs."""
        return ""

    def monotonic_ns(self) -> int:
        """Nanoseconds of simulated time so far."""
        return self.now_ns

    def wall(self) -> float:
        """Simulated wall clock, seconds since 1970."""
        return self._wall + self.now_ns / 1e9

    def sleep_until(self, deadline_ns: int) -> bool:
        """Advance to the deadline of a tick once earlier work is on disk, and run the tick's actions."""
        if self._link is not None:
            self._link.settle()
        self.now_ns = max(self.now_ns, deadline_ns)
        for act in self._script.get(self._tick, ()):
            act(self)
        self._tick += 1
        return not self._stopped

    def stop(self) -> None:
        """End the run before the next reading."""
        self._stopped = True

    def synchronised(self) -> bool:
        """Report a synchronised clock."""
        return True

    # For scripts.

    def jump(self, seconds: float, *, wall_s: float = 0.0) -> None:
        """Let ``seconds`` pass without a tick, and set the wall clock forward by ``wall_s``."""
        self.now_ns += round(seconds * 1e9)
        self._wall += wall_s

    def command(self, **fields: Any) -> None:
        """Send a command; ``$newest`` is replaced by the id of the newest incident."""
        newest = self.heard.messages["alert"][-1]["incident"] if self.heard.messages["alert"] else "none"
        text = json.dumps(fields).replace("$newest", newest)
        if self._link is not None:
            self._link.deliver("edgewatch/n/cmd", text.encode())

    def keep_copy(self, name: str) -> None:
        """Copy the state directory during the run, as a power cut would leave it."""
        shutil.copytree(self.folder / "state", self.folder / name / "state")

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines to the socket ``in`` and wait until they are read."""
        taken = _Watched.taken
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
            writer.sendto("\n".join(lines).encode(), str(self.folder / "in"))
        if not taken.acquire(timeout=_PATIENCE_S):
            raise TimeoutError("no reading arrived")

    def run(self) -> None:
        """Run the daemon until `stop` is called or its sources end."""

        def made(mqtt: Any, node: str, instance: str, filters: object, on_progress: Callable[[], None]) -> _Link:
            del mqtt, node, filters
            self._link = _Link(self.heard, instance, on_progress)
            return self._link

        def read() -> Any:
            return parse(json.dumps(self.config).encode())

        _Watched.seconds = lambda: self.now_ns / 1e9
        with (
            patch.object(parts, "Publisher", made),
            patch.object(push_buffer, "PushBuffer", _Watched),
        ):
            daemon.Daemon(read(), self, reload=read).run()
        gc.unfreeze()


class _Watched(push_buffer.PushBuffer):
    """A push buffer on the run's clock that signals each arrival."""

    seconds: Callable[[], float] = staticmethod(time.monotonic)
    taken = threading.Semaphore(0)

    def __init__(self, config: Any) -> None:
        super().__init__(config, lambda: type(self).seconds())

    def take(self, readings: Iterable[tuple[str, float]]) -> None:
        """Store readings and signal their arrival."""
        super().take(readings)
        type(self).taken.release()


def run_daemon(
    folder: Path,
    config: Mapping[str, Any],
    script: Script | None = None,
    *,
    wall: float,
    heard: Heard | None = None,
) -> Heard:
    """Run the daemon over its sources and return its messages.

    Parameters
    ----------
    folder
        Parent of the state directory; a second run in the same folder resumes the first.
    config
        Configuration, without node, state directory and publishing intervals, which are set here.
    script
        Actions by tick.
    wall
        Time of the first tick, seconds since 1970.
    heard
        Receives the messages; new by default.
    """
    interval_s = config.get("interval_s", 1.0)
    whole = {
        "node": "n",
        "state_dir": str(folder / "state"),
        "mqtt": {"metrics_interval_s": interval_s, "health_interval_s": 600.0 * interval_s, "commands": True},
        # The simulated time is in the past: its alerts must not expire.
        "outbox": {"max_age_s": 1e10},
        **config,
    }
    ran = DaemonRun(folder, whole, script or {}, wall, heard)
    ran.run()
    return ran.heard
