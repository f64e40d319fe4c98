"""Resident memory of this process: measured, and kept small with glibc's settings."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from pathlib import Path

__all__ = ["confine_memory", "give_back_memory", "rss_mib", "settle_memory"]

# Parameters of mallopt(3), as numbered in glibc's malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
# Bytes from which an allocation gets a mapping of its own: glibc's initial value, see mallopt(3). Once set, glibc does
# not raise it at run time.
_LARGE_BYTES = 128 << 10


def confine_memory() -> None:
    """Limit fragmentation: one heap for all threads, and separate mappings for large allocations.

    By default glibc keeps a heap for each thread, each with its own fragmentation. It also raises the size from which
    an allocation gets its own mapping whenever a larger one is freed; see mallopt(3), M_ARENA_MAX and M_MMAP_THRESHOLD.
    Call this before any thread is started. Without glibc it does nothing.
    """
    _call("mallopt", _M_ARENA_MAX, 1)
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def settle_memory() -> None:
    """Exclude all present objects from garbage collection, since they live as long as the process."""
    gc.collect()
    gc.freeze()


def give_back_memory() -> None:
    """Return freed memory to the system; glibc would keep it, and a little more each day."""
    gc.collect()
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    """Call a function of the C library; do nothing if it does not exist."""
    with contextlib.suppress(AttributeError, OSError):
        getattr(ctypes.CDLL(None), function)(*arguments)


def rss_mib() -> float:
    """Resident memory of this process in MiB; the maximum so far if ``/proc`` cannot be read."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 2**20
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
