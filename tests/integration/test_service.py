"""The daemon as a service: its notifications to systemd at start, reload, hang and stop, and in between."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Service:
    """The daemon with a socket to notify, as systemd runs it, and a watchdog of two seconds."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"state_dir: {folder / 'state'}\ninterval_s: 0.1\nsources: [{{type: simulated}}]\nmqtt: {{port: 1}}\n"
        )
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)
        self._heard: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent", "run", "--config", str(self.config)],
            cwd=ROOT,
            env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": ""},
            stderr=subprocess.DEVNULL,
        )

    def heard(self) -> list[str]:
        while True:
            try:
                self._heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self._heard

    def hear(self, message: str) -> None:
        wait_for(lambda: [heard for heard in self.heard() if heard.startswith(message)], what=message)

    def forget(self) -> None:
        self.heard()
        self._heard.clear()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.close()


def test_a_service_tells_its_whole_life_to_the_manager(service: Service) -> None:
    service.hear("WATCHDOG=1")
    assert [line.split("=")[0] for line in service.heard()[:3]] == ["STATUS", "READY", "WATCHDOG"]
    assert service.heard()[0] == "STATUS=learning, open incidents: 0"

    service.forget()
    service.process.send_signal(signal.SIGHUP)
    service.hear("READY=1")
    told = [line for line in service.heard() if "WATCHDOG" not in line]
    assert [line.split("\n")[0] for line in told] == ["RELOADING=1", "READY=1"]

    service.process.terminate()
    assert service.process.wait(10) == 0
    assert service.heard()[-1] == "STOPPING=1"


def test_a_frozen_daemon_starves_its_watchdog(service: Service) -> None:
    service.hear("WATCHDOG=1")
    service.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    service.forget()
    time.sleep(2.5)  # longer than the watchdog's period: no notification may come
    assert service.heard() == []
    service.process.send_signal(signal.SIGCONT)
    service.hear("WATCHDOG=1")
