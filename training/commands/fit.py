"""``python -m training fit``: a bundle of one's own recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.core.errors import UserError
from agent.core.mismatch import explained
from training.commands.data import add_data, recordings
from training.files.atomic_folder import refuse_foreign_folder
from training.optional_imports import importing
from training.recipes.fit_options import PRESETS, FitOptions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from training.recipes.fit import Fit

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
    add_data(parser)
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
    refuse_foreign_folder(options.output)
    with importing("training"):
        from rich.progress import Progress, TextColumn  # noqa: PLC0415 - an extra

        from training.data.readers.channels import same_channels  # noqa: PLC0415 - an extra
        from training.recipes import fit  # noqa: PLC0415 - TensorFlow takes seconds to import
        from training.reports import fit as reports_fit  # noqa: PLC0415 - the same
        from training.reports.page import document  # noqa: PLC0415 - the same
        from training.reports.page.terminal import COLUMNS, console  # noqa: PLC0415 - the same

    out = console()
    with Progress(*COLUMNS, TextColumn("{task.fields[remark]}", markup=False), console=out) as bars:
        everything = list(recordings(options))
        same_channels(everything)

        def finish(result: Fit, folder: Path) -> None:
            if not options.no_report:
                document.write(reports_fit.report(result), folder)

        result = fit.fit(
            everything,
            plan,
            options.output,
            name=_name(options),
            progress=_Bars(bars),
            other_python=_second_runtime(options.second_runtime),
            finish=finish,
        )
    for line in reports_fit.lines(result):
        out.print(line)


def _plan(options: argparse.Namespace) -> FitOptions:
    """Read what was chosen; every mistake names its flag."""
    chosen: dict[str, Any] = dict(PRESETS[options.preset]) if options.preset else {}
    for name in (*_CHOICES, "centred"):
        value = getattr(options, name)
        if value is not None:
            chosen[name] = value
    try:
        return msgspec.convert(chosen, FitOptions, strict=False)
    except msgspec.ValidationError as error:
        found = explained(error, chosen, FitOptions, lax=True)
        flag = "--" + found.path.lstrip(".").replace("_", "-")
        raise UserError(found.problem, location=flag, remedy="see `python -m training fit --help`") from error


def _name(options: argparse.Namespace) -> str:
    return str(options.name or options.output.resolve().name)


def _second_runtime(given: Path | None) -> Path | None:
    """The Python that was named, or the one that `make test` leaves in the checkout."""
    if given is not None:
        if not given.is_file():
            raise UserError(
                "no such Python", location=str(given), remedy="name one in which tflite-runtime is installed"
            )
        return given
    usual = Path(".venv-tflite/bin/python")
    return usual if usual.is_file() else None


class _Bars:
    """Shows each stage as a bar with its loss and the time left."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress

    def stage(self, name: str, total: int) -> Callable[[int, str], None]:
        """See `training.recipes.fit.Progress`."""
        task = self._progress.add_task(name, total=total, remark="")
        return lambda done, remark: self._progress.update(task, completed=done, remark=remark)
