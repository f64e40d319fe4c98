"""Command-line options of the commands that read data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from training.commands.arguments import comma_separated, natural, positive

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from training.data.recording import Recording

__all__ = ["add_data", "add_reading", "recordings"]


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and the options for reading."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help="files or folders to read")
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options for reading: labels, format, interval, channels, rows."""
    parser.add_argument("--labels", type=Path, metavar="FILE", help="intervals of true anomalies")
    parser.add_argument("--label-column", metavar="NAME", help="column of labels, 1 where anomalous")
    parser.add_argument("--format", metavar="NAME", help="format of the data (default: detected from the path)")
    parser.add_argument(
        "--interval", type=positive, metavar="S", help="sampling interval in seconds (default: that of the data)"
    )
    parser.add_argument(
        "--channels", type=comma_separated, default=(), metavar="A,B*", help="channels to use (default: all)"
    )
    parser.add_argument("--rows", type=natural, metavar="N", help="read at most N rows of each file")


def recordings(options: argparse.Namespace) -> Iterator[Recording]:
    """Read the data named on the command line, one recording at a time."""
    from training.data.readers.options import ReadOptions  # noqa: PLC0415 - an extra
    from training.data.readers.registry import read  # noqa: PLC0415 - the same

    wanted = ReadOptions(
        format=options.format,
        interval_s=options.interval,
        channels=options.channels,
        labels=options.labels,
        label_column=options.label_column,
        rows=options.rows,
    )
    yield from read(options.data, wanted)
