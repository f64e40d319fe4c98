"""``python -m training universal``: train the builtin bundle."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.commands.arguments import natural
from training.optional_imports import importing

if TYPE_CHECKING:
    import argparse

    from training.recipes.universal import Advance

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("universal", help="train the builtin bundle on simulated series")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the bundle to")
    parser.add_argument(
        "--seed",
        type=natural,
        default=1,
        metavar="N",
        help="random seed; the same seed gives the same bundle (default 1)",
    )
    parser.add_argument("--steps", type=natural, metavar="N", help="optimiser steps for each of the two networks")
    parser.add_argument("--quick", action="store_true", help="a trial run in seconds; the networks are poor")
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="also write the same networks as float32 to this folder"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train and write the bundle, and print its size and its deviation from Keras."""
    with importing("training"):
        from rich.progress import Progress  # noqa: PLC0415 - an extra

        from training.recipes.universal import FULL, QUICK, build  # noqa: PLC0415 - TensorFlow takes seconds to import

    budget = QUICK if options.quick else FULL
    if options.steps:
        budget = dataclasses.replace(budget, forecaster_steps=options.steps, autoencoder_steps=options.steps)
    with Progress() as progress:

        def stage(name: str, steps: int) -> Advance:
            task = progress.add_task(name, total=steps)
            return lambda done: progress.advance(task, done)

        bundle = build(options.output, seed=options.seed, budget=budget, stage=stage, reference=options.reference)
    manifest = bundle.manifest
    size = manifest.forecaster.size + manifest.autoencoder.size
    print(f"{bundle.label} in {bundle.directory}, {size / 1000:.1f} kB of networks")
    for network in ("forecaster", "autoencoder"):
        found = manifest.verification[network]
        print(f"{network}: deviates from Keras by {found['mean_deviation']} (mean), {found['max_deviation']} (max)")
