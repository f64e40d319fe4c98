"""Runs the agent in this process: the only file of this package that imports from it.

The command ``replay`` runs as a person calls it. The daemon runs with a clock that moves only when it sleeps, and with
a broker that is a list: sources, commands, snapshots and the outbox are the real ones.
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
# Central Europe by its rule, so that no database of time zones is needed: a change of the clocks is in the series.
_ZONE = "CET-1CEST,M3.5.0,M10.5.0/3"
_FOREIGN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "STATE_DIRECTORY", "EDGEWATCH_MQTT_PASSWORD", "CREDENTIALS_DIRECTORY")
_IN_MEMORY = "/dev/shm"  # noqa: S108 - a folder of a random name is made in it
_PATIENCE_S = 60.0
# Turns of the thread that writes: the one that may be under way, the one that commits, the one after its jobs.
_TURNS = 3
# Fields of a health message about this machine, the form of files, or how far the thread that writes is.
_OF_MACHINE = (
    *("version", "rss_mib", "step_ms_p50", "step_ms_p99"),
    *("snapshot_bytes", "outbox_depth", "outbox_durable"),
)


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Fix what the environment could change: the time zone, variables of service managers; keep the log quiet."""
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
    """Make a folder that is removed at the end; in memory where that is possible, since each snapshot is synced."""
    in_memory = "TMPDIR" not in os.environ and os.access(_IN_MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="behaviour-", dir=_IN_MEMORY if in_memory else None) as name:
        yield Path(name)


class Replayed(NamedTuple):
    """Output of ``edgewatch replay``.

    Parameters
    ----------
    table
        CSV, one row a step.
    incidents
        JSON, one message a line.
    summary
        Printed text, without the path and the seconds that it took.
    """

    table: str
    incidents: str
    summary: str


def replay(folder: Path, source: Path, config: Mapping[str, Any], arguments: Sequence[str] = ()) -> Replayed:
    """Run ``edgewatch replay`` over a CSV file.

    Parameters
    ----------
    folder
        Where to work.
    source
        The CSV file.
    config
        The configuration.
    arguments
        Further ones of the command.
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
    """Everything that the daemon said, in order, as objects of JSON.

    Attributes
    ----------
    messages
        By the last level of the topic: ``alert``, ``state``, ``metrics``, ``digest``, ``health``, ``answer``, ….
    """

    def __init__(self) -> None:
        self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def take(self, leaf: str, payload: bytes, instance: str) -> None:
        """Note a message; the random name of the installation is replaced by ``i``."""
        message = json.loads(payload.replace(f"-{instance}-".encode(), b"-i-"))
        if leaf == "health":
            message = {key: value for key, value in message.items() if key not in _OF_MACHINE}
        self.messages[leaf].append(message)


class _Link:
    """Stands for the connection to the broker: what is said is noted, and all is acknowledged at once."""

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
        """Nothing has to be started."""

    def renewed(self) -> bool:
        """Whether the connection is new since the last call."""
        new, self._new = self._new, False
        return new

    def publish(self, leaf: str, payload: msgspec.Struct, *, qos: int, retain: bool) -> None:
        """Note a message."""
        del qos, retain
        self._heard.take(leaf, msgspec.json.encode(payload), self._instance)

    def send(self, name: str, payload: bytes, *, qos: int, retain: bool = False, correlation: bytes = b"") -> None:
        """Note an answer or an announcement."""
        del qos, retain, correlation
        self._heard.take(name.rsplit("/", 1)[1], payload, self._instance)

    def say(self, topic: str, payload: bytes) -> None:
        """Let a message arrive."""
        self._waiting.append(Received(topic, payload.replace(b"-i-", f"-{self._instance}-".encode())))

    def received(self) -> list[Received]:
        """Messages that have arrived since the last call."""
        arrived, self._waiting = self._waiting, []
        return arrived

    def pump(self, outbox: Any) -> None:
        """Take all alerts that wait."""
        waiting = outbox.pending(0, 1_000_000)
        for _, payload in waiting:
            self._heard.take("alert", payload, self._instance)
        if waiting:
            outbox.acknowledge([rowid for rowid, _ in waiting])
        self._turns.release()

    def stop(self, outbox: Any) -> None:
        """Take what waits still."""
        self.pump(outbox)

    def settle(self) -> None:
        """Wait until everything handed over before is on disk."""
        while self._turns.acquire(blocking=False):
            pass
        for _ in range(_TURNS):
            self._on_progress()
            if not self._turns.acquire(timeout=_PATIENCE_S):
                raise TimeoutError("the thread that writes to disk does not answer")


#: By tick, counted from the start of the run, what happens before it is read.
Script: TypeAlias = "Mapping[int, Sequence[Callable[[DaemonRun], None]]]"


class DaemonRun:
    """One run of the daemon, and the clock that it goes by.

    Parameters
    ----------
    folder
        Where its state lies, in ``state``.
    config
        Its configuration.
    script
        What happens during the run.
    wall
        Time of the first tick, seconds since 1970.
    heard
        Where messages are noted.
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
        """No name: time that passes between runs is told by the wall clock."""
        return ""

    def monotonic_ns(self) -> int:
        """Nanoseconds slept so far."""
        return self.now_ns

    def wall(self) -> float:
        """Time of day: the start and what was slept."""
        return self._wall + self.now_ns / 1e9

    def sleep_until(self, deadline_ns: int) -> bool:
        """Jump to the deadline of a tick, once all before it is on disk, and do what the script says."""
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
        """Always."""
        return True

    # For scripts.

    def jump(self, seconds: float, *, wall_s: float = 0.0) -> None:
        """Let time pass without a tick, and set the wall clock forward."""
        self.now_ns += round(seconds * 1e9)
        self._wall += wall_s

    def command(self, **fields: Any) -> None:
        """Send a command; ``$newest`` stands for the newest incident."""
        newest = self.heard.messages["alert"][-1]["incident"] if self.heard.messages["alert"] else "none"
        text = json.dumps(fields).replace("$newest", newest)
        if self._link is not None:
            self._link.say("edgewatch/n/cmd", text.encode())

    def keep_copy(self, name: str) -> None:
        """Copy the state directory as it is now, as if the power were cut."""
        shutil.copytree(self.folder / "state", self.folder / name / "state")

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write to the socket ``in`` and wait until the readings have arrived."""
        taken = _Watched.taken
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
            writer.sendto("\n".join(lines).encode(), str(self.folder / "in"))
        if not taken.acquire(timeout=_PATIENCE_S):
            raise TimeoutError("no reading arrived")

    def run(self) -> None:
        """Run the daemon until its clock is stopped or its sources end."""

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
    """Readings that come by themselves, on the clock of the run; tells when some have arrived."""

    seconds: Callable[[], float] = staticmethod(time.monotonic)
    taken = threading.Semaphore(0)

    def __init__(self, config: Any) -> None:
        super().__init__(config, lambda: type(self).seconds())

    def take(self, readings: Iterable[tuple[str, float]]) -> None:
        """Take in readings, then say so."""
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
    """Run the daemon over its sources; gives everything that it said.

    Parameters
    ----------
    folder
        Where its state lies; a second run there goes on from the first.
    config
        Its configuration, but for node, folder and what is published, which are set here.
    script
        What happens during the run.
    wall
        Time of the first tick, seconds since 1970.
    heard
        Where messages are noted; a new one by default.
    """
    interval_s = config.get("interval_s", 1.0)
    whole = {
        "node": "n",
        "state_dir": str(folder / "state"),
        "mqtt": {"metrics_interval_s": interval_s, "health_interval_s": 600.0 * interval_s, "commands": True},
        # Alerts of the past are not too old to be sent.
        "outbox": {"max_age_s": 1e10},
        **config,
    }
    ran = DaemonRun(folder, whole, script or {}, wall, heard)
    ran.run()
    return ran.heard
