"""Faults of a simulated host: what each changes, how long it lasts, and the channels that show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAULT_KINDS", "Fault", "FaultKind", "PlantedFault", "fault_of"]

FaultKind: TypeAlias = Literal[
    "cpu_full_short",
    "cpu_full_long",
    "cpu_plus_50",
    "memory_leak",
    "disk_filling",
    "latency_x3",
    "errors_x10",
    "traffic_zero",
    "outage",
    "process_flood",
    "disk_saturation",
    "stuck_sensor",
    "overlong_backup",
    "missing_backup",
]
#: All kinds of faults.
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

_MINUTE_S, _HOUR_S = 60.0, 3600.0
_CPU = ("cpu.percent", "load.1m", "temperature.cpu", "app.latency")
_DISK = ("disk.write", "cpu.iowait", "app.latency", "load.1m")
_BACKUP = ("disk.read", "disk.write", "network.tx", "cpu.iowait", "cpu.percent", "load.1m", "temperature.cpu")
_TRAFFIC = ("app.requests", "app.errors", "network.rx", "network.tx")


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Parameters
    ----------
    seconds
        Duration. For the two faults of the backup: time beyond its usual end, and 0.
    channels
        Channels that show the fault.
    added
        Load by cause (a field of `training.synthetic.host_load.Load`) that is added while the fault lasts.
    grown
        Load by cause that grows from 0 to this size and falls back at the end.
    factors
        Factor by cause while the fault lasts.
    """

    seconds: float
    channels: tuple[str, ...]
    added: Mapping[str, float] = field(default_factory=dict)
    grown: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PlantedFault:
    """A fault in seconds since the start of the simulation: ``begin_s`` to ``end_s``."""

    kind: FaultKind
    begin_s: float
    end_s: float


def fault_of(kind: FaultKind) -> Fault:
    """Duration, channels and effects of a kind."""
    return _FAULTS[kind]


# Durations and sizes are chosen by hand, so that a person who looks at the channel would call it a fault. Percent of a
# processor can exceed 100: the excess waits and shows in the load. Units as in `Load`.
_FAULTS: dict[FaultKind, Fault] = {
    "cpu_full_short": Fault(2 * _MINUTE_S, _CPU, added={"cpu": 110.0}),
    "cpu_full_long": Fault(45 * _MINUTE_S, _CPU, added={"cpu": 110.0}),
    "cpu_plus_50": Fault(20 * _MINUTE_S, _CPU, added={"cpu": 50.0}),
    "memory_leak": Fault(12 * _HOUR_S, ("memory.percent", "swap.percent"), grown={"memory": 35.0}),
    "disk_filling": Fault(24 * _HOUR_S, ("disk.percent",), grown={"fullness": 40.0}),
    "latency_x3": Fault(30 * _MINUTE_S, ("app.latency", "latency.gateway"), factors={"slowness": 3.0, "gateway": 3.0}),
    "errors_x10": Fault(30 * _MINUTE_S, ("app.errors",), factors={"errors": 10.0}),
    "traffic_zero": Fault(15 * _MINUTE_S, _TRAFFIC, factors={"traffic": 0.0}),
    "outage": Fault(
        10 * _MINUTE_S,
        (*_TRAFFIC, "app.latency", "cpu.percent", "load.1m"),
        added={"down": 1.0},
        factors={"traffic": 0.0},
    ),
    "process_flood": Fault(
        20 * _MINUTE_S, ("processes", "load.1m", "memory.percent"), added={"processes": 400.0, "memory": 6.0}
    ),
    "disk_saturation": Fault(20 * _MINUTE_S, _DISK, added={"write": 150e6}, factors={"slowness": 2.0}),
    "stuck_sensor": Fault(3 * _HOUR_S, ("temperature.cpu",)),
    "overlong_backup": Fault(90 * _MINUTE_S, _BACKUP),
    "missing_backup": Fault(0.0, _BACKUP),
}
