"""Data of the benchmark of alerts: public sets with labels, and fleets of simulated hosts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.core.channel import Channel
from agent.core.errors import UserError
from tools.benchmark.accuracy.alert_score import Event
from training.data.readers.arrays import load_npz
from training.data.readers.options import ReadOptions
from training.data.readers.registry import read
from training.data.recording import Recording
from training.evaluation.metrics.events import intervals
from training.synthetic.host import CHANNELS, HostSpec, simulate_host
from training.synthetic.host_faults import FAULT_KINDS, fault_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.core.arrays import BoolArray
    from training.synthetic.host_faults import FaultKind

__all__ = ["SETS", "Node", "fleet", "read_set"]

_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86400.0
# Days of a KPI that are learned and scored: enough for two weeks' seasons, and no more because of the run time.
_KPI_LEARNED_DAYS, _KPI_SCORED_DAYS = 14, 21
# Seconds at the start of a node that are learned only, where the data define no training part. Chosen by hand.
_LEARNED_S = 600.0
# Rows that a simulated host learns at least before it is scored. Chosen by hand.
_LEARNED_ROWS = 100
# Seconds between two readings of a mote.
_MOTE_S = 5.0
# Hours of the day at which faults begin in turn: a quiet, a busy and a middling one. Chosen by hand.
_HOURS = (3.3, 11.1, 19.6)
# Distance of the kinds of two faults of one host in the list of kinds; has no common divisor with its length.
_KIND_STEP = 3


@dataclass(frozen=True)
class Node:
    """A recording with its events.

    Parameters
    ----------
    recording
        Readings of one node.
    events
        Labelled events in order of time.
    begin
        First moment that is scored, seconds since 1970.
    """

    recording: Recording
    events: tuple[Event, ...]
    begin: float


def _kpis(folder: Path) -> list[Node]:
    """AIOps challenge: the last 14 days of the training part are learned, 21 days of the test part scored."""
    nodes = []
    for file in sorted(folder.glob("*.npz")):
        names = ("train", "test", "train_label", "test_label", "train_timestamp", "test_timestamp")
        train, test, train_label, test_label, train_time, test_time = load_npz(file, names)
        interval_s = float(np.median(np.diff(train_time)))
        day = int(_DAY_S / interval_s)
        learned, scored = slice(-_KPI_LEARNED_DAYS * day, None), slice(_KPI_SCORED_DAYS * day)
        values = np.concatenate((train[learned], test[scored])).astype(np.float32).reshape(-1, 1)
        labels = np.concatenate((train_label[learned], test_label[scored])) != 0
        time = np.concatenate((train_time[learned], test_time[scored])).astype(np.float64)
        recording = Recording(file.stem, (Channel("value"),), interval_s, time, values, labels)
        nodes.append(Node(recording, _events(recording, labels), float(test_time[0])))
    return nodes


def _machines(folder: Path) -> list[Node]:
    """Server Machine Dataset: the published training half is learned, the test half scored."""
    nodes = []
    for file in sorted(folder.glob("machine-*.npz")):
        train, test, label = load_npz(file, ("train", "test", "test_label"))
        values = np.concatenate((train, test)).astype(np.float32)
        labels = np.concatenate((np.zeros(len(train), bool), label != 0))
        time = _MINUTE_S * np.arange(len(values), dtype=np.float64)
        channels = tuple(Channel(f"metric.{index + 1}") for index in range(values.shape[1]))
        recording = Recording(file.stem, channels, _MINUTE_S, time, values, labels, timed=False)
        nodes.append(Node(recording, _events(recording, labels), float(time[len(train)])))
    return nodes


def _live_host(folder: Path) -> list[Node]:
    """A busy host at 1 Hz with injected faults; its first ten minutes are learned."""
    (recording,) = read([folder / "busy.csv"], ReadOptions())
    told = json.loads((folder / "busy.labels.json").read_text())
    events = tuple(Event(each["a"], each["b"], each["kind"], tuple(each["ch"])) for each in told)
    keep = [index for index, channel in enumerate(recording.channels) if channel.name != "late_ms"]
    recording = Recording(
        recording.name,
        tuple(recording.channels[index] for index in keep),
        recording.interval_s,
        recording.time,
        recording.values[:, keep],
    )
    return [Node(recording, events, float(recording.time[0]) + _LEARNED_S)]


def _motes(folder: Path) -> list[Node]:
    """Four wireless motes with humidity and temperature every five seconds; the first ten minutes are learned."""
    table = np.genfromtxt(folder / "data.csv", delimiter=",", names=True)
    nodes = []
    for mote in np.unique(table["mote_id"]).tolist():
        rows = table[table["mote_id"] == mote]
        time = _MOTE_S * rows["reading"]
        values = np.stack((rows["humidity"], rows["temperature"]), axis=1).astype(np.float32)
        labels: BoolArray = rows["label"] != 0
        channels = (Channel("humidity", "%"), Channel("temperature", "°C"))
        recording = Recording(f"mote {mote:g}", channels, _MOTE_S, time, values, labels, timed=False)
        nodes.append(Node(recording, _events(recording, labels), float(time[0]) + _LEARNED_S))
    return nodes


def _events(recording: Recording, labels: BoolArray) -> tuple[Event, ...]:
    time = recording.time
    return tuple(Event(float(time[begin]), float(time[end - 1])) for begin, end in intervals(labels).tolist())


def fleet(interval_s: float, hosts: int, days: int, faulty_days: Iterable[int], first_seed: int) -> list[Node]:
    """Simulate hosts with one fault on each of some days, the kinds and times of day in turn.

    Parameters
    ----------
    interval_s
        Seconds between rows.
    hosts
        Number of hosts; each has the next seed.
    days
        Length in days.
    faulty_days
        Days with a fault, from 1 on.
    first_seed
        Seed of the first host.
    """
    faulty, nodes = tuple(faulty_days), []
    for host in range(hosts):
        plan = []
        for number, day in enumerate(faulty):
            kind = FAULT_KINDS[(host + _KIND_STEP * number) % len(FAULT_KINDS)]
            hour = _HOURS[(host + number) % len(_HOURS)]
            plan.append((kind, (day - 1) * _DAY_S + hour * _HOUR_S))
        nodes.append(_host(interval_s, days, tuple(plan), first_seed + host))
    return nodes


def _host(interval_s: float, days: float, plan: tuple[tuple[FaultKind, float], ...], seed: int) -> Node:
    host = simulate_host(HostSpec(seed=seed, interval_s=interval_s, days=days, faults=plan))
    start = float(host.time[0])
    recording = Recording(f"host {seed}", CHANNELS, interval_s, host.time, host.values)
    events = tuple(
        Event(start + each.begin_s, start + each.end_s, each.kind, fault_of(each.kind).channels) for each in host.faults
    )
    return Node(recording, events, start + max(_LEARNED_S, _LEARNED_ROWS * interval_s))


#: Nodes of each set: from a folder that holds the public sets, and the first seed of simulated ones.
SETS: dict[str, Callable[[Path, int], list[Node]]] = {
    "aiops_kpi": lambda data, _: _kpis(data / "aiops_kpi"),
    "smd": lambda data, _: _machines(data / "smd"),
    "host_live": lambda data, _: _live_host(data / "host_live"),
    "lwsndr_single_hop": lambda data, _: _motes(data / "lwsndr_single_hop"),
    "hosts 60 s": lambda _, seed: fleet(60.0, 14, 14, (4, 6, 8, 10, 12, 14), seed),
    "hosts 300 s": lambda _, seed: fleet(300.0, 14, 14, (4, 6, 8, 10, 12, 14), seed),
    "hosts 30 s start": lambda _, seed: fleet(30.0, 14, 3, (1, 3), seed),
    "hosts 1 s start": lambda _, seed: fleet(1.0, 5, 3, (1, 3), seed),
    "hosts 60 s quiet": lambda _, seed: fleet(60.0, 6, 14, (), seed),
}


def read_set(name: str, data: Path, first_seed: int) -> list[Node]:
    """Read or simulate the nodes of a set.

    Parameters
    ----------
    name
        One of `SETS`.
    data
        Folder that holds the public sets, each in a folder of its name.
    first_seed
        Seed of the first simulated host.

    Raises
    ------
    UserError
        There is no set of this name, or its data are missing or damaged.
    """
    if name not in SETS:
        raise UserError(f"unknown set {name!r}", location="--sets", remedy=f"choose among {', '.join(SETS)}")
    where = str(data / name)
    try:
        nodes = SETS[name](data, first_seed)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", location=where, remedy="download the set again") from error
    if not nodes:
        raise UserError("contains no node", location=where, remedy="put the files of the set into this folder")
    return nodes
