"""Entry point of ``python -m training``."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING

from agent.core.errors import EdgewatchError
from training.commands import evaluate, fit, inspect, sign, simulate, universal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = (fit, evaluate, inspect, sign, simulate, universal)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        Command line without the program; None: that of the process.

    Returns
    -------
    Exit code: 0, that of the error, or 130 after Ctrl-C or SIGTERM.
    """
    options = _parser().parse_args(arguments)
    # SIGINT too, because a shell lets background jobs ignore it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        options.run(options)
    except EdgewatchError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stopped:
        print(f"training: interrupted, {str(stopped) or 'nothing was written'}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train model bundles for the agent, and evaluate them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser
