"""Server side of the charts: sends data to `plot.js`, which draws, zooms and pans in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from nicegui.element import Element
from nicegui.elements.echart import EChart

from agent.core.text import quantity, range_text
from agent.detection.verdict import SCORE_THRESHOLD
from tools.dashboard.fleet import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.core.arrays import Float32Array
    from tools.dashboard.fleet import Node

__all__ = ["Plot", "strength_of"]

# The import registers the ECharts library that `plot.js` uses.
_ = EChart


class Plot(Element, component="plot.js"):
    """A column of charts, one for each shown channel.

    Parameters
    ----------
    on_hold
        Called when the visitor zooms or pans and the charts stop following the newest readings.
    """

    def __init__(self, on_hold: Callable[[], object]) -> None:
        super().__init__()
        self._shown: tuple[str, ...] = ()
        # Wall time of the newest reading sent to the browser.
        self._until = -np.inf
        self._spans: dict[str, list[tuple[float, float | None]]] = {}
        self.on("hold", on_hold)

    def refresh(self, node: Node, shown: Sequence[str]) -> None:
        """Send new readings, texts and incidents of the shown channels to the browser."""
        if tuple(shown) != self._shown or node.course.newest < self._until:
            self._shown, self._until, self._spans = tuple(shown), -np.inf, {}
            columns = self._columns(node)
            metrics = node.metrics.channels if node.metrics else {}
            units = [{"name": name, "unit": metrics[name].unit if name in metrics else ""} for name in shown]
            self.run_method("show", units, columns)
            self.run_method("add", {}, self._texts(node))
        elif node.course.newest > self._until:
            self.run_method("add", self._columns(node), self._texts(node))
        self._until = node.course.newest
        spans = self._incidents(node)
        if spans != self._spans:
            self._spans = spans
            self.run_method("shade", spans)

    def follow(self, range_s: float) -> None:
        """Follow the newest readings, with the last ``range_s`` seconds visible."""
        self.run_method("follow", range_s)

    def hold(self) -> None:
        """Freeze the charts; new readings are still collected."""
        self.run_method("hold", None)

    def zoom(self, factor: float) -> None:
        """Multiply the visible time range by ``factor``."""
        self.run_method("zoom", factor)

    def pan(self, part: float) -> None:
        """Move by a part of the visible range; negative is towards the past."""
        self.run_method("pan", part)

    def _columns(self, node: Node) -> dict[str, Any]:
        columns = {}
        for name in self._shown:
            times, rows = node.course.of(name, after=self._until)
            course = dict(zip(FIELDS, np.ascontiguousarray(rows), strict=True))
            course["strength"] = strength_of(course.pop("score"))
            columns[name] = {"time": times.round(3), **course}
        return columns

    def _texts(self, node: Node) -> dict[str, Any]:
        metrics = node.metrics.channels if node.metrics else {}
        return {
            name: {
                "value": quantity(metric.value, metric.unit),
                "expected": range_text(metric.lower, metric.upper, metric.unit),
                "anomalous": metric.anomalous,
            }
            for name in self._shown
            if (metric := metrics.get(name))
        }

    def _incidents(self, node: Node) -> dict[str, list[tuple[float, float | None]]]:
        spans: dict[str, list[tuple[float, float | None]]] = {name: [] for name in self._shown}
        for incident in node.incidents.values():
            for contributor in incident.newest.contributors:
                if contributor.channel in spans:
                    spans[contributor.channel].append((incident.opened, incident.closed))
        return spans


def strength_of(score: Float32Array) -> Float32Array:
    """Error relative to its limit, from a score; the inverse of `agent.detection.verdict.bounded_score`.

    Examples
    --------
    >>> strength_of(np.array([0.0, 0.4374, 0.995, 1.0], np.float32)).astype(float).round(2).tolist()
    [0.0, 0.25, 1.0, 31.66]
    """
    odds = SCORE_THRESHOLD / (1.0 - SCORE_THRESHOLD)
    rest = np.maximum(1.0 - score.astype(np.float64), 5e-9)
    strength: Float32Array = ((score / rest / odds) ** 0.25).astype(np.float32)
    return strength
