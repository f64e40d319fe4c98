"""Host recording at 1 Hz under scheduled stress: events found, their delay, and false incidents.

Without a recording in the folder ``--data``, the agent first makes one: twenty minutes of learning, then the stresses
of `tools.stress` in turn, one every two and a half minutes, then some quiet minutes.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import yaml
from rich.progress import Progress

from agent.alerting.budget import LOUDEST, AlertBudget
from agent.core.errors import EnvironmentFault, UserError
from agent.models import loader as agent_bundle
from tools.benchmark.accuracy import runner
from tools.benchmark.cost.opens import messages
from tools.benchmark.results import Results, mean_of
from tools.demo.tcp_listener import listening
from training.data.readers.options import ReadOptions
from training.data.readers.registry import read
from training.evaluation.baselines import relative_size
from training.reports.page.terminal import COLUMNS, console

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.models.bundle import Bundle
    from training.data.recording import Recording

__all__ = ["Event", "Opened", "Schedule", "add_arguments", "figures", "largest_steps", "read_schedule", "record", "run"]

# Seconds before the first stress, between stresses, and of a stress; chosen by hand.
_QUIET_S = 1200.0
_EVERY_S = 150.0
_STRESS_S = 30.0
#: Prefixes of the channels that each stress affects.
MOVES = {"cpu": ("cpu.", "load."), "memory": ("memory.", "swap."), "disk": ("disk.", "cpu."), "latency": ("latency.",)}
# Seconds after an event in which incidents count as neither found nor false: the load average decays slowly.
_AFTERMATH_S = 60.0
_HOUR_S, _DAY_S = 3600.0, 86400.0
_SCHEDULE = "schedule.json"
_COLUMNS = {
    "false an hour": 2,
    "events found %": 0,
    "named right %": 0,
    "median delay s": 1,
    "false sent a day": 1,
    "found at budget %": 0,
}
_CAPTION = (
    "An event is found if an incident opens during it, and named right if one of the channels it affects takes part. "
    "An incident at another time is false, except in the minute after an event. Found at budget treats each event as "
    "the only one of its day: its strength must pass the bar left by the false incidents before it. The rule without a "
    "model uses the threshold at which it raises as many false incidents as the agent."
)


class Event(msgspec.Struct, frozen=True):
    """A stress of the machine.

    Parameters
    ----------
    kind
        Key of `MOVES`.
    begin, end
        Seconds since 1970.
    """

    kind: str
    begin: float
    end: float


class Schedule(msgspec.Struct, frozen=True):
    """Schedule of the stresses during a recording.

    Parameters
    ----------
    machine
        Description of the machine.
    begin, end
        Begin and end of the recording without the learning time, seconds since 1970.
    events
        Stresses in order of time.
    """

    machine: str
    begin: float
    end: float
    events: tuple[Event, ...]

    def event_at(self, wall: float) -> int | None:
        """Index of the event at a time, None between events."""
        return next((i for i, event in enumerate(self.events) if event.begin <= wall <= event.end), None)

    def is_normal(self, wall: float) -> bool:
        """Whether a time lies in the recording but in no event or its aftermath."""
        disturbed = any(event.begin <= wall <= event.end + _AFTERMATH_S for event in self.events)
        return self.begin <= wall <= self.end and not disturbed

    def normal_s(self) -> float:
        """Seconds of normal time."""
        return sum(self.is_normal(self.begin + second) for second in range(int(self.end - self.begin)))


class Opened(msgspec.Struct):
    """An incident.

    Parameters
    ----------
    wall
        Opening time, seconds since 1970.
    channels
        All channels that took part.
    strength
        Largest strength, capped at the budget's `LOUDEST`.
    """

    wall: float
    channels: set[str]
    strength: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)
    parser.add_argument(
        "--minutes", type=float, default=100.0, metavar="N", help="length of a new recording (default 100)"
    )


def run(options: argparse.Namespace) -> Results:
    """Make a recording if there is none, run the agent on it, and score its incidents."""
    how = runner.setting(options)
    if not (options.data / _SCHEDULE).is_file():
        record(options.data, options.minutes * 60.0, how.alerts.learning_s)
    schedule = read_schedule(options.data / _SCHEDULE)
    recordings = list(read([options.data], ReadOptions(format="history")))
    draws = []
    for directory in how.bundles:
        bundle = agent_bundle.load(directory)
        opened = [one for part in recordings for one in _opened(part, bundle, how)]
        draws.append(figures(opened, schedule, how.alerts.budget_per_day))
    false = round(draws[0]["false an hour"] * schedule.normal_s() / _HOUR_S)
    rule = figures(largest_steps(recordings, schedule, false), schedule, how.alerts.budget_per_day)
    for name in ("false sent a day", "found at budget %"):  # the rule has no strength
        rule[name] = math.nan
    entries = (mean_of("incidents", "ours", draws), mean_of("step over its usual size", "no model", [rule]))
    channels, hours = len(recordings[0].channels), schedule.normal_s() / _HOUR_S
    title = f"{schedule.machine}: {channels} channels, {len(schedule.events)} stresses in {hours:.2f} normal hours"
    return Results(title, _COLUMNS, entries, caption=_CAPTION)


def figures(opened: Sequence[Opened], schedule: Schedule, per_day: float) -> dict[str, float]:
    """Score incidents against the schedule.

    Parameters
    ----------
    opened
        Incidents, oldest first.
    schedule
        Stresses of the recording.
    per_day
        Alert budget, incidents a day.
    """
    budget, sent, false = AlertBudget(per_day), 0, 0
    delays: dict[int, float] = {}
    named: set[int] = set()
    passed: set[int] = set()
    for one in opened:
        since = one.wall - schedule.begin
        event = schedule.event_at(one.wall)
        if event is not None:
            kind, begin = schedule.events[event].kind, schedule.events[event].begin
            delays.setdefault(event, one.wall - begin)
            if any(channel.startswith(MOVES[kind]) for channel in one.channels):
                named.add(event)
            if one.strength >= budget.needed(since):
                passed.add(event)
        elif schedule.is_normal(one.wall):
            false += 1
            sent += budget.admits(one.strength, since)
    n, normal_s = max(len(schedule.events), 1), schedule.normal_s()
    found = (
        false / normal_s * _HOUR_S,
        100 * len(delays) / n,
        100 * len(named) / n,
        float(np.median(list(delays.values()))) if delays else math.nan,
        sent / normal_s * _DAY_S,
        100 * len(passed) / n,
    )
    return dict(zip(_COLUMNS, found, strict=True))


def _opened(recording: Recording, bundle: Bundle, how: runner.Setting) -> list[Opened]:
    """All incidents of the agent on a recording, with an unlimited budget."""
    alerts = msgspec.structs.replace(how.alerts, budget_per_day=1e9)
    found: dict[str, Opened] = {}
    with Progress(*COLUMNS, console=console(), transient=True) as progress:
        bar = progress.add_task(f"rows by {bundle.label}", total=recording.rows)
        for row, raised in enumerate(messages(recording, bundle, how.detection, alerts)):
            for alert in raised:
                one = found.setdefault(alert.incident, Opened(float(recording.time[row]), set(), 0.0))
                one.strength = max(one.strength, min(alert.strength, LOUDEST))
                one.channels.update(contributor.channel for contributor in alert.contributors)
            progress.advance(bar)
    return list(found.values())


def largest_steps(recordings: Sequence[Recording], schedule: Schedule, false: int) -> list[Opened]:
    """Incidents of the rule without a model: the largest step of any channel relative to its usual size.

    The threshold is the lowest with at most ``false`` false incidents.
    """
    found: list[tuple[float, float, str]] = []
    for one in recordings:
        relative = np.nan_to_num(relative_size(np.diff(one.values, axis=0, prepend=np.nan)))
        which = relative.argmax(axis=1)
        found += [
            (float(one.time[row]), float(relative[row, which[row]]), one.channels[which[row]].name)
            for row in range(one.rows)
        ]
    found = [each for each in found if each[0] >= schedule.begin]
    levels = sorted({size for _, size, _ in found}, reverse=True)
    low, high = 0, len(levels) - 1
    while low < high:  # bisect for the lowest level with at most `false` false incidents
        middle = (low + high + 1) // 2
        raised = _merged(found, levels[middle])
        low, high = (middle, high) if sum(schedule.is_normal(o.wall) for o in raised) <= false else (low, middle - 1)
    return _merged(found, levels[low])


def _merged(found: list[tuple[float, float, str]], level: float) -> list[Opened]:
    """Merge rows at or above a level that are less than `_STRESS_S` apart into incidents."""
    opened: list[Opened] = []
    last = -math.inf
    for wall, size, channel in found:
        if size < level:
            continue
        if wall - last > _STRESS_S:
            opened.append(Opened(wall, set(), 1.0))
        opened[-1].channels.add(channel)
        last = wall
    return opened


def record(folder: Path, seconds: float, learning_s: float) -> None:
    """Let the agent record this machine during scheduled stresses.

    Raises
    ------
    UserError
        The time is too short for one stress of each kind.
    EnvironmentFault
        The agent or a stress failed.
    """
    from tools.benchmark.__main__ import machine  # noqa: PLC0415 - it imports the benchmarks

    kinds = list(MOVES)
    n = int((seconds - _QUIET_S - 5 * _EVERY_S) // _EVERY_S)
    if n < len(kinds):
        least = math.ceil((_QUIET_S + (5 + len(kinds)) * _EVERY_S) / 60.0)
        raise UserError("too short", location="--minutes", remedy=f"record for {least} minutes at least")
    folder.mkdir(parents=True, exist_ok=True)
    events: list[Event] = []
    with (
        listening(("127.0.0.1", 0)) as (host, port),
        _agent(folder, f"{host}:{port}") as agent,
        Progress(*COLUMNS, console=console(), transient=True) as progress,
    ):
        bar = progress.add_task("seconds recorded", total=round(seconds))
        begun, start = time.time(), time.monotonic()
        options = {"disk": ["--directory", str(folder)], "latency": ["--target", f"{host}:{port}"]}
        while (elapsed := time.monotonic() - start) < seconds:
            progress.update(bar, completed=round(elapsed))
            if agent.poll() is not None:
                raise EnvironmentFault("the agent ended", remedy=f"see {folder / 'agent.log'}")
            if len(events) < n and elapsed >= _QUIET_S + len(events) * _EVERY_S:
                kind = kinds[len(events) % len(kinds)]
                events.append(_stress(kind, options.get(kind, [])))
            time.sleep(1.0)
        schedule = Schedule(machine(), begun + learning_s, time.time(), tuple(events))
    (folder / _SCHEDULE).write_bytes(msgspec.json.format(msgspec.json.encode(schedule)))


@contextlib.contextmanager
def _agent(folder: Path, service: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the agent with default settings, a latency probe and a recorder, without a broker."""
    config = folder / "config.yaml"
    settings = {
        "sources": [{"type": "host"}, {"type": "latency", "targets": [{"name": "service", "tcp": service}]}],
        "state_dir": str(folder / "state"),
        "history": {"directory": str(folder)},
        "mqtt": {"host": "127.0.0.1", "port": 9},  # the discard port, closed on most machines
    }
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "agent", "run", "--config", str(config)]
    with (folder / "agent.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()


def _stress(kind: str, options: list[str]) -> Event:
    begin = time.time()
    command = [sys.executable, "-m", "tools.stress", kind, "--seconds", str(_STRESS_S), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise EnvironmentFault(f"the stress failed: {done.stderr.strip()}", location=kind)
    return Event(kind, begin, time.time())


def read_schedule(path: Path) -> Schedule:
    """Read the schedule of a recording.

    Raises
    ------
    UserError
        The file is missing or invalid.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Schedule)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(
            f"invalid schedule: {error}", location=str(path), remedy="remove the folder to record again"
        ) from error
