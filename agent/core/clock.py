"""Time: monotonic for deadlines and ages, wall time only as a label."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from pathlib import Path
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]

_LOG = logging.getLogger(__name__)

_STA_UNSYNC = 0x0040
_JUMP_S = 1.0
_DOUBT_NS = 600 * 10**9
# A suspended machine has missed what happened meanwhile, and its sleep must be seen.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Where systemd-timesyncd runs it has this folder, and a file in it once the clock is set.
_TIMESYNC = Path("/run/systemd/timesync")


class Clock(Protocol):
    """What the sampler and the daemon need of time."""

    def boot(self) -> str:
        """Which run of the machine this is; monotonic times of the same run can be compared."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back."""

    def wall(self) -> float:
        """Seconds since 1970, as the machine believes."""

    def sleep_until(self, deadline_ns: int) -> bool:
        """Sleep until the monotonic deadline; False when woken by `stop` instead."""

    def stop(self) -> None:
        """Wake the sleeper, now and for ever."""

    def synchronised(self) -> bool:
        """Whether the wall clock can be believed."""


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._offset = time.time() - self.monotonic_ns() / 1e9
        self._jumped_ns = -_DOUBT_NS

    def boot(self) -> str:
        """The kernel's own name for the time since it was started; empty where it gives none."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; they go on while the machine is suspended."""
        return time.clock_gettime_ns(_CLOCK)

    def wall(self) -> float:
        """Seconds since 1970, as the machine believes."""
        return time.time()

    def sleep_until(self, deadline_ns: int) -> bool:
        """Sleep until the monotonic deadline; False when woken by `stop` instead."""
        remaining = (deadline_ns - self.monotonic_ns()) / 1e9
        return not self._stopped.wait(max(remaining, 0.0))

    def stop(self) -> None:
        """Wake the sleeper, now and for ever."""
        self._stopped.set()

    def synchronised(self) -> bool:
        """Whether the kernel calls its clock synchronised and it has not jumped in the last ten minutes."""
        now_ns = self.monotonic_ns()
        offset = time.time() - now_ns / 1e9
        if abs(offset - self._offset) > _JUMP_S:
            _LOG.warning("the wall clock jumped by %.0f s", offset - self._offset)
            self._offset, self._jumped_ns = offset, now_ns
        return now_ns - self._jumped_ns >= _DOUBT_NS and _kernel_synchronised()


class ManualClock:
    """A clock that moves only when told to sleep: time in tests and in replay."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self.now_ns = 0
        self.start_wall = wall
        self._stopped = False

    def boot(self) -> str:
        """Always the same: each such clock begins at 0."""
        return ""

    def monotonic_ns(self) -> int:
        """Nanoseconds slept so far."""
        return self.now_ns

    def wall(self) -> float:
        """The starting wall time plus what was slept."""
        return self.start_wall + self.now_ns / 1e9

    def sleep_until(self, deadline_ns: int) -> bool:
        """Jump to the deadline."""
        self.now_ns = max(self.now_ns, deadline_ns)
        return not self._stopped

    def stop(self) -> None:
        """End every later sleep at once."""
        self._stopped = True

    def synchronised(self) -> bool:
        """Always: this clock is the only one there is."""
        return True


class _Timex(ctypes.Structure):
    """The head of Linux' ``struct timex`` (adjtimex(2)); the rest is padding the kernel may write."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("padding", ctypes.c_byte * 256),
    )


def _kernel_synchronised() -> bool:
    """Ask adjtimex(2), as timedatectl does, or systemd-timesyncd in a sandbox that forbids it; else True."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = _Timex()
        if libc.adjtimex(ctypes.byref(timex)) == -1:
            return not _TIMESYNC.exists() or (_TIMESYNC / "synchronized").exists()
    except (OSError, AttributeError):
        return True
    return not timex.status & _STA_UNSYNC
