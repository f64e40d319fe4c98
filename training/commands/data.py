"""What commands that read data have in common on the command line."""

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
    """Put the options that say what to read, and how, on the command line."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help="files or folders to read")
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Put the options that say how to read on the command line."""
    parser.add_argument("--labels", type=Path, metavar="FILE", help="what is truly wrong, as intervals")
    parser.add_argument("--label-column", metavar="NAME", help="column with 1 where something is truly wrong")
    parser.add_argument("--format", metavar="NAME", help="of the data, where the path does not tell")
    parser.add_argument("--interval", type=positive, metavar="S", help="sampling interval (default: the data's)")
    parser.add_argument("--channels", type=comma_separated, default=(), metavar="A,B*", help="columns to use")
    parser.add_argument("--rows", type=natural, metavar="N", help="read at most so many rows of each file")


def recordings(options: argparse.Namespace) -> Iterator[Recording]:
    """Read what the command line names, one recording at a time."""
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
