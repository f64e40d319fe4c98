"""``python -m training fit``: a bundle of one's own recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.errors import EnvironmentFault, UserError
from training.commands.universal import quieten_tensorflow
from training.plan import PRESETS, FitPlan

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]

# Of each choice of the plan that is a number or a word: what it means, on the command line.
_CHOICES = {
    "window": "rows the autoencoder sees (default: two periods of the data's rhythm, 64 if it has none)",
    "block": "rows whose mean is one point of that window (default: chosen with the window)",
    "look_back": "rows from which the forecaster learns (default 64)",
    "horizon": "how many rows ahead it looks (default 1)",
    "units": "width of the LSTM layers (default 32)",
    "layers": "LSTM layers, 1 or 2",
    "latent": "length of the autoencoder's code, 0 for none (default 8)",
    "dropout": "share of inputs left out in training (default 0)",
    "head": "what the forecaster says: quantile, point or mixture",
    "layout": "joint: one network over all channels; shared: the same network over each",
    "scaling": "robust, standard or minmax",
    "clock": "auto: hour and weekday are seen where they make sense; none",
    "form": "number format: int8 (default), float16, float32 or full-int8",
    "epochs": "at most (default 25)",
    "patience": "epochs without progress after which it ends (default 6)",
    "steps": "optimiser steps an epoch at most (default 80)",
    "seed": "same seed, same bundle (default 1)",
}


def add(commands: Any) -> None:
    """Put the command on the command line."""
    parser = commands.add_parser("fit", help="train a bundle on your own recordings")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help="see docs/data.md")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the bundle to")
    parser.add_argument("--name", help="of the bundle, as alerts will carry it (default: the folder's)")
    parser.add_argument("--preset", choices=sorted(PRESETS), help="choices that go together; others override them")
    for name, meaning in _CHOICES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=name.upper(), help=meaning, default=None)
    parser.add_argument(
        "--centred",
        action="store_true",
        default=None,
        help="redraw shapes rather than levels (default: if the data has a rhythm)",
    )
    parser.add_argument(
        "--second-runtime",
        type=Path,
        metavar="PYTHON",
        help="a Python with tflite-runtime, to verify the bundle for 32-bit Pis too (default: .venv-tflite/bin/python)",
    )
    parser.add_argument("--no-report", action="store_true", help="write no report.html and no plots")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train, write, and say what came out and how to use it."""
    plan = _plan(options)
    quieten_tensorflow()
    try:
        from training.fit import fit  # noqa: PLC0415 - TensorFlow takes seconds to import
    except ImportError as error:
        raise EnvironmentFault(f"{error.name} is not installed", remedy="pip install 'edgewatch[training]'") from error
    raise NotImplementedError(fit, plan)


def _plan(options: argparse.Namespace) -> FitPlan:
    """Read what was chosen; every mistake names its flag."""
    chosen: dict[str, Any] = dict(PRESETS[options.preset]) if options.preset else {}
    for name in (*_CHOICES, "centred"):
        value = getattr(options, name)
        if value is not None:
            chosen[name] = value
    try:
        return msgspec.convert(chosen, FitPlan, strict=False)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        flag = "--" + path.rstrip("`").replace("_", "-")
        raise UserError(text, place=flag, remedy="see `python -m training fit --help`") from error
