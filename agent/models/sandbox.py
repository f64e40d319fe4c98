"""Loads an external bundle in a separate process first, so that a crash of the TFLite runtime does not end the agent.

The runtime does not guard against malicious models. Hashes do not help if an attacker made them to match.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agent.core.errors import UserError

__all__ = ["survive"]

# Seconds until the separate process counts as hanging. Chosen by hand.
_TIMEOUT_S = 60.0


def survive(directory: Path) -> None:
    """Load a bundle in a separate process. Errors other than a crash or a hang are left to the caller to detect.

    Raises
    ------
    UserError
        The process crashed or did not end within a minute.
    """
    command = [sys.executable, "-m", "agent", "model", "verify", str(directory.resolve())]
    here = Path(__file__).parents[2]  # so that the process imports the same agent
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=here, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
        failure = f"killed by signal {-done.returncode}" if done.returncode < 0 else ""
    except subprocess.TimeoutExpired:
        failure = f"no end after {_TIMEOUT_S:g} s"
    if failure:
        raise UserError(
            f"the TFLite runtime does not survive a model of this bundle ({failure})",
            location=str(directory),
            remedy="do not use this bundle, and find out where it comes from",
        )
