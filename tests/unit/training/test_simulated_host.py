from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.synthetic.host import CHANNELS, HostSpec, simulate_host
from training.synthetic.host_faults import FAULT_KINDS, fault_of

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float32Array
    from training.synthetic.host import SimulatedHost
    from training.synthetic.host_faults import FaultKind

NAMES = [channel.name for channel in CHANNELS]
DAY_S, HOUR_S = 86400.0, 3600.0
# Channels that follow from those that show a fault, by the fault's cause.
_USERS = {"cpu.percent", "load.1m", "memory.percent", "disk.read", "disk.write", "processes", "temperature.cpu"}
_BACKUP = {"memory.percent", "processes", "app.latency"}
KNOCK_ON: dict[FaultKind, set[str]] = {
    "cpu_full_short": {"cpu.iowait"},
    "cpu_full_long": {"cpu.iowait"},
    "traffic_zero": _USERS | {"app.latency"},
    "outage": _USERS,
    "overlong_backup": _BACKUP,
    "missing_backup": _BACKUP,
}


def with_fault(
    kind: FaultKind, *, at_s: float = DAY_S + 11 * HOUR_S, seed: int = 5, days: float = 3.0
) -> SimulatedHost:
    return simulate_host(HostSpec(seed=seed, days=days, faults=((kind, at_s),)))


def column(host: SimulatedHost, name: str) -> Float32Array:
    return host.values[:, NAMES.index(name)]


def seconds(host: SimulatedHost) -> np.ndarray:
    return host.time - host.time[0]


def differing(one: SimulatedHost, other: SimulatedHost) -> BoolArray:
    same: BoolArray = (one.values == other.values) | (np.isnan(one.values) & np.isnan(other.values))
    return ~same


def test_the_same_seed_gives_the_same_host() -> None:
    assert not differing(with_fault("outage"), with_fault("outage")).any()


def test_another_seed_gives_another_host() -> None:
    one, other = simulate_host(HostSpec(seed=1, days=1)), simulate_host(HostSpec(seed=2, days=1))
    assert differing(one, other).any(axis=0).all()


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_fault_changes_nothing_before_it_and_no_other_channel(kind: FaultKind) -> None:
    host = with_fault(kind)
    (fault,) = host.faults
    changed = differing(host, simulate_host(HostSpec(seed=5, days=3)))
    assert changed.any()
    assert not changed[seconds(host) <= fault.begin_s].any()
    shown = {name for name, each in zip(NAMES, changed.any(axis=0), strict=True) if each}
    assert shown <= set(fault_of(kind).channels) | KNOCK_ON.get(kind, set())


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_fault_shows_in_each_of_its_channels_while_it_lasts(kind: FaultKind) -> None:
    host = with_fault(kind)
    (fault,) = host.faults
    inside = (seconds(host) > fault.begin_s) & (seconds(host) <= fault.end_s)
    changed = differing(host, simulate_host(HostSpec(seed=5, days=3)))[inside].any(axis=0)
    shown = {name for name, each in zip(NAMES, changed, strict=True) if each}
    assert set(fault_of(kind).channels) - {"swap.percent"} <= shown  # this host has memory to spare


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_host_is_as_before_two_hours_after_a_fault(kind: FaultKind) -> None:
    host = with_fault(kind)
    after = seconds(host) > host.faults[0].end_s + 2 * HOUR_S
    assert not differing(host, simulate_host(HostSpec(seed=5, days=3)))[after].any()


def test_a_short_fault_shows_in_the_mean_of_a_long_interval() -> None:
    spec = HostSpec(seed=5, interval_s=300.0, days=2, faults=(("cpu_full_short", 3.3 * HOUR_S),))
    changed = differing(simulate_host(spec), simulate_host(HostSpec(seed=5, interval_s=300.0, days=2)))
    assert changed[:, NAMES.index("cpu.percent")].sum() == 1


def test_a_missing_backup_leaves_the_disk_idle() -> None:
    host = with_fault("missing_backup", at_s=DAY_S)
    (fault,) = host.faults
    assert (fault.begin_s, fault.end_s) == host.backups[1]
    read, at = column(host, "disk.read"), seconds(host)
    for number, (begin, end) in enumerate(host.backups):
        inside = (at > begin + 60) & (at <= end)
        assert (np.median(read[inside]) > 3e6) == (number != 1)


def test_an_overlong_backup_goes_on_after_its_usual_end() -> None:
    host = with_fault("overlong_backup", at_s=DAY_S)
    (fault,) = host.faults
    assert fault.begin_s == host.backups[1][1]
    assert fault.end_s - fault.begin_s == 90 * 60
    during = (seconds(host) > fault.begin_s + 60) & (seconds(host) <= fault.end_s)
    assert column(host, "disk.read")[during].min() > 3e6


def test_a_stuck_sensor_repeats_one_value() -> None:
    host = with_fault("stuck_sensor")
    (fault,) = host.faults
    during = (seconds(host) > fault.begin_s) & (seconds(host) <= fault.end_s)
    assert np.unique(column(host, "temperature.cpu")[during]).size == 1
    assert np.unique(column(host, "temperature.cpu")).size > 20


def test_traffic_stops_and_an_outage_gives_no_answer() -> None:
    for kind in ("traffic_zero", "outage"):
        host = with_fault(kind)
        (fault,) = host.faults
        inside = (seconds(host) > fault.begin_s + 60) & (seconds(host) <= fault.end_s)
        assert not column(host, "app.requests")[inside].any()
        assert np.isnan(column(host, "app.latency")[inside]).all() == (kind == "outage")
        assert np.isfinite(np.delete(host.values, NAMES.index("app.latency"), axis=1)).all()


@pytest.mark.parametrize("interval_s", [1.0, 300.0])
def test_means_do_not_depend_on_the_interval(interval_s: float) -> None:
    for seed in range(3):
        usual = simulate_host(HostSpec(seed=seed, days=1)).values.mean(axis=0)
        other = simulate_host(HostSpec(seed=seed, days=1, interval_s=interval_s)).values.mean(axis=0)
        assert other == pytest.approx(usual, rel=0.1, abs=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_values_are_physically_possible(seed: int) -> None:
    faults = tuple((kind, (1 + day) * DAY_S / 2) for day, kind in enumerate(FAULT_KINDS))
    host = simulate_host(HostSpec(seed=seed, days=9, faults=faults))
    assert len(host.faults) == len(FAULT_KINDS)
    known = np.where(np.isnan(host.values), 0.0, host.values)
    assert known.min() >= 0.0
    for index, channel in enumerate(CHANNELS):
        assert known[:, index].max() <= (100.0 if channel.unit == "%" else 1e9)
    temperature = column(host, "temperature.cpu")
    assert 20.0 < temperature.min() < temperature.max() < 90.0
    assert host.values.dtype == np.float32
    assert (np.diff(host.time) == 60.0).all()
