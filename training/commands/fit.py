"""``python -m training fit``: train a bundle on recordings."""

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

# Help texts of the fields of `FitOptions` with a value.
_CHOICES = {
    "window": "window of the autoencoder in rows (default: two periods of the data, 64 without a period)",
    "block": "rows averaged into a point of the window (default: chosen with the window)",
    "look_back": "look-back of the forecaster in rows (default 64)",
    "horizon": "forecast horizon in rows (default 1)",
    "units": "units per LSTM layer (default 32)",
    "layers": "number of LSTM layers, 1 or 2 (default 1)",
    "latent": "size of the latent vector, 0 for none (default 8)",
    "dropout": "share of inputs dropped in training (default 0)",
    "head": "output of the forecaster: quantile (default), point or mixture",
    "layout": "joint (default): one network over all channels; shared: the same network for each channel",
    "scaling": "scaling of the channels: robust (default), standard or minmax",
    "clock": "auto (default): use hour and weekday if the data is long enough; none: do not use them",
    "form": "number format: int8 (default), float16, float32 or full-int8",
    "epochs": "largest number of epochs (default 25)",
    "patience": "epochs without progress before early stopping (default 6)",
    "steps": "largest number of optimiser steps per epoch (default 80)",
    "seed": "random seed; the same seed gives the same bundle (default 1)",
}


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("fit", help="train a bundle on your own recordings")
    add_data(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the bundle to")
    parser.add_argument("--name", help="name of the bundle, as stated in alerts (default: that of the folder)")
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), help="named set of options; explicit options take precedence"
    )
    for name, meaning in _CHOICES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=name.upper(), help=meaning, default=None)
    parser.add_argument(
        "--centred",
        action="store_true",
        default=None,
        help="judge shapes instead of levels (default: if the data has a period)",
    )
    parser.add_argument(
        "--second-runtime",
        type=Path,
        metavar="PYTHON",
        help="Python with tflite-runtime, to verify the bundle for 32-bit ARM (default: .venv-tflite/bin/python)",
    )
    parser.add_argument("--no-report", action="store_true", help="write no report.html and no plots")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train and write the bundle, and print a summary and how to use it."""
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
    """Options from preset and command line; an error names the flag."""
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
    """The given Python, or the one that `make test` creates in the checkout, if present."""
    if given is not None:
        if not given.is_file():
            raise UserError(
                "no such Python interpreter",
                location=str(given),
                remedy="name one in which tflite-runtime is installed",
            )
        return given
    usual = Path(".venv-tflite/bin/python")
    return usual if usual.is_file() else None


class _Bars:
    """Shows each stage as a progress bar with its loss and remaining time."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress

    def stage(self, name: str, total: int) -> Callable[[int, str], None]:
        """See `training.recipes.fit.Progress`."""
        task = self._progress.add_task(name, total=total, remark="")
        return lambda done, remark: self._progress.update(task, completed=done, remark=remark)
