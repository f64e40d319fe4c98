"""``python -m training simulate``: labelled streams to try detection on."""

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
# Option, field of the stream's configuration, metavar, help.
_OPTIONS = (
    ("start", "start", "TIME", "first time stamp, UTC (default 2026-01-01)"),
    ("end", "end", "TIME", "the stream stops before it (default 2026-01-15)"),
    ("interval", "interval_s", "S", "seconds between rows (default 60)"),
    ("channels", "channels", "N", "how many (default 5)"),
    ("seed", "seed", "N", "same seed, same bytes (default 1)"),
    ("season", "season", "A,B", "of hourly, daily, weekly, or none (default daily,weekly)"),
    ("drift", "drift", "X", "of each channel over the whole time, in its typical deviations (default 0)"),
    ("noise", "noise", "X", "of each channel alone, relative to what all share (default 0.3)"),
    ("anomalies", "anomalies", "A,B", "kinds to plant in turn, or none (default: all kinds)"),
    ("count", "count", "N", "how many anomalies (default: one of each kind)"),
    ("rate", "rate_per_day", "X", "how many a day, instead"),
    ("quiet-until", "quiet_until", "X", "share of the stream before the first anomaly (default 0.5)"),
)


def add(commands: Any) -> None:
    """Put the command on the command line."""
    parser = commands.add_parser("simulate", help="write a labelled stream, from a seed")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PATH", help=f"NAME.csv, or a folder for {_STREAM}"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="these options in YAML; the command line wins")
    for option, field, metavar, text in _OPTIONS:
        read = _names if metavar == "A,B" else str
        parser.add_argument(f"--{option}", dest=field, type=read, metavar=metavar, help=text)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Simulate, write, and say what was planted."""
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
    """Say which option is wrong."""
    field = found.path.lstrip(".").partition("[")[0]
    option = next((option for option, name, _, _ in _OPTIONS if name == field), "")
    place = f"--{option}" if option else "simulate"
    return UserError(found.problem, location=place, remedy="see python -m training simulate --help")
