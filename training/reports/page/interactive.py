"""Draws zoomable charts for a browser, with plotly."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from training.reports.page.chart import Band, Cells, Dots, Line, Rule, Spans

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array, Float64Array
    from training.reports.page.chart import Axis, Chart, Panel

__all__ = ["figures"]

_PANEL_PX = 320
_STACKED_PX = 190
_MARGIN_PX = 110
_LEGEND = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"}
_GRID = "#E6E6E6"


def figures(chart: Chart) -> list[go.Figure]:
    """Draw a chart: one figure if its panels are stacked, otherwise one per panel."""
    if not chart.stacked:
        return [_figure((panel,), _PANEL_PX) for panel in chart.panels]
    return [_figure(chart.panels, _STACKED_PX)]


def _figure(panels: tuple[Panel, ...], height: int) -> go.Figure:
    n = len(panels)
    figure = make_subplots(rows=n, cols=1, shared_xaxes=True, vertical_spacing=0.12 / n)
    named: set[str] = set()
    for row, panel in enumerate(panels, 1):
        _Plot(figure, row, panel, named).draw()
        figure.update_xaxes(_axis(panel.x, titled=row == n), row=row, col=1)
        figure.update_yaxes(_axis(panel.y, titled=True), row=row, col=1)
    figure.update_layout(
        template="none",
        height=height * n + _MARGIN_PX,
        margin={"l": 60, "r": 12, "t": 30, "b": 80},
        legend=_LEGEND,
        font={"family": "system-ui, sans-serif", "size": 12},
        hovermode="x" if n > 1 else "closest",
    )
    return figure


def _axis(axis: Axis, *, titled: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "title": {"text": escape(axis.title) if titled else "", "standoff": 6},
        "type": "log" if axis.log else "date" if axis.time else None,
        "gridcolor": _GRID,
        "zeroline": False,
        "automargin": True,
        "exponentformat": "power",
    }
    if axis.limits:
        settings["range"] = list(axis.limits)
    return settings


class _Plot:
    """One panel of a figure; ``named`` holds the names already in the legend."""

    def __init__(self, figure: go.Figure, row: int, panel: Panel, named: set[str]) -> None:
        self._figure = figure
        self._position = {"row": row, "col": 1}
        self._panel = panel
        self._named = named

    def draw(self) -> None:
        for mark in self._panel.marks:
            match mark:
                case Line():
                    self._line(mark)
                case Band():
                    self._band(mark)
                case Dots():
                    self._points(
                        mark.name, x=self._x(mark.x), y=_short(mark.y), marker={"color": mark.colour, "size": 6}
                    )
                case Spans():
                    self._spans(mark)
                case Rule():
                    self._rule(mark)
                case Cells():
                    self._cells(mark)

    def _line(self, mark: Line) -> None:
        line = {"color": mark.colour, "width": 1.5, "dash": "dash" if mark.dashed else "solid"}
        if mark.steps:
            line["shape"] = "hv"
        fill = {"fill": "tozeroy", "fillcolor": _faint(mark.colour)} if mark.filled else {}
        self._scatter(mark.name, x=self._x(mark.x), y=_short(mark.y), mode="lines", line=line, **fill)

    def _band(self, mark: Band) -> None:
        edge = {"x": self._x(mark.x), "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        self._figure.add_trace(go.Scatter(y=_short(mark.lower), showlegend=False, **edge), **self._position)
        self._scatter(mark.name, y=_short(mark.upper), fill="tonexty", fillcolor=_faint(mark.colour), **edge)

    def _spans(self, mark: Spans) -> None:
        line = {"color": mark.colour, "width": 1}
        for begin, end in self._x(mark.ends):
            shape = {"x0": begin, "x1": end, "fillcolor": mark.colour, "line": line, "opacity": 0.3, "layer": "below"}
            self._figure.add_vrect(exclude_empty_subplots=False, **shape, **self._position)
        # A shape has no entry in the legend.
        square = {"color": mark.colour, "symbol": "square", "size": 10, "opacity": 0.4}
        self._points(mark.name, x=[None], y=[None], marker=square)

    def _rule(self, mark: Rule) -> None:
        line = {"color": mark.colour, "width": 1.5, "dash": "dot"}
        self._figure.add_vline(x=mark.x, line=line, exclude_empty_subplots=False, **self._position)
        # On a logarithmic axis, annotations, unlike lines, are positioned by the logarithm.
        x = math.log10(mark.x) if self._panel.x.log else mark.x
        label = {"text": escape(mark.name), "font": {"color": mark.colour}, "showarrow": False}
        corner = {"x": x, "y": 1, "yref": "y domain", "xanchor": "left", "yanchor": "top"}
        self._figure.add_annotation(**label, **corner, **self._position)

    def _cells(self, mark: Cells) -> None:
        names = {"x": [escape(name) for name in mark.columns], "y": [escape(name) for name in mark.rows]}
        shades = {"zmin": 0, "zmax": 1, "colorscale": [[0, "#FFFFFF"], [1, "#0072B2"]], "showscale": False}
        text = {"text": mark.text, "texttemplate": "%{text}", "hoverinfo": "skip"}
        self._figure.add_trace(go.Heatmap(z=mark.share, **names, **shades, **text), **self._position)
        self._figure.update_yaxes(autorange="reversed", **self._position)

    def _points(self, name: str, **settings: Any) -> None:
        self._scatter(name, mode="markers", **settings)

    def _scatter(self, name: str, **settings: Any) -> None:
        text = escape(name)
        new = name not in self._named
        self._named.add(name)
        self._figure.add_trace(go.Scatter(name=text, legendgroup=text, showlegend=new, **settings), **self._position)

    def _x(self, x: Float64Array) -> Any:
        """Values of the x axis; dates as milliseconds since 1970, which are shorter than texts."""
        return x * 1e3 if self._panel.x.time else x


def _short(values: Float64Array) -> Float32Array:
    """As float32: half the size, and precise enough for a screen."""
    return values.astype(np.float32)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.3)"
