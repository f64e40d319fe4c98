"""Plots of ``edgewatch replay``: an HTML page with playback, a PNG picture, or an animated GIF.

The agent finds this module by the entry point ``edgewatch.plots``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.errors import UserError
from training.optional_imports import importing

with importing("evaluation"):
    from matplotlib.animation import PillowWriter

    from training.reports.page.chart import BLUE, GREY, ORANGE, RED, SKY, Axis, Band, Chart, Dots, Line, Panel, Spans
    from training.reports.page.document import Moment, Player, Report, Section, html
    from training.reports.page.still import draw, figure
    from training.reports.page.thinning import thinned

if TYPE_CHECKING:
    from pathlib import Path

    from agent.cli.replay_plot import Replayed
    from agent.core.arrays import Float64Array
    from training.reports.page.chart import Mark

__all__ = ["plot"]

# Chosen by hand.
_MOST_PANELS = 12  # largest number of channels drawn
_FRAMES, _FRAMES_A_SECOND = 90, 12  # of an animation
_WINDOW = 0.2  # share of the replay that an animation shows at a time
_VALUE, _EXPECTED, _LOWER, _UPPER, _SCORE, _ANOMALOUS = range(6)


def plot(replayed: Replayed, path: Path) -> str:
    """Draw a replay to a file in the format of its suffix.

    Returns
    -------
    A line that says where the plot is.

    Raises
    ------
    UserError
        The suffix is not .html, .png or .gif, no row was replayed, or the file cannot be written.
    """
    ways = {".html": _page, ".png": _picture, ".gif": _animation}
    if path.suffix not in ways:
        raise UserError("unknown format of a plot", location=str(path), remedy="end its name in .html, .png or .gif")
    if not len(replayed.wall):
        raise UserError("nothing to draw: no row was replayed", location=str(path))
    shown = _most_unusual(replayed)
    try:
        ways[path.suffix](replayed, shown, path)
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror}", location=str(path), remedy="name a file in another folder"
        ) from error
    left_out = len(replayed.channels) - len(shown)
    return f"drawn to {path}" + (f", without the {left_out} channels with the lowest scores" if left_out else "")


def _most_unusual(replayed: Replayed) -> list[int]:
    """Indices of the channels with the highest scores, in increasing order."""
    with np.errstate(invalid="ignore"):
        highest = np.nan_to_num(replayed.said[:, _SCORE]).max(axis=0)
    return sorted(np.argsort(-highest, kind="stable")[:_MOST_PANELS].tolist())


def _page(replayed: Replayed, shown: list[int], path: Path) -> None:
    opened = sum(alert.phase == "open" for alert in replayed.alerts)
    chart = _chart(replayed, shown)
    moments = tuple(
        Moment(alert.ts, f"{alert.phase} · {alert.severity}", alert.summary)
        for alert in replayed.alerts
        if alert.phase != "update"
    )
    player = Player(chart, float(replayed.wall[0]), float(replayed.wall[-1]), moments)
    section = Section(
        "Readings and detections", "Play it back, or drag to zoom; a double click shows everything.", (player,)
    )
    rows, channels = len(replayed.wall), len(replayed.channels)
    summary = f"{rows:,} rows of {channels} channels, {opened} incidents, by {replayed.model}."
    path.write_text(html(Report(f"Replay of {replayed.title}", summary, (section,))), encoding="utf-8")


def _picture(replayed: Replayed, shown: list[int], path: Path) -> None:
    draw(_chart(replayed, shown), path)


def _animation(replayed: Replayed, shown: list[int], path: Path) -> None:
    begin, end = float(replayed.wall[0]), float(replayed.wall[-1])
    width = max(_WINDOW * (end - begin), replayed.interval_s)
    drawn = figure(_chart(replayed, shown))
    writer = PillowWriter(fps=_FRAMES_A_SECOND)
    with writer.saving(drawn, str(path), dpi=80):
        for now in np.linspace(begin + width, end, _FRAMES):
            for axes in drawn.axes:
                axes.set_xlim(*(np.array([now - width, now]) * 1e3).astype("datetime64[ms]"))
            writer.grab_frame()


def _chart(replayed: Replayed, shown: list[int]) -> Chart:
    panels = tuple(_panel(replayed, channel) for channel in shown)
    score = np.nan_to_num(replayed.said[:, _SCORE]).max(axis=1)
    kept = thinned(score)
    x = replayed.wall[kept]
    marks: tuple[Mark, ...] = (
        Line("score", x, score[kept].astype(np.float64), BLUE),
        Line("its limit", x[[0, -1]], np.full(2, replayed.threshold), RED, dashed=True),
    )
    panels += (Panel(Axis("time (UTC)", time=True), Axis("highest score", limits=(0.0, 1.02)), marks),)
    reading = "Readings are blue, the normal range is the band, anomalous readings are red, and incidents are shaded."
    return Chart("replay", replayed.title, reading, panels, stacked=True)


def _panel(replayed: Replayed, channel: int) -> Panel:
    said, wall, info = replayed.said[:, :, channel], replayed.wall, replayed.channels[channel]
    value = said[:, _VALUE]
    kept = thinned(value)
    hits = np.flatnonzero(said[:, _ANOMALOUS] > 0)
    hits = hits[thinned(value[hits])] if hits.size else hits
    x, exact = wall[kept], said[kept].astype(np.float64)
    marks: list[Mark] = []
    spans = _incidents(replayed, info.name)
    if spans.size:
        marks.append(Spans("incident", spans, ORANGE))
    marks += [
        Band("normal range", x, exact[:, _LOWER], exact[:, _UPPER], SKY),
        Line("expected", x, exact[:, _EXPECTED], GREY, dashed=True),
        Line("reading", x, exact[:, _VALUE], BLUE),
        Dots("anomalous", wall[hits], value[hits].astype(np.float64), RED),
    ]
    title = f"{info.name} ({info.unit})" if info.unit else info.name
    return Panel(Axis("time (UTC)", time=True), Axis(title), tuple(marks))


def _incidents(replayed: Replayed, channel: str) -> Float64Array:
    """Begin and end of the incidents with alerts on a channel, float64[n, 2], seconds since 1970."""
    last = float(replayed.wall[-1])
    found: dict[str, list[float]] = {}
    for alert in replayed.alerts:
        if any(part.channel == channel for part in alert.contributors):
            ends = found.setdefault(alert.incident, [alert.started, last])
            if alert.phase == "close":
                ends[1] = alert.ts
    return np.array(list(found.values()), np.float64).reshape(-1, 2)
