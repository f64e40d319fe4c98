"""Optional imports: an error names the missing extra."""

from __future__ import annotations

import os
import signal
import time
from importlib import import_module

import pytest

from agent.core.errors import EnvironmentFault
from training.optional_imports import importing


def test_a_missing_library_is_named_with_the_command_that_installs_it() -> None:
    named = r"no_such_library is not installed.*edgewatch\[evaluation\]"
    with pytest.raises(EnvironmentFault, match=named), importing("evaluation"):
        import_module("no_such_library")


def test_ctrl_c_waits_for_the_end_of_the_imports() -> None:
    finished = []

    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # the interpreter handles it here
        finished.append(True)

    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), importing("evaluation"):
            interrupted()
    finally:
        signal.signal(signal.SIGINT, former)
    assert finished
