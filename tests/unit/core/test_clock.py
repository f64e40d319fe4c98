"""Wrong clocks and suspended machines: a doubtful wall clock affects only time stamps."""

from __future__ import annotations

import ctypes
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core import clock as clock_module
from agent.core.channel import Channel
from agent.core.clock import SystemClock
from agent.detection.verdict import Verdict
from agent.sampling.sampler import Sampler
from tests.support.sampling import Counting

if TYPE_CHECKING:
    from pathlib import Path

YEAR_S = 365 * 86400.0


class Machine:
    """Simulated clocks of a machine that can be set and suspended."""

    def __init__(self) -> None:
        self.running_ns = 5 * 10**9
        self.wall = 1_790_000_000.0
        self.kernel_believes = True

    def pass_s(self, seconds: float, *, wall_s: float | None = None) -> None:
        self.running_ns += round(seconds * 1e9)
        self.wall += seconds if wall_s is None else wall_s

    def clock_gettime_ns(self, clock: int) -> int:
        assert clock == clock_module._CLOCK
        return self.running_ns


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr("time.time", lambda: machine.wall)
    monkeypatch.setattr("time.clock_gettime_ns", machine.clock_gettime_ns)
    monkeypatch.setattr(clock_module, "_kernel_synchronised", lambda: machine.kernel_believes)

    def sleep_until(clock: SystemClock, deadline_ns: int) -> bool:
        machine.pass_s(max(0, deadline_ns - machine.running_ns) / 1e9)
        return True

    monkeypatch.setattr(SystemClock, "sleep_until", sleep_until)
    return machine


@pytest.mark.parametrize("jump_s", [5.0, -5.0, 3600.0, -YEAR_S, 50 * YEAR_S])
def test_a_jump_makes_the_wall_clock_doubtful_for_ten_minutes(machine: Machine, jump_s: float, caplog: Any) -> None:
    clock = SystemClock()
    machine.pass_s(3600.0)
    assert clock.synchronised()
    machine.pass_s(10.0, wall_s=10.0 + jump_s)
    assert not clock.synchronised()
    machine.pass_s(599.0)
    assert not clock.synchronised()
    machine.pass_s(2.0)
    assert clock.synchronised()
    assert caplog.text.count("the wall clock jumped") == 1


def test_a_second_jump_begins_the_ten_minutes_anew(machine: Machine) -> None:
    clock = SystemClock()
    machine.pass_s(0.0, wall_s=60.0)
    assert not clock.synchronised()
    machine.pass_s(500.0, wall_s=440.0)
    assert not clock.synchronised()
    machine.pass_s(500.0)
    assert not clock.synchronised()
    machine.pass_s(101.0)
    assert clock.synchronised()


def test_a_clock_that_is_slewed_is_believed(machine: Machine) -> None:
    clock = SystemClock()
    for _ in range(100):
        machine.pass_s(60.0, wall_s=60.0 + 0.005)
        assert clock.synchronised()


def test_a_clock_that_the_kernel_does_not_believe_is_not_believed(machine: Machine) -> None:
    clock = SystemClock()
    machine.kernel_believes = False
    assert not clock.synchronised()
    machine.kernel_believes = True
    assert clock.synchronised()


def test_sleep_is_no_jump_of_the_wall_clock(machine: Machine) -> None:
    clock = SystemClock()
    machine.pass_s(8 * 3600.0)  # both clocks go on while the machine is suspended
    assert clock.synchronised()


def test_alerts_say_that_the_clock_cannot_be_believed_until_it_can_again(machine: Machine) -> None:
    clock = SystemClock()
    settings = AlertsConfig(confirm_s=1, clear_s=1, cooldown_s=0, budget_per_day=1e9)
    channels = (Channel("disk", alarm_above=95.0),)
    incidents = Incidents(channels, settings, 1.0, node="pi4", model="m", instance="0", clock_synced=clock.synchronised)
    source = Counting("n")
    told = []
    for frame in itertools.islice(Sampler([("n", source)], 1.0, clock).frames(), 1400):
        value = 99.0 if frame.seq % 50 < 10 else 10.0
        if frame.seq == 100:
            machine.pass_s(0.0, wall_s=-YEAR_S)
        told += [(frame.seq, alert) for alert in incidents.step(*_judged(frame, value))]
    assert [a.seq for _, a in told] == list(range(1, len(told) + 1))
    doubtful = {seq for seq, alert in told if not alert.clock_synced}
    assert doubtful == {seq for seq, _ in told if 100 <= seq < 700}
    assert all(abs(alert.duration_s) < 60 for _, alert in told)
    assert {alert.phase for _, alert in told} == {"open", "close"}


def _judged(frame: Any, value: float) -> tuple[Any, Verdict]:
    """A verdict without anomalies, so that only hard limits decide."""
    values = np.array([value], np.float32)
    zero, none = np.zeros(1), np.zeros(1, bool)
    verdict = Verdict(
        value=values,
        outlook=np.zeros((3, 1)),
        limits=(zero, zero),
        in_units=lambda scaled: scaled,
        strength=zero,
        peak=zero,
        anomalous=none,
        accepted=none,
        seen=zero + 1e6,
        learning_rows=1.0,
        provisional_rows=1.0,
        state=zero,
        state_score=0.0,
        errors=np.zeros((2, 1)),
    )
    return type(frame)(frame.seq, frame.mono_ns, frame.wall, values), verdict


@pytest.mark.parametrize("jump_s", [-YEAR_S, 3600.0])
def test_ticks_go_on_evenly_whatever_the_wall_clock_does(machine: Machine, jump_s: float) -> None:
    source = Counting("n")
    sampler = Sampler([("n", source)], 2.0, SystemClock())
    frames = []
    for frame in itertools.islice(sampler.frames(), 20):
        frames.append(frame)
        if frame.seq == 9:
            machine.pass_s(0.0, wall_s=jump_s)
    assert [frame.seq for frame in frames] == list(range(20))
    assert {b.mono_ns - a.mono_ns for a, b in itertools.pairwise(frames)} == {2 * 10**9}
    assert sampler.missed == 0
    # Only the label has changed.
    assert frames[10].wall - frames[9].wall == pytest.approx(2.0 + jump_s)


def test_a_night_asleep_is_missed_and_not_made_up_for(machine: Machine, caplog: Any) -> None:
    source = Counting("n")
    sampler = Sampler([("n", source)], 1.0, SystemClock())
    seen = []
    for frame in itertools.islice(sampler.frames(), 10):
        seen.append(frame.seq)
        if frame.seq == 4:
            machine.pass_s(8 * 3600.0)
    night = 8 * 3600
    assert seen == [0, 1, 2, 3, 4, *range(night + 4, night + 9)]
    assert sampler.missed == night - 1
    assert source.reads == 10
    assert "no frame for 28800 s: the machine was suspended, or a step was too slow" in caplog.text


def test_the_clock_of_ages_goes_on_while_the_machine_sleeps() -> None:
    # Otherwise a night of sleep would not count, and seasons would be shifted by it.
    import time  # noqa: PLC0415 - only here is the real one of interest

    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("this system has no CLOCK_BOOTTIME")
    assert clock_module._CLOCK == time.CLOCK_BOOTTIME
    assert SystemClock().monotonic_ns() >= time.monotonic_ns() - 10**9


def test_the_kernel_can_be_asked_whether_it_believes_its_clock() -> None:
    assert clock_module._kernel_synchronised() in {True, False}


class Sandbox:
    """A C library in a sandbox that forbids adjtimex."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def adjtimex(self, _timex: object) -> int:
        return -1


@pytest.mark.parametrize(("files", "believed"), [(None, True), ([], False), (["synchronized"], True)])
def test_in_a_sandbox_the_time_service_is_asked_instead_of_the_kernel(
    files: list[str] | None, believed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", Sandbox)
    monkeypatch.setattr(clock_module, "_TIMESYNC", tmp_path / "timesync")
    if files is not None:
        (tmp_path / "timesync").mkdir()
        for name in files:
            (tmp_path / "timesync" / name).touch()
    assert SystemClock().synchronised() is believed
