"""``python -m training inspect``: what data, or a bundle, holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import bundle as agent_bundle
from agent.errors import EnvironmentFault, UserError
from training.commands.arguments import comma_separated, natural, positive

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]


def add(commands: Any) -> None:
    """Put the command on the command line."""
    parser = commands.add_parser("inspect", help="show what a reader sees in data, or what a bundle is")
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files or folders to read, or one bundle")
    parser.add_argument("--format", metavar="NAME", help="of the data, where the path does not tell")
    parser.add_argument("--interval", type=positive, metavar="S", help="sampling interval (default: the data's)")
    parser.add_argument("--channels", type=comma_separated, default=(), metavar="A,B*", help="columns to read")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="what is truly wrong, as intervals")
    parser.add_argument("--label-column", metavar="NAME", help="column with 1 where something is truly wrong")
    parser.add_argument("--rows", type=natural, metavar="N", help="read at most so many rows of each file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Read and show."""
    try:
        from training import overview  # noqa: PLC0415 - an extra
        from training.readers import ReadOptions, read  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise EnvironmentFault(
            f"{error.name} is not installed", remedy="pip install 'edgewatch[evaluation]'"
        ) from error

    bundles = [path for path in options.paths if (path / "manifest.json").is_file()]
    if bundles:
        if len(options.paths) > 1:
            raise UserError("a bundle is shown alone", place=str(bundles[0]), remedy="name nothing beside it")
        overview.show_bundle(agent_bundle.load(bundles[0]))
        return
    wanted = ReadOptions(
        format=options.format,
        interval_s=options.interval,
        channels=options.channels,
        labels=options.labels,
        label_column=options.label_column,
        rows=options.rows,
    )
    overview.show_recordings(read(options.paths, wanted))
