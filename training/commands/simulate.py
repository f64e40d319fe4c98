"""``python -m training simulate``: write a labelled stream for trying out detection."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.config.loader import load_as
from agent.core.errors import UserError
from agent.core.mismatch import Mismatch, explained
from training.commands.arguments import comma_separated
from training.optional_imports import importing

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]

_STREAM = "stream.csv"
# Option, field of `StreamSpec`, metavar, help.
_OPTIONS = (
    ("start", "start", "TIME", "first time stamp, UTC (default 2026-01-01)"),
    ("end", "end", "TIME", "end of the stream, exclusive (default 2026-01-15)"),
    ("interval", "interval_s", "S", "seconds between rows (default 60)"),
    ("channels", "channels", "N", "number of channels (default 5)"),
    ("seed", "seed", "N", "random seed; the same seed gives the same stream (default 1)"),
    ("season", "season", "A,B", "seasons: hourly, daily, weekly, or none (default daily,weekly)"),
    ("drift", "drift", "X", "drift of each channel from start to end, in its typical deviations (default 0)"),
    ("noise", "noise", "X", "noise of each channel, relative to the common signal (default 0.3)"),
    ("anomalies", "anomalies", "A,B", "kinds of anomalies to plant, or none (default: all kinds)"),
    ("count", "count", "N", "number of anomalies (default: one of each kind)"),
    ("rate", "rate_per_day", "X", "number of anomalies per day, instead of --count"),
    ("quiet-until", "quiet_until", "X", "share of the stream before the first anomaly (default 0.5)"),
)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("simulate", help="simulate a labelled stream")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PATH", help=f"NAME.csv, or a folder for {_STREAM}"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="these options as YAML; the command line takes precedence"
    )
    for option, field, metavar, text in _OPTIONS:
        read = _names if metavar == "A,B" else str
        parser.add_argument(f"--{option}", dest=field, type=read, metavar=metavar, help=text)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Simulate, write the stream and its labels, and print a summary."""
    with importing("evaluation"):
        from training.synthetic.labelled_streams import StreamSpec, simulate_stream, write  # noqa: PLC0415 - an extra

    config = load_as(StreamSpec, options.config) if options.config else StreamSpec()
    given = {field: getattr(options, field) for _, field, _, _ in _OPTIONS if getattr(options, field) is not None}
    values = {**msgspec.to_builtins(config), **given}
    try:
        config = msgspec.convert(values, StreamSpec, strict=False)
    except msgspec.ValidationError as error:
        raise _mistake(explained(error, values, StreamSpec, lax=True)) from error
    stream = simulate_stream(config)
    path = options.output if options.output.suffix == ".csv" else options.output / _STREAM
    labels = write(stream, path)
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(a.kind for a in stream.anomalies).items())
    print(f"{path}: {len(stream.time):,} rows of {len(stream.channels)} channels every {config.interval_s:g} s")
    print(f"{labels}: {len(stream.anomalies)} anomalies" + (f" ({kinds})" if kinds else ""))


def _names(text: str) -> tuple[str, ...]:
    return () if text == "none" else comma_separated(text)


def _mistake(found: Mismatch) -> UserError:
    """Error that names the option of an invalid value."""
    field = found.path.lstrip(".").partition("[")[0]
    option = next((option for option, name, _, _ in _OPTIONS if name == field), "")
    location = f"--{option}" if option else "simulate"
    return UserError(found.problem, location=location, remedy="see python -m training simulate --help")
