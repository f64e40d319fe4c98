"""Whether the machine can show what a test asks for."""

from __future__ import annotations

import time

import psutil
import pytest

# Other work that takes more of the processor than this hides a process that burns the rest, in percent.
_BUSY = 50.0
_WINDOW_S = 2.0


def need_idle_processor(timeout_s: float = 60.0) -> None:
    """Wait until the processor is mostly idle; skip the test, with the reason, where it stays busy."""
    until = time.monotonic() + timeout_s
    while (busy := psutil.cpu_percent(_WINDOW_S)) > _BUSY:
        if time.monotonic() > until:
            pytest.skip(f"other work keeps the processor {busy:.0f} % busy: a burst on top of it is no change to see")
