"""What is kept of a replay to be drawn, and who draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agent.core.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.arrays import Float32Array, Float64Array
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.detection.verdict import Verdict
    from agent.messages.alert import Alert

__all__ = ["Replayed", "Tape", "plotter"]

_GROUP = "edgewatch.plots"


class Replayed(NamedTuple):
    """A replay, to be drawn.

    Parameters
    ----------
    title
        The file's name.
    channels, interval_s, model
        What was replayed, at which pace, by which bundles.
    wall
        float64[rows], seconds since 1970.
    said
        float32[rows, 6, n_channels]: value, expected, lower and upper end of the normal range, score, anomalous.
    threshold
        Of the score.
    alerts
        In their order.
    """

    title: str
    channels: tuple[Channel, ...]
    interval_s: float
    model: str
    wall: Float64Array
    said: Float32Array
    threshold: float
    alerts: list[Alert]


class Tape:
    """Keeps what is to be drawn."""

    def __init__(self) -> None:
        self._wall: list[float] = []
        self._said: list[Float32Array] = []
        self._alerts: list[Alert] = []
        self._threshold = 1.0

    def add(self, frame: Frame, verdict: Verdict, alerts: list[Alert]) -> None:
        """Keep a step."""
        self._wall.append(frame.wall)
        rows = (verdict.value, *verdict.bounds(), verdict.score(), verdict.anomalous)
        self._said.append(np.array(rows, np.float32))
        self._alerts += alerts
        self._threshold = verdict.threshold

    def replayed(self, title: str, channels: tuple[Channel, ...], interval_s: float, model: str) -> Replayed:
        """All of it."""
        said = np.stack(self._said) if self._said else np.empty((0, 6, len(channels)), np.float32)
        return Replayed(title, channels, interval_s, model, np.array(self._wall), said, self._threshold, self._alerts)


def plotter() -> Callable[[Replayed, Path], str]:
    """Who draws: another part of the distribution, with libraries that no device needs.

    Raises
    ------
    EnvironmentFault
        It is not installed.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - it brings along much that nobody else needs

    for entry in entry_points(group=_GROUP, name="replay"):
        found: Callable[[Replayed, Path], str] = entry.load()
        return found
    raise EnvironmentFault(
        "what draws is not installed", location="--plot", remedy="pip install 'edgewatch[evaluation]'"
    )
