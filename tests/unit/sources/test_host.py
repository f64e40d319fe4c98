from __future__ import annotations

import logging
from collections import namedtuple
from math import isnan
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil
import pytest

from agent.core.errors import UserError
from agent.sources import host
from agent.sources.host import GROUPS, HostConfig, HostSource

CpuTimes = namedtuple("CpuTimes", "user nice system idle iowait irq softirq steal guest guest_nice")  # noqa: PYI024


def cpu(user: float = 0.0, idle: float = 0.0, iowait: float = 0.0, guest: float = 0.0) -> CpuTimes:
    return CpuTimes(user, 0.0, 0.0, idle, iowait, 0.0, 0.0, 0.0, guest, 0.0)


class FakeMachine:
    """Fake psutil with every number that the source reads, and a fake clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.cpu = cpu()
        self.cores = [cpu(), cpu()]
        self.disks: dict[str, tuple[int, int]] = {"sda": (0, 0), "dm-0": (0, 0)}
        self.interfaces: dict[str, tuple[int, int]] = {"lo": (0, 0), "eth0": (0, 0)}
        self.hardware = {"sda", "eth0"}
        self.sensors: dict[str, list[Any]] = {}
        self.mounted = True
        self.broken: set[str] = set()
        numbers = {
            "cpu_times": lambda percpu=False: self.cores if percpu else self.cpu,
            "getloadavg": lambda: (1.0, 2.0, 3.0),
            "virtual_memory": lambda: SimpleNamespace(percent=40.0),
            "swap_memory": lambda: SimpleNamespace(percent=5.0),
            "disk_usage": lambda mount: SimpleNamespace(percent=70.0),
            "disk_io_counters": lambda perdisk, nowrap: {
                name: SimpleNamespace(read_bytes=read, write_bytes=written)
                for name, (read, written) in self.disks.items()
            },
            "net_io_counters": lambda pernic, nowrap: {
                name: SimpleNamespace(bytes_recv=received, bytes_sent=sent)
                for name, (received, sent) in self.interfaces.items()
            },
            "pids": lambda: [1, 2, 3],
            "sensors_temperatures": lambda: self.sensors,
        }
        for name, number in numbers.items():
            monkeypatch.setattr(psutil, name, self.breakable(name, number), raising=False)
        monkeypatch.setattr(host, "monotonic", lambda: self.now)
        monkeypatch.setattr(host, "_is_hardware", lambda kind, name: name in self.hardware)
        monkeypatch.setattr("os.path.ismount", lambda path: self.mounted)

    def breakable(self, name: str, number: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in self.broken:
                raise PermissionError(f"{name} is forbidden")
            return number(*args, **kwargs)

        return call


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return FakeMachine(monkeypatch)


def source(*groups: str, **keys: Any) -> HostSource:
    return HostSource(HostConfig("host", groups=groups, **keys), 1.0)


def named(of: HostSource) -> dict[str, float]:
    return dict(zip((channel.name for channel in of.channels), of.read(), strict=True))


def test_defaults_give_about_ten_channels_of_one_number_each(machine: FakeMachine) -> None:
    readings = named(HostSource(HostConfig("host"), 1.0))
    assert list(readings) == [
        "cpu.percent",
        "cpu.iowait",
        "load.1m",
        "memory.percent",
        "swap.percent",
        "disk.percent",
        "disk.read",
        "disk.write",
        "network.received",
        "network.sent",
        "processes",
    ]
    assert readings["memory.percent"] == 40.0
    assert readings["swap.percent"] == 5.0
    assert readings["disk.percent"] == 70.0
    assert readings["load.1m"] == 1.0
    assert readings["processes"] == 3.0


def test_channels_carry_unit_effect_and_scale(machine: FakeMachine) -> None:
    machine.sensors = {"cpu_thermal": [SimpleNamespace(label="", current=50.0)]}
    channels = {channel.name: channel for channel in HostSource(HostConfig("host"), 1.0).channels}
    assert (channels["cpu.percent"].unit, channels["cpu.percent"].effect) == ("%", 10.0)
    assert (channels["memory.percent"].unit, channels["memory.percent"].effect) == ("%", 2.0)
    assert (channels["load.1m"].unit, channels["load.1m"].effect) == ("", 0.5)
    assert (channels["processes"].unit, channels["processes"].effect) == ("", 10.0)
    assert (channels["temperature.cpu_thermal"].unit, channels["temperature.cpu_thermal"].effect) == ("°C", 3.0)
    for name, reference in (("disk.read", 256e3), ("network.sent", 10e3)):
        assert (channels[name].unit, channels[name].effect, channels[name].log_reference) == ("B/s", 2.0, reference)


def test_cpu_percent_is_the_share_of_time_since_the_last_read(machine: FakeMachine) -> None:
    watched = source("cpu", "cpu_states")
    assert isnan(named(watched)["cpu.percent"])
    # The guest's second is already within user's three.
    machine.cpu = cpu(user=3.0, idle=6.0, iowait=1.0, guest=1.0)
    readings = named(watched)
    assert readings["cpu.percent"] == pytest.approx(30.0)
    assert readings["cpu.user"] == pytest.approx(30.0)
    assert readings["cpu.iowait"] == pytest.approx(10.0)
    assert readings["cpu.idle"] == pytest.approx(60.0)
    assert "cpu.guest" not in readings


def test_cpu_percent_is_missing_when_no_time_passed_or_it_went_back(machine: FakeMachine) -> None:
    watched = source("cpu")
    machine.cpu = cpu(user=50.0, idle=50.0)
    named(watched)
    assert isnan(named(watched)["cpu.percent"])
    machine.cpu = cpu(user=1.0, idle=1.0)
    assert isnan(named(watched)["cpu.percent"])
    machine.cpu = cpu(user=2.0, idle=2.0)
    assert named(watched)["cpu.percent"] == pytest.approx(50.0)


def test_iowait_stepping_back_is_no_time_spent(machine: FakeMachine) -> None:
    watched = source("cpu")
    machine.cpu = cpu(iowait=1.0)
    named(watched)
    machine.cpu = cpu(user=1.0, idle=1.0, iowait=0.9)
    readings = named(watched)
    assert readings["cpu.iowait"] == 0.0
    assert readings["cpu.percent"] == pytest.approx(50.0)


def test_each_core_is_read_and_all_are_missing_while_one_is_off_line(machine: FakeMachine) -> None:
    watched = source("cpu_per_core")
    named(watched)
    machine.cores = [cpu(user=1.0), cpu(idle=1.0)]
    assert named(watched) == {"cpu.0.percent": 100.0, "cpu.1.percent": 0.0}
    machine.cores = [cpu(user=2.0)]
    assert all(isnan(value) for value in named(watched).values())


def test_rates_are_bytes_over_monotonic_time_from_the_second_read(machine: FakeMachine) -> None:
    watched = source("disk", "network")
    first = named(watched)
    assert isnan(first["disk.read"])
    assert isnan(first["network.sent"])
    machine.now += 2.0
    machine.disks["sda"] = (1000, 4000)
    machine.interfaces["eth0"] = (600, 20)
    readings = named(watched)
    assert (readings["disk.read"], readings["disk.write"]) == (500.0, 2000.0)
    assert (readings["network.received"], readings["network.sent"]) == (300.0, 10.0)


def test_no_byte_counts_twice_and_loopback_not_at_all(machine: FakeMachine) -> None:
    watched = source("disk", "network")
    named(watched)
    machine.now += 1.0
    machine.disks = {"sda": (10, 10), "dm-0": (10, 10)}
    machine.interfaces = {"lo": (999, 999), "eth0": (7, 7)}
    readings = named(watched)
    assert readings["disk.read"] == 10.0
    assert readings["network.received"] == 7.0


def test_a_container_without_hardware_counts_every_interface_but_loopback(machine: FakeMachine) -> None:
    machine.hardware = set()
    watched = source("network")
    named(watched)
    machine.now += 1.0
    machine.interfaces = {"lo": (999, 999), "eth0": (7, 7)}
    assert named(watched)["network.received"] == 7.0


@pytest.mark.parametrize("after", [0, 4_000_000_000], ids=["reset", "wrapped"])
def test_a_counter_that_goes_back_is_missing_for_that_tick_only(machine: FakeMachine, after: int) -> None:
    watched = source("disk")
    machine.disks["sda"] = (4_294_967_000, 0)
    named(watched)
    machine.now += 1.0
    machine.disks["sda"] = (after, 100)
    readings = named(watched)
    assert isnan(readings["disk.read"])
    assert readings["disk.write"] == 100.0
    machine.now += 1.0
    machine.disks["sda"] = (after + 50, 100)
    assert named(watched)["disk.read"] == 50.0


def test_a_disk_plugged_in_does_not_bring_its_past(machine: FakeMachine) -> None:
    watched = source("disk", disks=("sdb",))
    machine.hardware.add("sdb")
    named(watched)
    machine.now += 1.0
    machine.disks = {"sda": (5, 5), "sdb": (10**12, 10**12)}
    readings = named(watched)
    assert readings["disk.read"] == 5.0
    assert isnan(readings["disk.sdb.read"])
    machine.now += 1.0
    machine.disks = {"sda": (5, 5), "sdb": (10**12 + 3, 10**12)}
    readings = named(watched)
    assert readings["disk.read"] == 3.0
    assert readings["disk.sdb.read"] == 3.0


def test_two_reads_at_the_same_instant_give_no_rate(machine: FakeMachine) -> None:
    watched = source("disk")
    named(watched)
    machine.disks["sda"] = (10, 10)
    assert isnan(named(watched)["disk.read"])


def test_listed_devices_get_channels_of_their_own(machine: FakeMachine) -> None:
    watched = source(interfaces=("eth0", "wlan9"))
    named(watched)
    machine.now += 1.0
    machine.interfaces["eth0"] = (8, 9)
    readings = named(watched)
    assert (readings["network.eth0.received"], readings["network.eth0.sent"]) == (8.0, 9.0)
    assert isnan(readings["network.wlan9.received"])


@pytest.mark.parametrize(
    ("broken", "channel"),
    [
        ("cpu_times", "cpu.percent"),
        ("virtual_memory", "memory.percent"),
        ("swap_memory", "swap.percent"),
        ("disk_usage", "disk.percent"),
        ("disk_io_counters", "disk.read"),
        ("net_io_counters", "network.sent"),
        ("pids", "processes"),
        ("getloadavg", "load.1m"),
    ],
)
def test_a_part_that_fails_costs_only_its_own_channels_and_is_said_once(
    machine: FakeMachine, broken: str, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched = HostSource(HostConfig("host"), 1.0)
    named(watched)
    machine.now += 1.0
    machine.cpu = cpu(user=1.0, idle=1.0)
    machine.broken = {broken}
    with caplog.at_level(logging.WARNING, logger="agent.sources.host"):
        readings = named(watched)
        named(watched)
    assert isnan(readings[channel])
    lost = {"cpu.iowait"} if broken == "cpu_times" else {"disk.write"} if broken == "disk_io_counters" else set()
    lost |= {"network.received"} if broken == "net_io_counters" else set()
    assert {name for name, value in readings.items() if isnan(value)} == {channel, *lost}
    assert len(caplog.records) == 1
    assert channel in caplog.text


def test_a_path_that_is_no_longer_mounted_is_missing_and_not_its_parent(machine: FakeMachine) -> None:
    watched = source("disk", mount="/mnt/usb")
    assert named(watched)["disk.percent"] == 70.0
    machine.mounted = False
    assert isnan(named(watched)["disk.percent"])


def test_a_chip_gives_its_hottest_sensor_or_every_one(machine: FakeMachine) -> None:
    machine.sensors = {
        "coretemp": [SimpleNamespace(label="Core 0", current=40.0), SimpleNamespace(label="Core 1", current=45.0)],
        "nvme": [SimpleNamespace(label="Composite", current=30.0), SimpleNamespace(label="Composite", current=31.0)],
        "cpu_thermal": [SimpleNamespace(label="", current=50.0)],
    }
    assert named(source("temperatures")) == {
        "temperature.coretemp": 45.0,
        "temperature.nvme": 31.0,
        "temperature.cpu_thermal": 50.0,
    }
    assert named(source("temperatures_all")) == {
        "temperature.coretemp.core_0": 40.0,
        "temperature.coretemp.core_1": 45.0,
        "temperature.nvme.composite": 30.0,
        "temperature.nvme.composite.1": 31.0,
        "temperature.cpu_thermal.0": 50.0,
    }


def test_a_sensor_that_disappears_is_missing(machine: FakeMachine) -> None:
    machine.sensors = {"w1": [SimpleNamespace(label="", current=20.0)]}
    watched = source("temperatures")
    machine.sensors = {}
    assert isnan(named(watched)["temperature.w1"])


def test_a_machine_that_hides_its_sensors_is_watched_without_them(machine: FakeMachine) -> None:
    machine.broken = {"sensors_temperatures"}
    assert list(named(source("memory", "temperatures"))) == ["memory.percent"]


def test_an_unknown_group_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError) as caught:
        source("cpu", "gpu")
    assert caught.value.location == "$.groups[1]"
    assert "'gpu'" in caught.value.message
    assert all(group in caught.value.remedy for group in GROUPS)


@pytest.mark.parametrize("key", ["groups", "disks", "interfaces"])
def test_a_name_given_twice_is_refused(key: str) -> None:
    with pytest.raises(UserError) as caught:
        HostSource(msgspec.convert({"type": "host", key: ("cpu", "cpu")}, HostConfig), 1.0)
    assert caught.value.location == f"$.{key}[1]"


def test_nothing_to_watch_is_refused(machine: FakeMachine) -> None:
    with pytest.raises(UserError, match="nothing to watch"):
        source("temperatures")


def test_all_groups_together_have_distinct_names_on_this_very_machine() -> None:
    real = HostSource(HostConfig("host", groups=tuple(GROUPS), disks=("sda",), interfaces=("lo",)), 1.0)
    real.read()
    assert len(named(real)) == len(real.channels)
