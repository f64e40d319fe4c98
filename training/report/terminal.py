"""Prints tables for a person at a terminal, or plainly into a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from training.report.table import cell

if TYPE_CHECKING:
    from training.report.table import Table

__all__ = ["COLUMNS", "console", "show"]

#: Of a progress bar: what is done, how much of it, and how long it will still take.
COLUMNS = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

_PIPE_WIDTH = 200  # rich would cut to 80


def console() -> Console:
    """Make a console on standard output, wide where nobody looks."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def show(table: Table, title: str, out: Console) -> None:
    """Print a table; numbers to the right."""
    shown = RichTable(box=box.SIMPLE_HEAD, title=escape(title), title_justify="left")
    for position, name in enumerate(table.header):
        shown.add_column(escape(name), justify="right" if position else "left")
    for row in table.rows:
        shown.add_row(*(escape(cell(value)) for value in row))
    out.print(shown)
    if table.caption:
        out.print(escape(table.caption), style="dim")
