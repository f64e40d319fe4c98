"""Clocks: monotonic time for deadlines and ages, wall time only for labels."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from pathlib import Path
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]

_LOG = logging.getLogger(__name__)

# Bit of ``timex.status`` that the kernel sets while its clock is not synchronised (adjtimex(2)).
_STA_UNSYNC = 0x0040
# A change of wall minus monotonic time by more seconds than this is a jump. Chosen by hand.
_JUMP_S = 1.0
# Time after a jump for which the wall clock counts as not synchronised. Chosen by hand.
_DOUBT_NS = 600 * 10**9
# CLOCK_BOOTTIME includes time in suspend, so that readings missed meanwhile are noticed.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Runtime folder of systemd-timesyncd, which creates the file `synchronized` in it once the clock is set.
_TIMESYNC = Path("/run/systemd/timesync")


class Clock(Protocol):
    """Interface of a clock for the sampler and the daemon."""

    def boot(self) -> str:
        """Identifier of the machine's current boot; only monotonic times of the same boot are comparable."""

    def monotonic_ns(self) -> int:
        """Monotonic time in nanoseconds; it never decreases."""

    def wall(self) -> float:
        """Wall time in seconds since 1970, right or wrong."""

    def sleep_until(self, deadline_ns: int) -> bool:
        """Sleep until a monotonic deadline; False if `stop` ended the sleep."""

    def stop(self) -> None:
        """End the present sleep and all later ones at once."""

    def synchronised(self) -> bool:
        """Whether the wall clock can be trusted."""


class SystemClock:
    """Clocks of the machine."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._offset = time.time() - self.monotonic_ns() / 1e9
        self._jumped_ns = -_DOUBT_NS

    def boot(self) -> str:
        """Boot identifier of the Linux kernel; empty on other systems."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def monotonic_ns(self) -> int:
        """Monotonic time in nanoseconds; on Linux it includes time in suspend."""
        return time.clock_gettime_ns(_CLOCK)

    def wall(self) -> float:
        """Wall time in seconds since 1970, right or wrong."""
        return time.time()

    def sleep_until(self, deadline_ns: int) -> bool:
        """Sleep until a monotonic deadline; False if `stop` ended the sleep."""
        remaining = (deadline_ns - self.monotonic_ns()) / 1e9
        return not self._stopped.wait(max(remaining, 0.0))

    def stop(self) -> None:
        """End the present sleep and all later ones at once."""
        self._stopped.set()

    def synchronised(self) -> bool:
        """Whether the kernel's clock is synchronised and has not jumped within the last ten minutes."""
        now_ns = self.monotonic_ns()
        offset = time.time() - now_ns / 1e9
        if abs(offset - self._offset) > _JUMP_S:
            _LOG.warning("the wall clock jumped by %.0f s", offset - self._offset)
            self._offset, self._jumped_ns = offset, now_ns
        return now_ns - self._jumped_ns >= _DOUBT_NS and _kernel_synchronised()


class ManualClock:
    """Simulated clock for tests and replay: it advances only by `sleep_until`."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self.now_ns = 0
        self.start_wall = wall
        self._stopped = False

    def boot(self) -> str:
        """Empty: every simulated clock starts at 0."""
        return ""

    def monotonic_ns(self) -> int:
        """Simulated time in nanoseconds."""
        return self.now_ns

    def wall(self) -> float:
        """Wall time at the start plus the simulated time, seconds since 1970."""
        return self.start_wall + self.now_ns / 1e9

    def sleep_until(self, deadline_ns: int) -> bool:
        """Advance to the deadline; False after `stop`."""
        self.now_ns = max(self.now_ns, deadline_ns)
        return not self._stopped

    def stop(self) -> None:
        """End every later sleep at once."""
        self._stopped = True

    def synchronised(self) -> bool:
        """True: simulated time needs no other clock."""
        return True


class _Timex(ctypes.Structure):
    """First fields of Linux' ``struct timex`` (adjtimex(2)), and room for the rest, which the kernel may write."""

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
    """Whether adjtimex(2) reports a synchronised clock, as in timedatectl.

    systemd-timesyncd answers where a sandbox forbids the call. True if neither is available.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = _Timex()
        if libc.adjtimex(ctypes.byref(timex)) == -1:
            return not _TIMESYNC.exists() or (_TIMESYNC / "synchronized").exists()
    except (OSError, AttributeError):
        return True
    return not timex.status & _STA_UNSYNC
