"""``python -m training``: the commands of the offline half."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import EdgewatchError, EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.optimise import Advance

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    # SIGINT too: a shell that starts a job in the background makes it deaf to Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        options.run(options)
    except EdgewatchError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("training: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Make model bundles for the agent.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    universal = commands.add_parser("universal", help="train the bundle that ships, on simulated series")
    universal.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the bundle to")
    universal.add_argument("--seed", type=_natural, default=1, metavar="N", help="same seed, same bundle (default 1)")
    universal.add_argument("--steps", type=_natural, metavar="N", help="optimiser steps for each of the two networks")
    universal.add_argument("--quick", action="store_true", help="seconds instead of minutes, to try the path only")
    universal.set_defaults(run=_universal)
    return parser


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more: {text}")
    return number


def _universal(options: argparse.Namespace) -> None:
    _quieten_tensorflow()
    try:
        from rich.progress import Progress  # noqa: PLC0415 - an extra

        from training.universal import FULL, QUICK, build  # noqa: PLC0415 - TensorFlow takes seconds to import
    except ImportError as error:
        raise EnvironmentFault(f"{error.name} is not installed", remedy="pip install 'edgewatch[training]'") from error

    budget = QUICK if options.quick else FULL
    if options.steps:
        budget = dataclasses.replace(budget, forecaster_steps=options.steps, autoencoder_steps=options.steps)
    with Progress() as progress:

        def stage(name: str, steps: int) -> Advance:
            task = progress.add_task(name, total=steps)
            return lambda done: progress.advance(task, done)

        bundle = build(options.output, seed=options.seed, budget=budget, stage=stage)
    manifest = bundle.manifest
    size = manifest.forecaster.size + manifest.autoencoder.size
    print(f"{bundle.label} in {bundle.directory}, {size / 1000:.1f} kB of networks")
    for network in ("forecaster", "autoencoder"):
        found = manifest.verification[network]
        print(f"{network}: deviates from Keras by {found['mean_deviation']} (mean), {found['max_deviation']} (max)")


def _quieten_tensorflow() -> None:
    """Set what TensorFlow and Keras read when they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its rounding depends on the processor
    os.environ["KERAS_BACKEND"] = "tensorflow"
