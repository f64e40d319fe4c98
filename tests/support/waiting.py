"""Waiting for a condition, and limits of time for commands under test."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


#: Seconds after which a command under test counts as hung. A quick training of 20 s took over four minutes beside ten
#: busy jobs on two cores.
HUNG_S = 800.0


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0, what: str = "the condition") -> Any:
    """Poll until the condition is true; fail after a timeout."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"waited {timeout_s} s in vain for {what}")
