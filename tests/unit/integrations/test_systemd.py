"""Notifications to systemd are correct and rare, and a failing service manager does no harm."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from agent.core.clock import ManualClock
from agent.integrations.systemd import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """The receiving end of the protocol."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))


def tick(notifier: Notifier, clock: ManualClock, interval_s: float, count: int) -> None:
    for _ in range(count):
        notifier.alive(interval_s)
        clock.now_ns += round(interval_s * 1e9)


def test_the_service_is_ready_with_its_first_frame_and_says_so_once(manager: Manager) -> None:
    clock = ManualClock()
    notifier = Notifier(clock)
    assert manager.heard() == []
    tick(notifier, clock, 1.0, 100)
    assert manager.heard() == ["READY=1"]


def test_the_watchdog_is_fed_four_times_a_period_however_fast_frames_come(manager: Manager, watchdog: None) -> None:
    clock = ManualClock()
    notifier = Notifier(clock)
    tick(notifier, clock, 0.5, 1)
    assert manager.heard() == ["READY=1", "WATCHDOG=1"]
    for _ in range(4):
        tick(notifier, clock, 0.5, 120)  # 60 s
        assert manager.heard() == 4 * ["WATCHDOG=1"]


def test_without_frames_the_watchdog_starves(manager: Manager, watchdog: None) -> None:
    clock = ManualClock()
    notifier = Notifier(clock)
    tick(notifier, clock, 1.0, 1)
    manager.heard()
    clock.now_ns += 3600 * 10**9
    notifier.status("normal, open incidents: 0")
    assert manager.heard() == ["STATUS=normal, open incidents: 0"]


def test_a_sampling_interval_longer_than_the_watchdog_stretches_it(manager: Manager, watchdog: None) -> None:
    clock = ManualClock()
    notifier = Notifier(clock)
    tick(notifier, clock, 300.0, 2)
    assert manager.heard() == ["READY=1", "WATCHDOG_USEC=1200000000", "WATCHDOG=1", "WATCHDOG=1"]
    tick(notifier, clock, 1.0, 1)  # a reload made it fast again
    assert manager.heard() == ["WATCHDOG_USEC=60000000", "WATCHDOG=1"]


def test_a_watchdog_for_another_process_is_not_ours_to_feed(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    clock = ManualClock()
    tick(Notifier(clock), clock, 1.0, 100)
    assert manager.heard() == ["READY=1"]


def test_a_reload_is_told_with_its_time_and_ends_even_when_it_fails(manager: Manager) -> None:
    # systemd compares it with CLOCK_MONOTONIC, which stops during suspend.
    before = time.monotonic_ns() // 1000
    with suppress(RuntimeError), Notifier(ManualClock()).reloading():
        (told,) = manager.heard()
        assert before <= int(told.removeprefix("RELOADING=1\nMONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        raise RuntimeError
    assert manager.heard() == ["READY=1"]


def test_status_is_told_when_it_changes(manager: Manager) -> None:
    notifier = Notifier(ManualClock())
    for text in ("learning", "learning", "normal"):
        notifier.status(text)
    notifier.stopping()
    assert manager.heard() == ["STATUS=learning", "STATUS=normal", "STOPPING=1"]


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"edgewatch-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    Notifier(ManualClock()).ready()
    assert manager.heard() == ["READY=1"]
    manager.close()


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/notify", "@nobody-listens-here", "/" + "x" * 200])
def test_a_manager_that_is_not_there_does_no_harm(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier = Notifier(ManualClock())
    notifier.ready()
    notifier.alive(1.0)
    notifier.status("normal")
    notifier.stopping()
    with notifier.reloading():
        pass


def test_a_manager_that_does_not_read_does_not_hold_the_loop_up_and_is_told_again(manager: Manager) -> None:
    notifier = Notifier(ManualClock())
    said = 0
    while notifier._send("STATUS=x"):
        said += 1
    assert said > 0
    notifier.status("new")  # dropped
    manager.heard()
    notifier.status("new")
    assert manager.heard() == ["STATUS=new"]
