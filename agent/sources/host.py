"""Metrics of the machine that the agent runs on: processor, memory, disks, network, processes, temperatures.

Each part of the machine is read separately, so that a failing part costs only its own channels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import inf, nan
from time import monotonic
from typing import Annotated, ClassVar, NamedTuple, TypeVar

import psutil
from msgspec import Meta

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig
from agent.sources.sysfs import COLDEST, HOTTEST

__all__ = ["GROUPS", "HostConfig", "HostSource"]

#: Group of channels → its channels.
GROUPS: dict[str, str] = {
    "cpu": "cpu.percent (busy) and cpu.iowait",
    "cpu_states": "cpu.user, cpu.system, cpu.nice, cpu.irq, cpu.softirq, cpu.steal, cpu.idle",
    "cpu_per_core": "cpu.0.percent, cpu.1.percent and so on",
    "load": "load.1m",
    "load_all": "load.1m, load.5m and load.15m",
    "memory": "memory.percent",
    "swap": "swap.percent",
    "disk": "disk.percent of `mount`, disk.read and disk.write over all physical disks",
    "network": "network.received and network.sent over all physical interfaces",
    "processes": "processes: number of processes",
    "temperatures": "temperature.<chip>: the hottest sensor of each chip",
    "temperatures_all": "temperature.<chip>.<label>: every sensor",
}

# Errors of psutil and of the kernel's files for a part of the machine that is missing, hidden or broken.
_FAILURES = (OSError, RuntimeError, ValueError, LookupError, AttributeError, psutil.Error)
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

_Group = Annotated[str, Meta(extra_json_schema={"enum": list(GROUPS)})]
_Device = Annotated[str, Meta(min_length=1)]


class HostConfig(SourceConfig, frozen=True):
    """Keys of the `host` source."""

    groups: Annotated[tuple[_Group, ...], Meta(description="Groups of channels to read.")] = (
        "cpu",
        "load",
        "memory",
        "swap",
        "disk",
        "network",
        "processes",
        "temperatures",
    )
    mount: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "Mount point measured by `disk.percent`; the channel is missing while nothing is mounted there."
            ),
        ),
    ] = "/"
    disks: Annotated[
        tuple[_Device, ...],
        Meta(description="Disks with channels of their own, such as `sda`: `disk.sda.read` and `disk.sda.write`."),
    ] = ()
    interfaces: Annotated[
        tuple[_Device, ...],
        Meta(
            description=(
                "Network interfaces with channels of their own, such as `eth0`: `network.eth0.received` and "
                "`network.eth0.sent`."
            )
        ),
    ] = ()


class HostSource:
    """Reads the metrics of the agent's own machine.

    Raises
    ------
    UserError
        A name is unknown or repeated, or no selected channel exists on this machine.
    """

    Config: ClassVar[type[SourceConfig]] = HostConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: HostConfig, interval_s: float) -> None:  # noqa: ARG002 - rates use the clock
        _validate(config)
        self._parts = [part for part in _parts(config) if part.channels]
        self._failing: set[int] = set()
        self.channels: tuple[Channel, ...] = tuple(channel for part in self._parts for channel in part.channels)
        if not self.channels:
            raise UserError(
                "nothing to watch: none of the chosen groups has a channel on this machine",
                location="$.groups",
                remedy=f"choose among {', '.join(GROUPS)}",
            )

    def read(self) -> Sequence[float]:
        """Return one number for each channel; NaN for a part that fails and for a rate without two usable counters."""
        values: list[float] = []
        for index, part in enumerate(self._parts):
            try:
                values.extend(part.read())
            except _FAILURES as error:
                values.extend([nan] * len(part.channels))
                self._report(index, error)
        return values

    def close(self) -> None:
        """No-op: nothing stays open between reads."""

    def _report(self, index: int, error: Exception) -> None:
        """Log once for each part that it cannot be read."""
        if index not in self._failing:
            self._failing.add(index)
            names = ", ".join(channel.name for channel in self._parts[index].channels)
            _LOG.warning("no readings for %s: %s", names, error)


class _Part(NamedTuple):
    """A part of the machine: its channels, and a function that reads them in the same order."""

    channels: tuple[Channel, ...]
    read: Callable[[], Sequence[float]]


def _validate(config: HostConfig) -> None:
    """Refuse unknown groups and names given twice.

    Raises
    ------
    UserError
        At the first wrong name.
    """
    for index, group in enumerate(config.groups):
        if group not in GROUPS:
            raise UserError(
                f"unknown group of channels {group!r}",
                location=f"$.groups[{index}]",
                remedy=f"choose among {', '.join(GROUPS)}",
            )
    for key, names in (("groups", config.groups), ("disks", config.disks), ("interfaces", config.interfaces)):
        for index, name in enumerate(names):
            if name in names[:index]:
                raise UserError(f"{name!r} is listed twice", location=f"$.{key}[{index}]", remedy="remove one of them")


def _parts(config: HostConfig) -> list[_Part]:
    """Make the parts that the configuration selects, in the order of their channels."""
    groups = set(config.groups)
    disk, network = "disk" in groups, "network" in groups
    table: list[tuple[object, Callable[[], _Part]]] = [
        (groups & {"cpu", "cpu_states"}, lambda: _cpu(busy="cpu" in groups, states="cpu_states" in groups)),
        ("cpu_per_core" in groups, _cpu_per_core),
        (groups & {"load", "load_all"}, lambda: _load(3 if "load_all" in groups else 1)),
        (
            "memory" in groups,
            lambda: _gauge(_percent("memory.percent", 2.0, 98.0), lambda: psutil.virtual_memory().percent),
        ),
        ("swap" in groups, lambda: _gauge(_percent("swap.percent", 2.0), lambda: psutil.swap_memory().percent)),
        (disk, lambda: _gauge(_percent("disk.percent", 2.0, 95.0), lambda: _fullness(config.mount))),
        (disk or config.disks, lambda: _disk_rates(total=disk, names=config.disks)),
        (network or config.interfaces, lambda: _network_rates(total=network, names=config.interfaces)),
        (
            "processes" in groups,
            lambda: _gauge(Channel("processes", effect=10.0, minimum=0.0), lambda: len(psutil.pids())),
        ),
        ("temperatures" in groups, lambda: _temperatures(each=False)),
        ("temperatures_all" in groups, lambda: _temperatures(each=True)),
    ]
    return [make() for chosen, make in table if chosen]


def _gauge(channel: Channel, sample: Callable[[], float]) -> _Part:
    return _Part((channel,), lambda: (sample(),))


def _percent(name: str, effect: float, alarm_above: float = inf) -> Channel:
    return Channel(name, unit="%", effect=effect, minimum=0.0, maximum=100.0, alarm_above=alarm_above)


# Processor: shares of the time between two reads.


class _CpuShares:
    """Shares of processor time by state, from the kernel's cumulative counters."""

    def __init__(self) -> None:
        self._last: Mapping[str, float] | None = None

    def update(self, times: Mapping[str, float]) -> dict[str, float]:
        """Return percent of the time since the last call, by state; ``percent`` is all but idle and iowait.

        All NaN on the first call, and if the total time did not increase (a core taken offline).
        """
        last, self._last = self._last, times
        if last is None or sum(times.values()) <= sum(last.values()):
            return dict.fromkeys((*times, "percent"), nan)
        # Idle and iowait may decrease slightly (proc(5)); count that as 0.
        spent = {state: max(times[state] - last[state], 0.0) for state in times}
        total = sum(spent.values())
        shares = {state: 100.0 * part / total for state, part in spent.items()}
        shares["percent"] = max(100.0 - shares["idle"] - shares.get("iowait", 0.0), 0.0)
        return shares


def _states(times: object) -> dict[str, float]:
    """Drop the guests' times from psutil's named tuple: the kernel already counts them as user and nice."""
    named: dict[str, float] = times._asdict()  # type: ignore[attr-defined]
    return {state: spent for state, spent in named.items() if not state.startswith("guest")}


def _cpu(*, busy: bool, states: bool) -> _Part:
    known = tuple(_found(lambda: _states(psutil.cpu_times())))
    wanted: list[str] = []
    if busy:
        wanted += ["percent", "iowait"]
    if states:
        wanted += [state for state in known if state != "iowait" or not busy]
    shares = _CpuShares()

    def read() -> Sequence[float]:
        now = shares.update(_states(psutil.cpu_times()))
        return [now.get(state, nan) for state in wanted]

    return _Part(tuple(_percent(f"cpu.{state}", 10.0) for state in wanted), read)


def _cpu_per_core() -> _Part:
    cores = [_CpuShares() for _ in _found(lambda: psutil.cpu_times(percpu=True))]

    def read() -> Sequence[float]:
        times = psutil.cpu_times(percpu=True)
        if len(times) != len(cores):
            # The list has no core numbers: with a core offline, values cannot be assigned.
            return [nan] * len(cores)
        return [core.update(_states(now))["percent"] for core, now in zip(cores, times, strict=True)]

    return _Part(tuple(_percent(f"cpu.{index}.percent", 10.0) for index in range(len(cores))), read)


def _load(n_averages: int) -> _Part:
    names = ("load.1m", "load.5m", "load.15m")[:n_averages]
    return _Part(
        tuple(Channel(name, effect=0.5, minimum=0.0) for name in names),
        lambda: psutil.getloadavg()[:n_averages],
    )


def _fullness(mount: str) -> float:
    """Percent of a file system in use.

    Raises
    ------
    FileNotFoundError
        Nothing is mounted there; the figures would be those of the parent file system.
    """
    if not os.path.ismount(mount):
        raise FileNotFoundError(f"{mount} is not a mount point")
    return psutil.disk_usage(mount).percent


# Disks and network: bytes per second from cumulative counters.

_Counters = Mapping[str, tuple[int, int]]


class _Rates:
    """Bytes per second in both directions, for each device."""

    def __init__(self) -> None:
        self._last: _Counters = {}
        self._at = nan

    def update(self, counters: _Counters) -> dict[str, tuple[float, float]]:
        """Return rates since the last call, for devices present in both calls.

        NaN for a counter that decreased: after a reset or wrap the difference is unknown.
        """
        now = monotonic()
        last, elapsed = self._last, now - self._at
        self._last, self._at = counters, now
        return {
            name: (_rate(last[name][0], new[0], elapsed), _rate(last[name][1], new[1], elapsed))
            for name, new in counters.items()
            if name in last
        }


def _rate(old: int, new: int, elapsed_s: float) -> float:
    return (new - old) / elapsed_s if new >= old and elapsed_s > 0.0 else nan


def _sum(rates: Mapping[str, tuple[float, float]], names: Iterable[str]) -> tuple[float, float]:
    known = [rates[name] for name in names if name in rates]
    if not known:
        return nan, nan
    return sum(pair[0] for pair in known), sum(pair[1] for pair in known)


def _rates_part(
    prefix: str,
    ways: tuple[str, str],
    log_reference: float,
    count: Callable[[], _Counters],
    select: Callable[[_Counters], Iterable[str]] | None,
    names: Sequence[str],
) -> _Part:
    """Make the channels of rates: the sum over the devices of `select` (None: no sum), then each named device."""
    prefixes = [*([] if select is None else [prefix]), *(f"{prefix}.{name}" for name in names)]
    channels = tuple(
        Channel(f"{each}.{way}", unit="B/s", effect=2.0, log_reference=log_reference, minimum=0.0)
        for each in prefixes
        for way in ways
    )
    rates = _Rates()

    def read() -> Sequence[float]:
        counters = count()
        now = rates.update(counters)
        values: list[float] = []
        if select is not None:
            values.extend(_sum(now, select(counters)))
        for name in names:
            values.extend(now.get(name, (nan, nan)))
        return values

    return _Part(channels, read)


def _disk_rates(*, total: bool, names: Sequence[str]) -> _Part:
    return _rates_part("disk", ("read", "write"), 256e3, _disk_counters, _whole_disks if total else None, names)


def _disk_counters() -> _Counters:
    # nowrap=False: psutil would hide a reset by adding the old count; here a reset gives NaN for one tick.
    disks = psutil.disk_io_counters(perdisk=True, nowrap=False)
    return {name: (disk.read_bytes, disk.write_bytes) for name, disk in disks.items()}


def _whole_disks(counters: _Counters) -> list[str]:
    """Physical disks, so that no byte counts twice (partitions, LVM, RAID, loop); all disks if there are none."""
    return [name for name in counters if _is_hardware("block", name)] or list(counters)


def _network_rates(*, total: bool, names: Sequence[str]) -> _Part:
    select = _outward_interfaces if total else None
    return _rates_part("network", ("received", "sent"), 10e3, _network_counters, select, names)


def _network_counters() -> _Counters:
    interfaces = psutil.net_io_counters(pernic=True, nowrap=False)
    return {name: (interface.bytes_recv, interface.bytes_sent) for name, interface in interfaces.items()}


def _outward_interfaces(counters: _Counters) -> list[str]:
    """Physical interfaces, so that no byte counts twice (bridges, VLANs, tunnels); if none, all but loopback."""
    return [name for name in counters if _is_hardware("net", name)] or [name for name in counters if name != "lo"]


@lru_cache(maxsize=256)
def _is_hardware(kind: str, name: str) -> bool:
    return os.path.exists(f"/sys/class/{kind}/{name}/device")  # noqa: PTH110 - a Path costs ten times as much


# Temperatures: sensors of the chips present at start.


def _temperatures(*, each: bool) -> _Part:
    names = tuple(_found(lambda: _temperature_readings(each=each)))

    def read() -> Sequence[float]:
        now = _temperature_readings(each=each)
        return [now.get(name, nan) for name in names]

    channels = (Channel(name, "°C", effect=3.0, invalid_below=COLDEST, invalid_above=HOTTEST) for name in names)
    return _Part(tuple(channels), read)


def _temperature_readings(*, each: bool) -> dict[str, float]:
    """Channel name → °C: the hottest sensor of each chip, or every sensor if `each`."""
    readings: dict[str, float] = {}
    for chip, sensors in psutil.sensors_temperatures().items():
        for index, sensor in enumerate(sensors):
            name = f"temperature.{chip}"
            if each:
                name += f".{(sensor.label or str(index)).strip().lower().replace(' ', '_')}"
                if name in readings:  # drives of the same model have equal labels
                    name += f".{index}"
            readings[name] = max(readings.get(name, sensor.current), sensor.current)
    return readings


def _found(look: Callable[[], Iterable[_T]]) -> list[_T]:
    """List the items present at start; empty if the machine does not provide them."""
    try:
        return list(look())
    except _FAILURES as error:
        _LOG.info("some channels of the host are not available on this machine: %s", error)
        return []
