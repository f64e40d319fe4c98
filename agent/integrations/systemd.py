"""Notifies systemd of readiness, status and liveness, see sd_notify(3); does nothing without systemd."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.clock import Clock

__all__ = ["Notifier"]

# Seconds that sending may take if systemd does not read; chosen by hand, so that it hardly delays a tick.
_PATIENCE_S = 0.1
# Watchdog messages in a watchdog period at most, and sampling intervals in it at least; chosen by hand.
_FEEDS = 4


class Notifier:
    """Sends notifications to the socket ``$NOTIFY_SOCKET``; those that cannot be sent are dropped silently.

    Parameters
    ----------
    clock
        Source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._address = _address(os.environ.get("NOTIFY_SOCKET", ""))
        # Microseconds without `alive` after which systemd restarts the service, as given and as changed; 0: never.
        self._given_us = _watchdog_us()
        self._period_us = self._given_us
        self._fed_ns: int | None = None
        self._ready = False
        self._status = ""

    def ready(self) -> None:
        """Notify that the service has started, or has finished a reload."""
        self._ready = self._send("READY=1")

    def alive(self, interval_s: float) -> None:
        """Notify that a frame was judged; the first call also reports the service as ready.

        Parameters
        ----------
        interval_s
            Seconds until the next frame. The watchdog period is extended to four times this if it is shorter.
        """
        if not self._ready:
            self.ready()
        if not self._given_us:
            return
        period_us = max(self._given_us, round(_FEEDS * interval_s * 1e6))
        if period_us != self._period_us and self._send(f"WATCHDOG_USEC={period_us}"):
            self._period_us, self._fed_ns = period_us, None
        now_ns = self._clock.monotonic_ns()
        is_due = self._fed_ns is None or now_ns - self._fed_ns >= self._period_us * 1000 // _FEEDS
        if is_due and self._send("WATCHDOG=1"):
            self._fed_ns = now_ns

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows; sent when it changes."""
        if text != self._status and self._send(f"STATUS={text}"):
            self._status = text

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Notify of the begin and the end of a reload; a context manager."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.ready()

    def stopping(self) -> None:
        """Notify that the service is stopping."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
                opened.settimeout(_PATIENCE_S)
                opened.sendto(state.encode(), self._address)
        except OSError:
            return False
        return True


def _address(name: str) -> str:
    """Address of a socket in the file system, or of an abstract one (``@…``); empty for any other name."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else ""


def _watchdog_us() -> int:
    """Watchdog period in microseconds, from ``$WATCHDOG_USEC``; 0 if absent or for another process."""
    given = os.environ.get("WATCHDOG_USEC", "")
    process = os.environ.get("WATCHDOG_PID") or str(os.getpid())
    return int(given) if given.isdecimal() and process == str(os.getpid()) else 0
