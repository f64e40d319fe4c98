"""A simulated host: channels with causes behind them (users, jobs, faults), at any sampling interval.

Users follow the day and the week. Jobs run by the clock, with jitter: a nightly backup, a daily package update, log
rotation, jobs every five minutes, hour and week. Channels follow from both, so that a fault shows wherever its cause
acts. Labels name only the faults: everything a job does is normal. Sizes and rates are chosen by hand, after small
servers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from agent.core.channel import Channel
from training.synthetic.host_faults import PlantedFault, fault_of
from training.synthetic.host_load import Grid, Load, add_fault, add_job, backup, disturbed, other_jobs
from training.synthetic.noise import log_uniform, smooth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import Float32Array, Float64Array
    from training.synthetic.host_faults import FaultKind

__all__ = ["CHANNELS", "HostSpec", "SimulatedHost", "simulate_host"]

_DAY_S = 86400.0
# Monday, 5 January 2026, 00:00 UTC: days of the week count from the start.
_START = 1767571200.0
# Seconds over which noise is alike: longer intervals average it out. Chosen by hand.
_NOISE_S = 10.0
# Share of the weekend in the load by day of the week; it begins and ends within five hours. Chosen by hand.
_WEEK_DAYS, _WEEKEND = (0.0, 0.1, 4.9, 5.1, 6.9, 7.0), (0.5, 0.0, 0.0, 1.0, 1.0, 0.5)
# Share of the requests that fail without a fault, chosen by hand.
_FAILING = 0.012


def _percent(name: str, effect: float, alarm_above: float = np.inf) -> Channel:
    return Channel(name, "%", effect=effect, minimum=0.0, maximum=100.0, alarm_above=alarm_above)


def _rate(name: str, log_reference: float) -> Channel:
    return Channel(name, "B/s", effect=2.0, log_reference=log_reference, minimum=0.0)


#: Channels of every simulated host, with scales and smallest effects as the agent's sources give them.
CHANNELS: tuple[Channel, ...] = (
    _percent("cpu.percent", 10.0),
    _percent("cpu.iowait", 10.0),
    Channel("load.1m", effect=0.5, minimum=0.0),
    _percent("memory.percent", 2.0, 98.0),
    _percent("swap.percent", 2.0),
    _percent("disk.percent", 2.0, 95.0),
    _rate("disk.read", 256e3),
    _rate("disk.write", 256e3),
    _rate("network.rx", 10e3),
    _rate("network.tx", 10e3),
    Channel("processes", effect=10.0, minimum=0.0),
    Channel("temperature.cpu", "°C", effect=3.0),
    Channel("latency.gateway", "ms", effect=2.0, log_reference=0.5, minimum=0.0),
    Channel("app.requests", "1/s"),
    Channel("app.errors", "1/s"),
    Channel("app.latency", "ms", effect=2.0, log_reference=0.5, minimum=0.0),
)


class HostSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a simulated host.

    Parameters
    ----------
    seed
        The same seed and parameters give the same host.
    interval_s
        Seconds between rows.
    days
        Length in days; the first is a Monday.
    faults
        Kind and begin of each fault, seconds since the start. The faults of the backup begin when the backup of that
        day ends (`overlong_backup`) or starts (`missing_backup`).
    """

    seed: int = 0
    interval_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    days: Annotated[float, msgspec.Meta(gt=0)] = 14.0
    faults: tuple[tuple[FaultKind, float], ...] = ()


@dataclass(frozen=True)
class SimulatedHost:
    """A simulated host.

    Parameters
    ----------
    time
        float64[rows], seconds since 1970.
    values
        float32[rows, n_channels], readings of `CHANNELS`, rounded as an instrument does; NaN where a probe fails.
    faults
        Planted faults in order of time.
    backups
        Begin and usual end of each run of the nightly backup, seconds since the start.
    """

    time: Float64Array
    values: Float32Array
    faults: tuple[PlantedFault, ...]
    backups: tuple[tuple[float, float], ...]


def simulate_host(spec: HostSpec) -> SimulatedHost:
    """Simulate a host."""
    machine, jobs, noise, extra = (np.random.default_rng([spec.seed, part]) for part in range(4))
    grid = Grid(
        np.arange(round(spec.days * _DAY_S / spec.interval_s), dtype=np.float64) * spec.interval_s, spec.interval_s
    )
    size = log_uniform(machine, 0.15, 1.0)
    load = _with_users(machine, noise, grid)
    nightly = backup(jobs, spec.days)
    faults = _planted(spec.faults, nightly.runs)
    runs = disturbed(nightly.runs, faults)
    for job in (replace(nightly, runs=runs), *other_jobs(jobs, spec.days, size)):
        add_job(load, job, grid)
    for fault in faults:
        add_fault(load, fault, grid)
    columns = _readings(machine, noise, extra, load, grid, size)
    for fault in faults:
        if fault.kind == "stuck_sensor":
            rows, _ = grid.covered(fault.begin_s, fault.end_s)
            columns["temperature.cpu"][rows] = columns["temperature.cpu"][rows][:1]
    values = np.stack([columns[channel.name] for channel in CHANNELS], axis=1).astype(np.float32)
    return SimulatedHost(_START + grid.times, values, faults, nightly.runs)


def _planted(
    planned: Sequence[tuple[FaultKind, float]], backups: Sequence[tuple[float, float]]
) -> tuple[PlantedFault, ...]:
    faults = []
    for kind, at_s in planned:
        begin, end = at_s, at_s + fault_of(kind).seconds
        day = min(int(at_s // _DAY_S), len(backups) - 1)
        if kind == "overlong_backup":
            begin, end = backups[day][1], backups[day][1] + fault_of(kind).seconds
        elif kind == "missing_backup":
            begin, end = backups[day]
        faults.append(PlantedFault(kind, begin, end))
    return tuple(sorted(faults, key=lambda fault: fault.begin_s))


def _with_users(machine: np.random.Generator, noise: np.random.Generator, grid: Grid) -> Load:
    """Load of the users alone: a peak in the afternoon, a smaller one eight hours later, quieter weekends."""
    days = grid.times / _DAY_S
    peak = machine.uniform(11.0, 20.0) / 24.0
    width = machine.uniform(0.6, 1.4)
    daily = np.exp(width * (np.cos(2 * np.pi * (days - peak)) - 1.0))
    daily += 0.3 * np.exp(3.0 * (np.cos(2 * np.pi * (days - peak - 0.35)) - 1.0))
    weekend = np.interp(days % 7, _WEEK_DAYS, _WEEKEND)
    weekly = 1.0 + (machine.uniform(0.4, 1.1) - 1.0) * weekend
    slow = smooth(noise, days.size, max(1200.0 / grid.interval_s, 1.0))
    load = Load.idle(days.size)
    load.users[:] = daily * weekly * np.exp(0.12 * slow)
    load.fullness[:] = machine.uniform(0.02, 0.25) * days
    return load


def _readings(
    machine: np.random.Generator,
    noise: np.random.Generator,
    extra: np.random.Generator,
    load: Load,
    grid: Grid,
    size: float,
) -> dict[str, Float64Array]:
    """Readings by channel, rounded.

    The number of draws from ``noise`` must not depend on the faults: additional events are drawn from ``extra``.
    """
    rows, interval_s = grid.times.size, grid.interval_s
    averaged = 1.0 / np.sqrt(1.0 + interval_s / _NOISE_S)

    def rough(deviation: float) -> Float64Array:
        """Noise that multiplies: lognormal with mean 1, whatever the interval, float64[rows]."""
        sigma = deviation * averaged
        scattered: Float64Array = np.exp(sigma * noise.normal(size=rows) - 0.5 * sigma**2)
        return scattered

    def wandering(seconds: float) -> Float64Array:
        return smooth(noise, rows, max(seconds / interval_s, 1.0))

    cores = float(machine.choice([1, 2, 4, 8]))
    traffic = load.users * load.traffic
    demand = (machine.uniform(1.0, 5.0) + machine.uniform(10.0, 45.0) * size * traffic) * rough(0.5) + load.cpu
    cpu = np.clip(demand, 0.0, 100.0)
    disk = (2e4 + 4e5 * size * traffic) * rough(1.0)
    read, write = 0.3 * disk * rough(0.8) + load.read, disk + load.write
    busy_disk = np.clip((read + write) / 180e6, 0.0, 1.0)
    iowait = np.clip(60.0 * busy_disk**2 + 0.4 * rough(1.0), 0.0, 100.0 - cpu)
    waiting = demand / 100.0 * cores + 3.0 * busy_disk + 0.02 * np.maximum(load.processes - 40.0, 0.0)
    memory = machine.uniform(20.0, 50.0) + 4.0 * traffic + load.memory + 0.6 * wandering(1800.0)
    swap = machine.uniform(0.0, 4.0) + np.maximum(memory - 75.0, 0.0)
    logs = 1.5 * size * (grid.times % _DAY_S) / _DAY_S
    ambient = 1.5 * np.cos(2 * np.pi * (grid.times / _DAY_S - 0.65)) + 0.8 * wandering(7200.0)
    temperature = machine.uniform(35.0, 48.0) + 0.22 * _lagged(cpu, 120.0 / interval_s) + ambient
    temperature += 0.3 * averaged * noise.normal(size=rows)
    usual = 60.0 * size * load.users + 0.02
    requests = noise.poisson(usual * interval_s) / interval_s * load.traffic
    failed = noise.poisson(_FAILING * usual * interval_s) / interval_s
    more = np.flatnonzero(load.errors > 1.0)
    failed[more] += extra.poisson(_FAILING * usual[more] * (load.errors[more] - 1.0) * interval_s) / interval_s
    queue = np.minimum(cpu / 100.0, 0.97)
    latency = machine.uniform(8.0, 40.0) * (1.0 + 0.4 * queue / (1.0 - queue)) * (1.0 + busy_disk) * load.slowness
    latency *= rough(0.25)
    latency[load.down > 0] = np.nan
    gateway = machine.uniform(0.5, 3.0) * load.gateway * rough(0.2)
    gateway *= np.where(noise.random(rows) < 0.002, noise.uniform(2.0, 5.0, rows), 1.0)
    received = (4e3 + 6e5 * size * traffic) * rough(0.4)
    sent = (2e3 + 2e6 * size * traffic) * rough(0.4) + load.sent
    processes = machine.uniform(80.0, 220.0) + 15.0 * traffic + load.processes + noise.normal(0.0, 1.0, rows)
    return {
        "cpu.percent": cpu.round(1),
        "cpu.iowait": iowait.round(1),
        "load.1m": _lagged(waiting, 60.0 / interval_s).round(2),
        "memory.percent": np.clip(memory, 0.0, 99.0).round(1),
        "swap.percent": np.clip(swap, 0.0, 100.0).round(1),
        "disk.percent": np.clip(machine.uniform(20.0, 50.0) + load.fullness + logs, 0.0, 100.0).round(1),
        "disk.read": read.round(),
        "disk.write": write.round(),
        "network.rx": received.round(),
        "network.tx": sent.round(),
        "processes": processes.round(),
        "temperature.cpu": temperature.round(1),
        "latency.gateway": gateway.round(3),
        "app.requests": requests.round(2),
        "app.errors": (failed * load.traffic).round(3),
        "app.latency": latency.round(2),
    }


def _lagged(values: Float64Array, memory: float) -> Float64Array:
    """Values behind a first-order delay of ``memory`` rows, float64[rows]; starts at the first value."""
    keep = float(np.exp(-1.0 / memory))
    delayed = accumulate(values.tolist(), lambda state, value: keep * state + (1.0 - keep) * value)
    return np.fromiter(delayed, np.float64, values.size)
