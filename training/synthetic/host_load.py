"""Load of a simulated host by cause: users, jobs by the clock, and faults. Readings follow from it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from training.synthetic.host_faults import fault_of
from training.synthetic.noise import log_uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import Float64Array
    from training.synthetic.host_faults import PlantedFault

__all__ = ["Grid", "Job", "Load", "add_fault", "add_job", "backup", "disturbed", "other_jobs"]

_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86400.0
# Largest delay of the clock's own jobs in seconds, chosen by hand: a timer with a little slack.
_SLACK_S = 5.0


@dataclass(frozen=True)
class Grid:
    """Times of the rows; a reading is the mean over the interval that ends with its row.

    Parameters
    ----------
    times
        float64[rows], seconds since the start.
    interval_s
        Seconds between rows.
    """

    times: Float64Array
    interval_s: float

    def covered(self, begin: float, end: float) -> tuple[slice, Float64Array]:
        """Rows that a span touches, and the share of their intervals that lies in it, float64[touched]."""
        first = min(max(int(begin // self.interval_s) + 1, 0), self.times.size)
        last = min(max(int(np.ceil(end / self.interval_s)) + 1, first), self.times.size)
        upper = self.times[first:last]
        overlap = np.minimum(upper, end) - np.maximum(upper - self.interval_s, begin)
        share: Float64Array = np.maximum(overlap, 0.0) / self.interval_s
        return slice(first, last), share


@dataclass(frozen=True)
class Load:
    """Load by cause, float64[rows] each.

    Parameters
    ----------
    users
        Traffic of the users, about 1 at the daily peak.
    cpu
        Points of the processors' percent beside the users' share.
    read, write, sent
        Bytes per second from and to the disk, and to the network.
    memory, fullness
        Points of the memory's and of the disk's percent.
    processes
        Number of processes.
    down
        Above 0 while the application does not answer.
    traffic, errors, slowness, gateway
        Factors on the traffic, the errors and the latency of the application, and on the latency of the gateway.
    """

    users: Float64Array
    cpu: Float64Array
    read: Float64Array
    write: Float64Array
    sent: Float64Array
    memory: Float64Array
    fullness: Float64Array
    processes: Float64Array
    down: Float64Array
    traffic: Float64Array
    errors: Float64Array
    slowness: Float64Array
    gateway: Float64Array

    @classmethod
    def idle(cls, rows: int) -> Load:
        """Load of a host with nothing to do."""
        load = {each.name: np.zeros(rows) for each in fields(cls)}
        return cls(**load | {name: np.ones(rows) for name in ("traffic", "errors", "slowness", "gateway")})


@dataclass(frozen=True)
class Job:
    """Load of a job during each of its ``runs``, begin and end in seconds since the start; see `Load`."""

    runs: tuple[tuple[float, float], ...]
    cpu: float = 0.0
    read: float = 0.0
    write: float = 0.0
    sent: float = 0.0
    memory: float = 0.0
    processes: float = 0.0


def add_job(load: Load, job: Job, grid: Grid) -> None:
    """Add a job's load in place."""
    activity = np.zeros(grid.times.size)
    for begin, end in job.runs:
        rows, share = grid.covered(begin, end)
        activity[rows] += share
    for name in ("cpu", "read", "write", "sent", "memory", "processes"):
        getattr(load, name)[:] += getattr(job, name) * activity


def add_fault(load: Load, fault: PlantedFault, grid: Grid) -> None:
    """Add a fault's load in place; the faults of the backup change its runs instead."""
    effects = fault_of(fault.kind)
    rows, share = grid.covered(fault.begin_s, fault.end_s)
    course = (grid.times[rows] - fault.begin_s) / max(fault.end_s - fault.begin_s, grid.interval_s)
    for name, size in effects.added.items():
        getattr(load, name)[rows] += size * share
    for name, size in effects.grown.items():
        getattr(load, name)[rows] += size * share * np.clip(course, 0.0, 1.0)
    for name, factor in effects.factors.items():
        getattr(load, name)[rows] *= 1.0 + (factor - 1.0) * share


def backup(machine: np.random.Generator, days: float) -> Job:
    """Nightly backup: reads the disk and sends it away, for 20 to 60 minutes."""
    at_s = machine.uniform(0.5, 5.0) * _HOUR_S
    length_s = machine.uniform(20.0, 60.0) * _MINUTE_S
    runs = []
    for day in range(int(np.ceil(days))):
        begin = day * _DAY_S + at_s + machine.uniform(0.0, 2.0) * _MINUTE_S
        runs.append((begin, begin + length_s * machine.uniform(0.92, 1.08)))
    rate = log_uniform(machine, 5e6, 60e6)
    return Job(
        tuple(runs),
        cpu=machine.uniform(15.0, 60.0),
        read=rate,
        write=rate * 0.05,
        sent=rate * machine.uniform(0.2, 0.8),
        memory=machine.uniform(0.0, 3.0),
        processes=4.0,
    )


def other_jobs(machine: np.random.Generator, days: float, size: float) -> list[Job]:
    """Package update every morning, log rotation at midnight, jobs every hour and every few minutes, a weekly scan.

    Parameters
    ----------
    machine
        Source of the host's own parameters.
    days
        Length of the simulation.
    size
        Size of the host, 0 to 1.
    """
    update_at, weekly_at = machine.uniform(6.0, 7.0), machine.uniform(1.0, 6.0)
    minute, every_s = machine.uniform(0.0, 59.0), machine.choice([300.0, 600.0, 900.0])
    dates = np.arange(np.ceil(days))
    hours = np.arange(np.ceil(days * 24))
    update = (dates * 24 + update_at + machine.uniform(0.0, 1.0, dates.size)) * _HOUR_S
    weekly = (dates[dates % 7 == 6] * 24 + weekly_at) * _HOUR_S
    often = np.arange(0.0, days * _DAY_S, every_s)
    return [
        Job(
            _runs(machine, update, 45.0, 180.0),
            cpu=machine.uniform(20.0, 70.0), read=4e6, write=8e6, sent=2e4, memory=2.0, processes=6.0,
        ),
        Job(_runs(machine, dates * _DAY_S, 10.0, 25.0), cpu=15.0, read=6e6, write=12e6, processes=2.0),
        Job(
            _runs(machine, hours * _HOUR_S + minute * _MINUTE_S, 15.0, 60.0),
            cpu=machine.uniform(5.0, 30.0), read=1e6 * size, write=2e6 * size, processes=2.0,
        ),
        Job(_runs(machine, often, 3.0, 12.0), cpu=machine.uniform(2.0, 12.0), read=1e5, write=2e5, processes=1.0),
        Job(
            _runs(machine, weekly, 2 * _HOUR_S, 2.4 * _HOUR_S),
            cpu=machine.uniform(8.0, 25.0), read=log_uniform(machine, 2e7, 1e8), processes=1.0,
        ),
    ]  # fmt: skip


def _runs(
    machine: np.random.Generator, starts: Float64Array, shortest_s: float, longest_s: float
) -> tuple[tuple[float, float], ...]:
    begins = starts + machine.uniform(0.0, _SLACK_S, starts.size)
    ends = begins + machine.uniform(shortest_s, longest_s, starts.size)
    return tuple(zip(begins.tolist(), ends.tolist(), strict=True))


def disturbed(runs: Sequence[tuple[float, float]], faults: Sequence[PlantedFault]) -> tuple[tuple[float, float], ...]:
    """Runs of the backup without the missing ones, and with the overlong ones prolonged."""
    missing = {fault.begin_s for fault in faults if fault.kind == "missing_backup"}
    longer = {fault.begin_s: fault.end_s for fault in faults if fault.kind == "overlong_backup"}
    return tuple((begin, longer.get(end, end)) for begin, end in runs if begin not in missing)
