"""Records a replay for plotting, and loads the plotter."""

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

# Group of the entry points that provide plotters.
_GROUP = "edgewatch.plots"


class Replayed(NamedTuple):
    """Data of a replay for plotting.

    Parameters
    ----------
    title
        Name of the replayed file.
    channels, interval_s, model
        Channels, sampling interval in seconds, and label of the bundles.
    wall
        float64[rows], seconds since 1970.
    said
        float32[rows, 6, n_channels]: value, expected, lower and upper end of the normal range, score, anomalous.
    threshold
        Score from which a channel is anomalous.
    alerts
        Alerts in order of time.
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
    """Collects the ticks of a replay for plotting."""

    def __init__(self) -> None:
        self._wall: list[float] = []
        self._rows: list[Float32Array] = []
        self._alerts: list[Alert] = []
        self._threshold = 1.0

    def add(self, frame: Frame, verdict: Verdict, alerts: list[Alert]) -> None:
        """Record a tick."""
        self._wall.append(frame.wall)
        rows = (verdict.value, *verdict.bounds(), verdict.score(), verdict.anomalous)
        self._rows.append(np.array(rows, np.float32))
        self._alerts += alerts
        self._threshold = verdict.threshold

    def replayed(self, title: str, channels: tuple[Channel, ...], interval_s: float, model: str) -> Replayed:
        """Return the recorded ticks."""
        said = np.stack(self._rows) if self._rows else np.empty((0, 6, len(channels)), np.float32)
        return Replayed(title, channels, interval_s, model, np.array(self._wall), said, self._threshold, self._alerts)


def plotter() -> Callable[[Replayed, Path], str]:
    """Load the plotter, which is in an extra, because its libraries are not needed on a device.

    Returns
    -------
    callable
        Draws a replay into a file, and returns a line of text for the summary.

    Raises
    ------
    EnvironmentFault
        The extra is not installed.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - imports the e-mail parser

    for entry in entry_points(group=_GROUP, name="replay"):
        found: Callable[[Replayed, Path], str] = entry.load()
        return found
    raise EnvironmentFault(
        "the plotting libraries are not installed", location="--plot", remedy="pip install 'edgewatch[evaluation]'"
    )
