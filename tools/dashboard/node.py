"""The page of one node: the course of its channels, and its incidents with what can be done about them."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING, Any

from nicegui import ui

from agent.core.text import plain, quantity, range_text
from agent.messages.command import Acknowledge, Silence
from tools.dashboard.plot import Plot
from tools.dashboard.shell import LIVE_S, Chip, ago, frame, lasting, repeatedly, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.messages.alert import Contributor
    from agent.messages.command import Command
    from tools.dashboard.fleet import Incident, Node
    from tools.dashboard.hub import Hub

__all__ = ["page"]

_FIRST_SHOWN = 6
_INCIDENTS_SHOWN = 30
_RANGES_S = {60: "1 min", 300: "5 min", 900: "15 min", 1800: "30 min"}
_SILENCES_S = {600: "10 minutes", 3600: "1 hour", 8 * 3600: "8 hours", 86_400: "1 day"}
_KINDS = {
    "spike": "spike",
    "drop": "drop",
    "level_shift": "shift of the level",
    "variance_change": "change of the variance",
    "flat_line": "flat line",
    "pattern_break": "break of the pattern",
}
_NO_METRICS = (
    "This node publishes no metrics, so there is nothing to draw; its state and its alerts are shown all the same. "
    "In its configuration, mqtt: {metrics_interval_s: 1} publishes them."
)
_HELP = "Drag to pan, Ctrl and wheel or pinch to zoom; on a focused chart + − ← → do the same."
_UNKNOWN = "This node has not been heard since the dashboard began to listen; the page fills as soon as it is."


def page(hub: Hub, name: str) -> None:
    """Build the page for one visitor."""
    title = plain(name, 100)
    with frame(hub, title):
        header = _Header(title)
        unknown = ui.label(_UNKNOWN).classes("ew-dim")
        with ui.element("div").classes("ew-node"):
            with ui.column().classes("ew-side"):
                charts = _Charts()
            with ui.column().classes("ew-side ew-incidents"):
                incidents = _Incidents(lambda command: _order(hub, name, command))

    def refresh() -> None:
        node = hub.fleet.nodes.get(name)
        unknown.set_visibility(node is None)
        if node is not None:
            header.refresh(node)
            charts.refresh(node)
            incidents.refresh(node)

    repeatedly(refresh)


async def _order(hub: Hub, name: str, command: Command) -> None:
    """Send a command and tell the visitor what became of it."""
    answer = await hub.order(name, command)
    if answer is None:
        ui.notify("No answer from the node: it may be away, or may not take commands from here", type="warning")
    elif answer.ok:
        ui.notify(plain(answer.detail) or "Done", type="positive")
    else:
        ui.notify(f"Refused: {plain(answer.error)}", type="negative")


class _Header:
    """How the node is."""

    def __init__(self, title: str) -> None:
        with ui.row().classes("ew-bar"):
            ui.label(title).props("role=heading aria-level=1").classes("ew-name text-lg")
            self._chip = Chip()
            self._chip.element.props("role=status")
            self._learning = ui.label().classes("ew-dim")
            self._score = ui.label().classes("ew-dim ew-numbers")
            self._agent = ui.label().classes("ew-dim")

    def refresh(self, node: Node) -> None:
        self._chip.refresh(node.standing)
        learning = node.progress < 1.0 and node.standing in {"learning", "normal", "anomalous"}
        say(self._learning, f"{node.progress:.0%} learned" if learning else "")
        state, health = node.state, node.health
        words = [] if state is None else [f"score {node.metrics.score if node.metrics else state.score:.3f}"]
        if state is not None and state.silenced:
            words.append(f"{state.silenced} channels silenced")
        if node.silent_s > LIVE_S:
            words.append(f"heard {ago(node.silent_s)} ago")
        say(self._score, " · ".join(words))
        if health is not None:
            say(
                self._agent,
                f"agent {plain(health.version, 20)} · up {ago(health.uptime_s)} · step {health.step_ms_p50:.1f} ms · "
                f"{health.rss_mib:.0f} MiB · {health.suppressed} held back",
            )


class _Charts:
    """Which channels are drawn, and of what time."""

    _plot: Plot

    def __init__(self) -> None:
        with ui.row().classes("ew-bar"):
            self._range = ui.toggle(_RANGES_S, value=300, on_change=self._follow).props(
                'dense no-caps unelevated role=group aria-label="Time range"'
            )
            self._pause = ui.button("Pause", icon="pause", on_click=self._turn).props("dense flat no-caps")
            for icon, words, does in (
                ("chevron_left", "Earlier", lambda: self._plot.pan(-0.5)),
                ("chevron_right", "Later", lambda: self._plot.pan(0.5)),
                ("zoom_in", "Zoom in", lambda: self._plot.zoom(0.5)),
                ("zoom_out", "Zoom out", lambda: self._plot.zoom(2.0)),
            ):
                with ui.button(icon=icon, on_click=does).props(f'dense flat round aria-label="{words}"'):
                    ui.tooltip(words)
        self._choice = (
            ui.select([], multiple=True, with_input=True, label="Channels (those that stand out, unless chosen)")
            .props("dense outlined use-chips clearable")
            .classes("w-full")
        )
        self._empty = ui.label(_NO_METRICS).classes("ew-dim")
        self._plot = Plot(self._held)
        ui.label(_HELP).classes("ew-dim")
        self._live = True
        # Channels that stood out when they were first drawn, or since: they stay where they are.
        self._outstanding: list[str] = []
        # Those of incidents that are open, as of the last time.
        self._concerned: list[str] = []

    def refresh(self, node: Node) -> None:
        names = sorted(node.course.places)
        if names != self._choice.options:
            self._choice.set_options(names)
        self._empty.set_visibility(not names)
        self._plot.refresh(node, self._choice.value or self._standing_out(node))

    def _standing_out(self, node: Node) -> list[str]:
        places = node.course.places
        concerned = [c.channel for incident in node.open for c in incident.newest.contributors if c.channel in places]
        fresh = [name for name in dict.fromkeys(concerned) if name not in self._concerned]
        self._concerned = concerned
        if fresh:
            self._outstanding = list(dict.fromkeys([*fresh, *self._outstanding]))[:_FIRST_SHOWN]
        if len(self._outstanding) < min(_FIRST_SHOWN, len(places)):
            worst = [item.channel for item in node.worst(2 * _FIRST_SHOWN) if item.channel not in self._outstanding]
            self._outstanding += worst[: _FIRST_SHOWN - len(self._outstanding)]
        return self._outstanding

    def _follow(self) -> None:
        self._live = True
        self._say_pace()
        self._plot.follow(float(self._range.value))

    def _turn(self) -> None:
        if self._live:
            self._plot.hold()
        else:
            self._follow()

    def _held(self) -> None:
        self._live = False
        self._say_pace()

    def _say_pace(self) -> None:
        self._pause.set_text("Pause" if self._live else "Live")
        self._pause.set_icon("pause" if self._live else "play_arrow")


class _Incidents:
    """What was wrong, newest first, and what can be done about it."""

    def __init__(self, order: Callable[[Command], Any]) -> None:
        self._order = order
        ui.label("Incidents").classes("ew-h2 text-lg").props("role=heading aria-level=2")
        self._none = ui.label("none since the dashboard began to listen").classes("ew-dim")
        self._column = ui.column().classes("ew-side ew-list").props('role=list aria-live=polite aria-label="Incidents"')
        self._shown: Any = None
        self._times: list[tuple[ui.label, Incident]] = []

    def refresh(self, node: Node) -> None:
        newest = list(reversed(node.incidents.values()))[:_INCIDENTS_SHOWN]
        commands = node.state is not None and node.state.commands
        key = commands, [(incident.newest.id, incident.acknowledged) for incident in newest]
        if key != self._shown:
            self._shown, self._times = key, []
            self._none.set_visibility(not newest)
            self._column.clear()
            with self._column:
                for incident in newest:
                    self._add(incident, commands=commands)
        for label, incident in self._times:
            say(label, lasting(incident))

    def _add(self, incident: Incident, *, commands: bool) -> None:
        alert = incident.newest
        over = incident.closed is not None
        with ui.card().classes(f"ew-card {'' if over else 'ew-alarm'}").props("role=listitem"):
            with ui.element("div").classes("ew-row"):
                ui.label(f"{'✓ over' if over else '▲ open'} · {alert.severity}").classes(
                    f"ew-severity {'ew-dim' if over else 'ew-bad'}"
                )
                label = ui.label().classes("ew-dim ew-grow")
                self._times.append((label, incident))
            ui.label(plain(alert.summary)).classes("ew-wrap")
            for contributor in alert.contributors[:5]:
                self._contributor(contributor)
            words = [f"score {alert.score:.4f} against {alert.threshold:g}", f"strength {alert.strength:.1f}"]
            words += [alert.reason] * bool(alert.reason) + ["provisional"] * alert.provisional
            words += ["came late"] * alert.replayed
            ui.label(plain(" · ".join(words))).classes("ew-dim")
            if incident.acknowledged:
                ui.label("✓ acknowledged").classes("ew-normal")
            if commands and not over:
                self._buttons(incident)

    @staticmethod
    def _contributor(contributor: Contributor) -> None:
        with ui.element("div").classes("ew-row"):
            ui.label(plain(contributor.channel, 100)).classes("ew-name ew-grow")
            ui.label(f"{contributor.share:.0%}").classes("ew-numbers ew-dim")
        seen = quantity(contributor.value, contributor.unit)
        usual = range_text(contributor.lower, contributor.upper, contributor.unit)
        kind = _KINDS.get(contributor.kind, "")
        ui.label(f"{seen}, normal {usual}{', ' + kind if kind else ''}").classes("ew-dim")

    def _buttons(self, incident: Incident) -> None:
        alert = incident.newest
        channels = tuple(contributor.channel for contributor in alert.contributors)
        with ui.row().classes("ew-bar"):
            if not incident.acknowledged:

                async def acknowledge() -> None:
                    await self._order(Acknowledge(incident=incident.name))

                ui.button("Acknowledge", icon="done", on_click=acknowledge).props("dense outline no-caps")
            if channels:
                with ui.dropdown_button("Silence", icon="notifications_off", auto_close=True) as choice:
                    choice.props("dense outline no-caps")
                    for seconds, words in _SILENCES_S.items():
                        ui.item(f"for {words}", on_click=self._silencer(channels, seconds))

    def _silencer(self, channels: Sequence[str], seconds: float) -> Callable[[], Any]:
        async def silence() -> None:
            # Names as they are: what matches as in a shell is taken literally.
            await self._order(Silence(channels=tuple(glob.escape(name) for name in channels), for_s=seconds))

        return silence
