"""Tries a bundle from outside in a process of its own: what crashes the TFLite runtime must not crash the agent.

The runtime is not made for models from strangers. Where hashes are right, since somebody made them so, nothing else
stands between a malformed model and the agent's own memory.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agent.core.errors import UserError

__all__ = ["survive"]

_PATIENCE_S = 60.0


def survive(directory: Path) -> None:
    """Load a bundle elsewhere; what else is wrong with it is for the caller to find.

    Raises
    ------
    UserError
        The process did not survive it, or did not end.
    """
    command = [sys.executable, "-m", "agent", "model", "verify", str(directory.resolve())]
    here = Path(__file__).parents[2]  # where this very agent is found
    try:
        done = subprocess.run(  # noqa: S603 - our own
            command, cwd=here, capture_output=True, check=False, timeout=_PATIENCE_S
        )
        told = f"killed by signal {-done.returncode}" if done.returncode < 0 else ""
    except subprocess.TimeoutExpired:
        told = f"no end after {_PATIENCE_S:g} s"
    if told:
        raise UserError(
            f"the TFLite runtime does not survive a model of this bundle ({told})",
            location=str(directory),
            remedy="do not use it, and ask where it comes from",
        )
