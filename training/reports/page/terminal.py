"""Prints tables to a terminal or a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from training.reports.page.table import cell

if TYPE_CHECKING:
    from training.reports.page.table import Table

__all__ = ["COLUMNS", "console", "show"]

#: Columns of a progress bar: name, bar, steps done, remaining time.
COLUMNS = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

_PIPE_WIDTH = 200  # characters; the default of rich is 80


def console() -> Console:
    """Console on standard output, 200 characters wide in a pipe; names are never interpreted as markup."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def show(table: Table, title: str, out: Console) -> None:
    """Print a table; all columns but the first are right-aligned."""
    shown = RichTable(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for position, name in enumerate(table.header):
        shown.add_column(name, justify="right" if position else "left")
    for row in table.rows:
        shown.add_row(*(cell(value) for value in row))
    out.print(shown)
    if table.caption:
        out.print(table.caption, style="dim")
