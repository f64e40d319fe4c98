"""Tells systemd how the service is, by its notification protocol (sd_notify(3)); without systemd it says nothing."""

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

# A manager that does not read must not delay a tick.
_PATIENCE_S = 0.1
# How often within its period the watchdog is fed at most; a period is at least as many sampling intervals long.
_FEEDS = 4


class Notifier:
    """Datagrams to the socket that ``$NOTIFY_SOCKET`` names; one that cannot be sent is dropped, never raised.

    Parameters
    ----------
    clock
        Where time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._address = _address(os.environ.get("NOTIFY_SOCKET", ""))
        #: Microseconds without `alive` after which the manager restarts the service; 0 is never.
        self._given_us = _watchdog_us()
        self._period_us = self._given_us
        self._fed_ns: int | None = None
        self._ready = False
        self._status = ""

    def ready(self) -> None:
        """Say that the service has started, or has done its reload."""
        self._ready = self._send("READY=1")

    def alive(self, interval_s: float) -> None:
        """Say that a frame was sampled and judged, and that the next one is due after ``interval_s``.

        The first one makes the service ready. Where frames come more slowly than the watchdog allows, its period is
        made longer.
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
        """Say in a line how things are; sent when it changed."""
        if text != self._status and self._send(f"STATUS={text}"):
            self._status = text

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that the configuration is being read again, and afterwards that it was."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.ready()

    def stopping(self) -> None:
        """Say that the service is ending."""
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
    """Address of a socket in the file system, or of an abstract one (``@``); empty for what is neither."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else ""


def _watchdog_us() -> int:
    """What the manager gives in ``$WATCHDOG_USEC``, if it is for this process."""
    given = os.environ.get("WATCHDOG_USEC", "")
    process = os.environ.get("WATCHDOG_PID") or str(os.getpid())
    return int(given) if given.isdecimal() and process == str(os.getpid()) else 0
