"""The command ``watch``: a live view of one node, from the MQTT messages that it publishes.

On a terminal it is a table that is redrawn; otherwise plain lines, one every ten seconds and one for each alert.
Messages are untrusted: they are decoded by the types in `agent.messages` and shown without control characters.
"""

from __future__ import annotations

import io
import re
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.core.text import plain, quantity, range_text
from agent.messages.alert import Alert
from agent.messages.status import ChannelMetric, Health, Metrics, NodeState
from agent.messages.topics import topic
from agent.mqtt.subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.mqtt.settings import MqttConfig

__all__ = ["NodeView", "picture_of_incident", "watch"]

# All chosen by hand. Seconds between lines without a terminal:
_LINES_EVERY_S = 10.0
# Redraws per second.
_FRAMES_A_SECOND = 4
# Newest alerts in the table.
_ALERTS_SHOWN = 6
# Age in seconds at which metrics are marked as old.
_SILENT_AFTER_S = 5.0
# Seconds from the onset of an incident to its picture.
_PICTURE_AFTER_S = 6.0
# Identities of alerts kept to drop repeated ones.
_ALERTS_SEEN = 1000
_STYLES = {"normal": "green", "learning": "cyan", "anomalous": "bold red", "info": "cyan", "warning": "yellow"}
# Characters of a full score bar.
_BAR = 12
_FONT_FACE = re.compile(r"@font-face \{.*?\}", re.DOTALL)


class NodeView:
    """The latest messages of one node, and their display.

    Parameters
    ----------
    node
        Name of the node.
    """

    def __init__(self, node: str) -> None:
        self.node = node
        self.status = "no message yet"
        self.state: NodeState | None = None
        self.metrics: Metrics | None = None
        self.health: Health | None = None
        self.alerts: deque[Alert] = deque(maxlen=_ALERTS_SHOWN)
        self.open: dict[str, Alert] = {}
        #: Number of messages that could not be decoded.
        self.refused = 0
        self._seen: deque[str] = deque(maxlen=_ALERTS_SEEN)

    def take(self, leaf: str, payload: bytes) -> Alert | None:
        """Process a message of the topic's last level `leaf`; return the alert if it is a new one."""
        try:
            if leaf == "status":
                self.status = plain(payload[:20].decode(errors="replace"))
            elif leaf == "state":
                self.state = msgspec.json.decode(payload, type=NodeState)
            elif leaf == "metrics":
                self.metrics = msgspec.json.decode(payload, type=Metrics)
            elif leaf == "health":
                self.health = msgspec.json.decode(payload, type=Health)
            elif leaf == "alert":
                return self._take_alert(msgspec.json.decode(payload, type=Alert))
        except msgspec.MsgspecError:
            self.refused += 1
        return None

    def _take_alert(self, alert: Alert) -> Alert | None:
        if alert.id in self._seen:
            return None
        self._seen.append(alert.id)
        self.alerts.append(alert)
        if alert.phase == "close":
            self.open.pop(alert.incident, None)
        else:
            self.open[alert.incident] = alert
        return alert

    def table(self, hint: str, failure: str = "") -> Group:
        """Return the whole view, for a terminal.

        Parameters
        ----------
        hint
            The last line.
        failure
            Reason why the connection fails; empty while connected.
        """
        return Group(self._header(failure), self._channels(), self._incidents(), Text(plain(hint), style="dim"))

    def picture(self) -> str:
        """Return the view as an SVG image without external fonts."""
        console = Console(record=True, width=104, file=io.StringIO(), force_terminal=True)
        console.print(self.table(""))
        return _FONT_FACE.sub("", console.export_svg(title=f"edgewatch {self.node}"))

    def line(self) -> str:
        """Return the present state in one line of plain text."""
        if self.metrics is None:
            return f"{_hour(time.time())} {self.node} {self._state_word()}: no metrics yet"
        channels = self.metrics.channels.items()
        worst, metric = max(channels, key=lambda item: (item[1].anomalous, item[1].score), default=("", None))
        learned = sum(m.progress >= 1.0 for _, m in channels)
        text = f"{_hour(self.metrics.ts)} {self.node} {self._state_word()}, {learned}/{len(channels)} channels learned"
        if metric is not None:
            how = "anomalous" if metric.anomalous else f"highest score {metric.score:.3f}"
            usual = range_text(metric.lower, metric.upper, metric.unit)
            text += f", {how} {plain(worst)} {quantity(metric.value, metric.unit)} (expected {usual})"
        return text + (f", {len(self.open)} open" if self.open else "")

    def _state_word(self) -> str:
        if self.status != "online":
            return self.status
        if self.state is None:
            return "online"
        word: str = self.state.state
        if word == "learning":
            progress = [metric.progress for metric in self.metrics.channels.values()] if self.metrics else []
            return f"learning {max(progress, default=self.state.learning_progress):.0%}"
        return f"{word} (provisional)" if self.state.provisional else word

    def _header(self, failure: str) -> Text:
        text = Text.assemble(("edgewatch ", "bold"), plain(self.node), "  ")
        style = _STYLES.get(self.state.state, "") if self.state and self.status == "online" else "red"
        text.append(self._state_word(), style)
        if failure:
            text.append(f"  broker: {plain(failure)}", "red")
        if self.metrics:
            age = time.time() - self.metrics.ts
            text.append(f"  score {self.metrics.score:.3f}  tick {self.metrics.seq}")
            if age > _SILENT_AFTER_S:
                text.append(f"  no metrics for {age:.0f} s", "red")
        if self.health:
            text.append(
                f"  {plain(self.health.model)}  step {self.health.step_ms_p50:.2f} ms  {self.health.rss_mib:.0f} MiB",
                "dim",
            )
        return text

    def _channels(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
        for name, right in (("channel", False), ("value", True), ("expected", True), ("score", False), ("", False)):
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for name, metric in self.metrics.channels.items() if self.metrics else ():
            style = "bold red" if metric.anomalous else ""
            table.add_row(
                Text(plain(name), style),
                Text(quantity(metric.value, metric.unit), style),
                Text(range_text(metric.lower, metric.upper, metric.unit), "dim"),
                _bar(metric),
                _learning(metric),
            )
        return table

    def _incidents(self) -> Panel:
        lines = Text()
        for alert in reversed(self.alerts):
            lines.append(f"{_hour(alert.ts)} ")
            lines.append(f"{alert.phase:<6} ", "green" if alert.phase == "close" else "bold red")
            lines.append(f"{alert.severity:<8} ", _STYLES.get(alert.severity, "bold red"))
            lines.append(plain(alert.summary) + ("  provisional" if alert.provisional else "") + "\n")
        lines.rstrip()
        title = f"{len(self.open)} open incident{'' if len(self.open) == 1 else 's'}"
        return Panel(lines or Text("no alerts yet", "dim"), title=title, border_style="red" if self.open else "dim")


def watch(config: MqttConfig, node: str, alive: Callable[[], bool] = lambda: True, hint: str = "") -> None:
    """Show a node until interrupted.

    Parameters
    ----------
    config
        Settings of the broker.
    node
        Name of the node.
    alive
        Called several times a second; the view ends when it returns False.
    hint
        Help for the user, shown below the table.

    Raises
    ------
    UserError
        The password file or a TLS file cannot be used.
    """
    view = NodeView(node)
    root = topic(config.prefix, node, "")
    with Subscriber(config, [f"{root}+"]) as messages:
        if Console().is_terminal:
            with Live(refresh_per_second=_FRAMES_A_SECOND, console=Console(), auto_refresh=False) as live:
                while alive():
                    for name, payload in messages.wait(1 / _FRAMES_A_SECOND):
                        view.take(name.removeprefix(root), payload)
                    live.update(view.table(hint, messages.failure), refresh=True)
        else:
            _say(hint)
            printed_at = time.monotonic()
            while alive():
                for name, payload in messages.wait(0.5):
                    alert = view.take(name.removeprefix(root), payload)
                    if alert:
                        _say(f"{_hour(alert.ts)} {alert.phase} {alert.severity} {plain(alert.summary)}")
                if time.monotonic() - printed_at >= _LINES_EVERY_S:
                    printed_at = time.monotonic()
                    _say(view.line())


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the command's output


def _bar(metric: ChannelMetric) -> Text:
    """Draw the score as a bar; 1.0 fills it, red from the threshold on."""
    filled = round(_BAR * min(max(metric.score, 0.0), 1.0))
    style = "red" if metric.score >= metric.threshold else "green"
    return Text.assemble(("━" * filled, style), ("━" * (_BAR - filled), "bright_black"), f" {metric.score:.3f}")


def _learning(metric: ChannelMetric) -> Text:
    if metric.anomalous:
        return Text("ANOMALOUS", "bold red")
    if metric.value is None:
        return Text("no reading", "dim")
    if metric.progress < 1.0:
        return Text(f"learning {metric.progress:.0%}", "cyan")
    return Text("watching, provisional" if metric.provisional else "watching", "dim")


def _hour(ts: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(ts))


def picture_of_incident(config: MqttConfig, node: str) -> str:
    """Wait until an incident has been open for `_PICTURE_AFTER_S`; return the view as an SVG image."""
    view = NodeView(node)
    opened = 0.0
    root = topic(config.prefix, node, "")
    with Subscriber(config, [f"{root}+"]) as messages:
        while not opened or time.monotonic() - opened < _PICTURE_AFTER_S:
            for name, payload in messages.wait(0.5):
                view.take(name.removeprefix(root), payload)
            if view.open and not opened:
                opened = time.monotonic()
    return view.picture()
