"""Tables, and the format of their cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["Table", "cell"]


@dataclass(frozen=True)
class Table:
    """A table; numbers are formatted only on output.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        The first cell of each names the row.
    caption
        Sentence below the table; may be empty.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""


def cell(value: Any) -> str:
    """Format the value of a cell.

    Examples
    --------
    >>> [cell(value) for value in (None, 12345, 12345.6, 0.123456, 3.0, True, "x")]
    ['–', '12,345', '12,346', '0.123', '3', 'yes', 'x']
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _number(value)
    return "–" if value is None else str(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1 else f"{value:.3g}"
