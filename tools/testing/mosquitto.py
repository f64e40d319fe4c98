"""A real mosquitto in a separate process, which can be killed and restarted."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from agent.core.errors import EnvironmentFault

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PERSISTENT", "Mosquitto", "free_port", "program"]

# Seconds to wait for the start, chosen by hand.
_START_S = 10.0
#: Configuration for tests that kill the broker: with its defaults, mosquitto loses acknowledged messages then.
PERSISTENT = ("allow_anonymous true", "persistence true", "autosave_on_changes true", "autosave_interval 1")


def program() -> str | None:
    """Path of mosquitto, None if it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def free_port() -> int:
    """Give a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker on a free loopback port.

    Parameters
    ----------
    folder
        Folder for configuration, log and persistent data.
    lines
        Lines of the configuration.

    Raises
    ------
    EnvironmentFault
        Mosquitto is not installed or does not start.
    """

    def __init__(self, folder: Path, lines: tuple[str, ...] = ("allow_anonymous true",)) -> None:
        found = program()
        if found is None:
            raise EnvironmentFault("mosquitto is not installed", remedy="apt install mosquitto")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._program = found
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        if "persistence true" in lines:
            # Started as root, mosquitto would drop its privileges and could not write here.
            lines = (*lines, f"persistence_location {folder}/", "user root")
        # Unlimited: an outage of hours exceeds the default queue of 1000 messages.
        lines = (f"listener {self.port} 127.0.0.1", "max_queued_messages 0", *lines)
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.start()

    def start(self) -> None:
        """Start or restart the broker, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._config)], stdout=log, stderr=log)
        until = time.monotonic() + _START_S
        while not self._listens():
            if time.monotonic() > until or self._process.poll() is not None:
                raise EnvironmentFault(f"mosquitto did not start: {self._log.read_text(encoding='utf-8')[-500:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the broker cleanly."""
        self._process.terminate()
        self._process.wait(10)

    def kill(self) -> None:
        """Kill the broker without a clean shutdown."""
        self._process.kill()
        self._process.wait(10)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False
