"""How the agent itself is: time spent, memory, failures."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from pathlib import Path

__all__ = ["confine_memory", "give_back_memory", "rss_mib", "settle_memory"]

# Of mallopt(3).
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 128 << 10


def confine_memory() -> None:
    """Let all threads share one heap, and large pieces go back to the system when freed; before there are threads.

    Without, glibc has a heap for each thread, all with holes of their own; and it takes ever larger pieces from where
    small ones lie once one of that size was freed: see mallopt(3), M_ARENA_MAX and M_MMAP_THRESHOLD.
    """
    _call("mallopt", _M_ARENA_MAX, 1)
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def settle_memory() -> None:
    """Prepare for a long life: what is there now will stay, and the garbage collector need not look at it."""
    gc.collect()
    gc.freeze()


def give_back_memory() -> None:
    """Let the system have what was freed: glibc keeps it between pieces in use, a little more each day."""
    gc.collect()
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    """Call a function of the C library, if it has it."""
    with contextlib.suppress(AttributeError, OSError):
        getattr(ctypes.CDLL(None), function)(*arguments)


def rss_mib() -> float:
    """Resident memory of this process in MiB."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 2**20
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
