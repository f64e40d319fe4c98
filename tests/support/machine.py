"""Checks whether this machine allows a test."""

from __future__ import annotations

import time

import psutil
import pytest

# CPU use in percent above which other work hides the load made by a test.
_BUSY = 30.0
_WINDOW_S = 2.0


def need_idle_processor(timeout_s: float = 60.0) -> None:
    """Wait until the processor is mostly idle; skip the test with the reason if it stays busy."""
    until = time.monotonic() + timeout_s
    while (busy := psutil.cpu_percent(_WINDOW_S)) > _BUSY:
        if time.monotonic() > until:
            pytest.skip(f"other work keeps the processor {busy:.0f} % busy: a burst on top of it is no change to see")
