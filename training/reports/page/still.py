"""Draws charts as PNG pictures with matplotlib, without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from training.reports.page.chart import Band, Cells, Dots, Line, Rule, Spans

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.arrays import Float64Array
    from training.reports.page.chart import Axis, Chart, Panel

__all__ = ["draw", "figure"]

_WIDTH_IN = 10.0
_PANEL_IN = 3.6
_STACKED_IN = 2.0
_SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#0072B2"])
_STYLE = {
    "text.parse_math": False,  # a channel may be called $x
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "font.size": 9,
    "lines.linewidth": 1.2,
}


def draw(chart: Chart, path: Path) -> None:
    """Write a chart as a PNG picture."""
    with mpl.rc_context(_STYLE):
        figure(chart).savefig(path, format="png")


def figure(chart: Chart) -> Figure:
    """Draw a chart as a matplotlib figure."""
    n = len(chart.panels)
    columns = 1 if chart.stacked or n == 1 else 2
    rows = -(-n // columns)
    height = _STACKED_IN if chart.stacked else _PANEL_IN
    with mpl.rc_context(_STYLE):
        drawn = Figure((_WIDTH_IN, height * rows + 0.8), dpi=100, layout="constrained")
        drawn.suptitle(chart.title)
        grid = drawn.subplots(rows, columns, squeeze=False, sharex=chart.stacked).ravel()
        named: set[str] = set()
        for axes, panel in zip(grid, chart.panels, strict=False):
            _panel(axes, panel, named if chart.stacked else set())
        for axes in grid[n:]:
            axes.remove()
        if chart.stacked:
            for axes in grid[: n - 1]:
                axes.set_xlabel("")
    return drawn


def _panel(axes: Any, panel: Panel, named: set[str]) -> None:
    """Draw a panel; its legend omits the names in ``named``, those of the panels above."""
    _Plot(axes, panel).draw()
    axes.set_title(panel.title)
    _label(axes.set_xlabel, axes.set_xscale, axes.set_xlim, panel.x)
    _label(axes.set_ylabel, axes.set_yscale, axes.set_ylim, panel.y)
    if panel.x.time:
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    new = {name: handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True) if name not in named}
    named |= set(new)
    if new:
        axes.legend(new.values(), new.keys(), loc="upper right", fontsize=8)


def _label(set_label: Any, set_scale: Any, set_limits: Any, axis: Axis) -> None:
    set_label(axis.title)
    if axis.log:
        set_scale("log")
    if axis.limits:
        set_limits(axis.limits)


class _Plot:
    """Draws the marks of a panel."""

    def __init__(self, axes: Any, panel: Panel) -> None:
        self._axes = axes
        self._panel = panel

    def draw(self) -> None:
        for mark in self._panel.marks:
            match mark:
                case Line():
                    self._line(mark)
                case Band():
                    self._band(mark)
                case Dots():
                    self._axes.plot(self._x(mark.x), mark.y, "o", ms=3.5, color=mark.colour, label=mark.name)
                case Spans():
                    self._spans(mark)
                case Rule():
                    self._axes.axvline(mark.x, color=mark.colour, ls=":", label=mark.name)
                case Cells():
                    self._cells(mark)

    def _line(self, mark: Line) -> None:
        x = self._x(mark.x)
        style = {"drawstyle": "steps-post" if mark.steps else "default", "ls": "--" if mark.dashed else "-"}
        self._axes.plot(x, mark.y, color=mark.colour, label=mark.name, **style)
        if mark.filled:
            self._axes.fill_between(x, mark.y, color=mark.colour, alpha=0.3, step="post" if mark.steps else None)

    def _band(self, mark: Band) -> None:
        shade = {"color": mark.colour, "alpha": 0.3, "lw": 0}
        self._axes.fill_between(self._x(mark.x), mark.lower, mark.upper, label=mark.name, **shade)

    def _spans(self, mark: Spans) -> None:
        label: str | None = mark.name
        for begin, end in self._x(mark.ends):
            self._axes.axvspan(begin, end, color=mark.colour, alpha=0.3, lw=1, label=label)
            label = None

    def _cells(self, mark: Cells) -> None:
        self._axes.grid(visible=False)
        self._axes.imshow(mark.share, cmap=_SHADES, vmin=0.0, vmax=1.0, aspect="auto")
        self._axes.set_xticks(range(len(mark.columns)), mark.columns)
        self._axes.set_yticks(range(len(mark.rows)), mark.rows)
        for (row, column), share in np.ndenumerate(mark.share):
            colour = "white" if share > 0.6 else "black"
            self._axes.text(column, row, mark.text[row][column], ha="center", va="center", color=colour)

    def _x(self, x: Float64Array) -> Any:
        """Values of the x axis, as dates if they are seconds since 1970."""
        return (x * 1e3).astype("datetime64[ms]") if self._panel.x.time else x
