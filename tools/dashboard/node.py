"""Page of one node: charts of its channels, and its incidents with buttons for commands."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING, Any

from nicegui import ui

from agent.core.text import plain, quantity, range_text
from agent.messages.command import Acknowledge, Silence
from tools.dashboard.plot import Plot
from tools.dashboard.shell import LIVE_S, Chip, ago, frame, lasting, repeatedly, set_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.messages.alert import Contributor
    from agent.messages.command import Command
    from tools.dashboard.fleet import Incident, Node
    from tools.dashboard.hub import Hub

__all__ = ["page"]

# Charts shown by default, and incidents listed; chosen by hand.
_FIRST_SHOWN = 6
_INCIDENTS_SHOWN = 30
_RANGES_S = {60: "1 min", 300: "5 min", 900: "15 min", 1800: "30 min"}
_SILENCES_S = {600: "10 minutes", 3600: "1 hour", 8 * 3600: "8 hours", 86_400: "1 day"}
_KINDS = {
    "spike": "spike",
    "drop": "drop",
    "level_shift": "level shift",
    "variance_change": "variance change",
    "flat_line": "flat line",
    "pattern_break": "pattern break",
}
_NO_METRICS = (
    "Charts need metrics, which this node does not publish. To enable them, set mqtt: {metrics_interval_s: 1} in its "
    "configuration. State and alerts are shown without metrics."
)
_HELP = "Drag to pan; Ctrl + wheel or pinch to zoom. On a focused chart, use the keys + − ← →."
_UNKNOWN = "No message from this node since the dashboard started. The page updates when one arrives."


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
                incidents = _Incidents(lambda command: _send(hub, name, command))

    def refresh() -> None:
        node = hub.fleet.nodes.get(name)
        unknown.set_visibility(node is None)
        if node is not None:
            header.refresh(node)
            charts.refresh(node)
            incidents.refresh(node)

    repeatedly(refresh)


async def _send(hub: Hub, name: str, command: Command) -> None:
    """Send a command and notify the visitor of the result."""
    answer = await hub.send(name, command)
    if answer is None:
        ui.notify("No answer: the node may be offline or may not accept commands", type="warning")
    elif answer.ok:
        ui.notify(plain(answer.detail) or "Done", type="positive")
    else:
        ui.notify(f"Refused: {plain(answer.error)}", type="negative")


class _Header:
    """Heading with the state of the node and of its agent."""

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
        set_text(self._learning, f"{node.progress:.0%} learned" if learning else "")
        state, health = node.state, node.health
        texts = [] if state is None else [f"score {node.metrics.score if node.metrics else state.score:.3f}"]
        if state is not None and state.silenced:
            texts.append(f"{state.silenced} channels silenced")
        if node.silent_s > LIVE_S:
            texts.append(f"last message {ago(node.silent_s)} ago")
        set_text(self._score, " · ".join(texts))
        if health is not None:
            set_text(
                self._agent,
                f"agent {plain(health.version, 20)} · up {ago(health.uptime_s)} · step {health.step_ms_p50:.1f} ms · "
                f"{health.rss_mib:.0f} MiB · {health.suppressed} suppressed",
            )


class _Charts:
    """Charts with their controls: time range, pause, zoom, and choice of channels."""

    _plot: Plot

    def __init__(self) -> None:
        with ui.row().classes("ew-bar"):
            self._range = ui.toggle(_RANGES_S, value=300, on_change=self._follow).props(
                'dense no-caps unelevated role=group aria-label="Time range"'
            )
            self._pause = ui.button("Pause", icon="pause", on_click=self._toggle).props("dense flat no-caps")
            for icon, texts, action in (
                ("chevron_left", "Earlier", lambda: self._plot.pan(-0.5)),
                ("chevron_right", "Later", lambda: self._plot.pan(0.5)),
                ("zoom_in", "Zoom in", lambda: self._plot.zoom(0.5)),
                ("zoom_out", "Zoom out", lambda: self._plot.zoom(2.0)),
            ):
                with ui.button(icon=icon, on_click=action).props(f'dense flat round aria-label="{texts}"'):
                    ui.tooltip(texts)
        self._choice = (
            ui.select([], multiple=True, with_input=True, label="Channels (default: the most unusual)")
            .props("dense outlined use-chips clearable")
            .classes("w-full")
        )
        self._empty = ui.label(_NO_METRICS).classes("ew-dim")
        self._plot = Plot(self._paused)
        ui.label(_HELP).classes("ew-dim")
        self._live = True
        # Unusual channels shown by default; they keep their order.
        self._unusual: list[str] = []
        # Channels of open incidents at the last update.
        self._in_incident: list[str] = []

    def refresh(self, node: Node) -> None:
        names = sorted(node.course.indices)
        if names != self._choice.options:
            self._choice.set_options(names)
        self._empty.set_visibility(not names)
        self._plot.refresh(node, self._choice.value or self._default_channels(node))

    def _default_channels(self, node: Node) -> list[str]:
        indices = node.course.indices
        in_incident = [
            c.channel for incident in node.open for c in incident.newest.contributors if c.channel in indices
        ]
        fresh = [name for name in dict.fromkeys(in_incident) if name not in self._in_incident]
        self._in_incident = in_incident
        if fresh:
            self._unusual = list(dict.fromkeys([*fresh, *self._unusual]))[:_FIRST_SHOWN]
        if len(self._unusual) < min(_FIRST_SHOWN, len(indices)):
            worst = [item.channel for item in node.worst(2 * _FIRST_SHOWN) if item.channel not in self._unusual]
            self._unusual += worst[: _FIRST_SHOWN - len(self._unusual)]
        return self._unusual

    def _follow(self) -> None:
        self._live = True
        self._show_pause()
        self._plot.follow(float(self._range.value))

    def _toggle(self) -> None:
        if self._live:
            self._plot.hold()
        else:
            self._follow()

    def _paused(self) -> None:
        self._live = False
        self._show_pause()

    def _show_pause(self) -> None:
        self._pause.set_text("Pause" if self._live else "Live")
        self._pause.set_icon("pause" if self._live else "play_arrow")


class _Incidents:
    """List of incidents, newest first, with buttons for commands."""

    def __init__(self, send: Callable[[Command], Any]) -> None:
        self._send = send
        ui.label("Incidents").classes("ew-h2 text-lg").props("role=heading aria-level=2")
        self._none = ui.label("none since the dashboard started").classes("ew-dim")
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
            set_text(label, lasting(incident))

    def _add(self, incident: Incident, *, commands: bool) -> None:
        alert = incident.newest
        closed = incident.closed is not None
        with ui.card().classes(f"ew-card {'' if closed else 'ew-alarm'}").props("role=listitem"):
            with ui.element("div").classes("ew-row"):
                ui.label(f"{'✓ closed' if closed else '▲ open'} · {alert.severity}").classes(
                    f"ew-severity {'ew-dim' if closed else 'ew-bad'}"
                )
                label = ui.label().classes("ew-dim ew-grow")
                self._times.append((label, incident))
            ui.label(plain(alert.summary)).classes("ew-wrap")
            for contributor in alert.contributors[:5]:
                self._contributor(contributor)
            texts = [f"score {alert.score:.4f}, threshold {alert.threshold:g}", f"strength {alert.strength:.1f}"]
            texts += [alert.reason] * bool(alert.reason) + ["provisional"] * alert.provisional
            texts += ["delivered late"] * alert.replayed
            ui.label(plain(" · ".join(texts))).classes("ew-dim")
            if incident.acknowledged:
                ui.label("✓ acknowledged").classes("ew-normal")
            if commands and not closed:
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
                    await self._send(Acknowledge(incident=incident.name))

                ui.button("Acknowledge", icon="done", on_click=acknowledge).props("dense outline no-caps")
            if channels:
                with ui.dropdown_button("Silence", icon="notifications_off", auto_close=True) as choice:
                    choice.props("dense outline no-caps")
                    for seconds, texts in _SILENCES_S.items():
                        ui.item(f"for {texts}", on_click=self._silencer(channels, seconds))

    def _silencer(self, channels: Sequence[str], seconds: float) -> Callable[[], Any]:
        async def silence() -> None:
            # Escape wildcards, so that names match literally.
            await self._send(Silence(channels=tuple(glob.escape(name) for name in channels), for_s=seconds))

        return silence
