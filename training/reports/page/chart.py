"""Charts as plain data; `still` draws them as pictures and `interactive` for a browser.

The colours are those of Okabe and Ito (2008), which people with colour vision deficiency can distinguish.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "RED",
    "SKY",
    "Axis",
    "Band",
    "Cells",
    "Chart",
    "Dots",
    "Line",
    "Mark",
    "Panel",
    "Rule",
    "Spans",
]

BLUE, RED, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#222222", "#8A8A8A"
PALETTE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)


@dataclass(frozen=True)
class Axis:
    """An axis: title with unit; ``time`` for values in seconds since 1970; ``limits`` in units of the values."""

    title: str
    log: bool = False
    time: bool = False
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A line through points, float64[n] each; NaN interrupts it. ``steps`` draws each value until the next."""

    name: str
    x: Float64Array
    y: Float64Array
    colour: str
    dashed: bool = False
    steps: bool = False
    filled: bool = False


@dataclass(frozen=True)
class Band:
    """The area between two lines, float64[n] each."""

    name: str
    x: Float64Array
    lower: Float64Array
    upper: Float64Array
    colour: str


@dataclass(frozen=True)
class Dots:
    """Single points, float64[n] each."""

    name: str
    x: Float64Array
    y: Float64Array
    colour: str


@dataclass(frozen=True)
class Spans:
    """Shaded intervals of the x axis over the full height, float64[n, 2]."""

    name: str
    ends: Float64Array
    colour: str


@dataclass(frozen=True)
class Rule:
    """A vertical line at one x."""

    name: str
    x: float
    colour: str


@dataclass(frozen=True)
class Cells:
    """A table of numbers, coloured by ``share``, float64[rows, columns], 0 to 1; the first row is on top."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    share: Float64Array
    text: tuple[tuple[str, ...], ...]


Mark: TypeAlias = Line | Band | Dots | Spans | Rule | Cells


@dataclass(frozen=True)
class Panel:
    """One pair of axes with its marks in order of drawing."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    title: str = ""


@dataclass(frozen=True)
class Chart:
    """A titled chart of one or more panels.

    Parameters
    ----------
    name
        Short name in lower case, also of the picture file.
    title
        Title.
    reading
        Sentence that explains how to read the chart.
    panels
        Panels in order.
    stacked
        Whether panels are stacked with a common x axis; otherwise they are side by side if the page is wide enough.
    """

    name: str
    title: str
    reading: str
    panels: tuple[Panel, ...]
    stacked: bool = field(default=False, kw_only=True)
