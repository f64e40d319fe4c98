"""``python -m training inspect``: show the content of data or of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.errors import UserError
from agent.models import loader as agent_bundle
from training.commands.data import add_reading, recordings
from training.optional_imports import importing

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("inspect", help="show the content of data or of a bundle")
    parser.add_argument("data", type=Path, nargs="+", metavar="PATH", help="files or folders to read, or one bundle")
    add_reading(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Read and print."""
    with importing("evaluation"):
        from training.reports import overview  # noqa: PLC0415 - an extra

    bundles = [path for path in options.data if (path / "manifest.json").is_file()]
    if bundles:
        if len(options.data) > 1:
            raise UserError(
                "a bundle cannot be shown with other paths", location=str(bundles[0]), remedy="name only this path"
            )
        overview.show_bundle(agent_bundle.load(bundles[0]))
        return
    overview.show_recordings(recordings(options))
