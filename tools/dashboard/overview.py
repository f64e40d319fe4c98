"""Page of all nodes: their states, open incidents, and most unusual channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from agent.core.text import plain, quantity, range_text
from tools.dashboard.shell import LIVE_S, Chip, ago, frame, lasting, node_address, repeatedly, set_text, worst_first

if TYPE_CHECKING:
    from tools.dashboard.fleet import Fleet, Incident, Node
    from tools.dashboard.hub import Hub

__all__ = ["page"]

# Open incidents listed, and unusual channels on a card; chosen by hand.
_INCIDENTS_SHOWN = 12
_WORST_SHOWN = 3
_EMPTY = "No messages received yet. Check that an agent publishes to this broker with the same topic prefix."


def page(hub: Hub) -> None:
    """Build the page for one visitor."""
    with frame(hub, "Nodes"):
        with ui.row().classes("ew-bar"):
            counts = ui.label().classes("ew-name text-lg").props("role=heading aria-level=1 aria-live=polite")
            search = ui.input(placeholder="Filter: node, channel, state").props(
                'dense outlined clearable aria-label="Filter nodes"'
            )
        incidents = _OpenIncidents()
        empty = ui.label(_EMPTY).classes("ew-dim")
        grid = ui.element("div").classes("ew-cards").props("role=list")
    cards: dict[str, _Card] = {}

    def refresh() -> None:
        nodes = hub.fleet.nodes
        for name in [name for name in cards if name not in nodes]:
            cards.pop(name).delete()
        with grid:
            for name in nodes:
                if name not in cards:
                    cards[name] = _Card(name)
        filtered = _filtered(nodes, search.value or "")
        ranked = sorted(nodes, key=lambda name: (worst_first(nodes[name].standing), name))
        for name in ranked:
            cards[name].refresh(nodes[name], shown=name in filtered)
        if ranked != list(cards):
            for index, name in enumerate(ranked):
                cards[name].move(index)
                cards[name] = cards.pop(name)  # keep the dictionary in the order of the page
        empty.set_visibility(not nodes)
        set_text(counts, _counts(nodes))
        incidents.refresh(hub.fleet)

    repeatedly(refresh)


def _counts(nodes: dict[str, Node]) -> str:
    by_standing: dict[str, int] = {}
    for node in sorted(nodes.values(), key=lambda node: worst_first(node.standing)):
        by_standing[node.standing] = by_standing.get(node.standing, 0) + 1
    total = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"
    return ": ".join([total, *([", ".join(f"{n} {word}" for word, n in by_standing.items())] if nodes else [])])


def _filtered(nodes: dict[str, Node], search: str) -> set[str]:
    """Names of the nodes for which each word of the filter matches the name, the state or a channel."""

    def matches(node: Node, word: str) -> bool:
        return (
            word in node.name.lower()
            or word in node.standing
            or any(word in name.lower() for name in node.course.indices)
        )

    words = search.lower().split()
    return {name for name, node in nodes.items() if all(matches(node, word) for word in words)}


class _OpenIncidents:
    """Cards of the open incidents of all nodes."""

    def __init__(self) -> None:
        self._column = ui.column().classes("ew-side").props('role=region aria-label="Open incidents" aria-live=polite')
        self._shown: list[tuple[str, str]] = []
        self._times: list[tuple[ui.label, Incident]] = []

    def refresh(self, fleet: Fleet) -> None:
        found = [(name, node, incident) for name, node in fleet.nodes.items() for incident in node.open]
        found.sort(key=lambda item: -item[2].opened)
        key = [(name, incident.newest.id) for name, _, incident in found]
        if key != self._shown:
            self._shown, self._times = key, []
            self._column.clear()
            with self._column:
                for name, node, incident in found[:_INCIDENTS_SHOWN]:
                    self._add(name, node, incident)
                if len(found) > _INCIDENTS_SHOWN:
                    ui.label(f"and {len(found) - _INCIDENTS_SHOWN} more open incidents").classes("ew-dim")
        for label, incident in self._times:
            set_text(label, lasting(incident))

    def _add(self, name: str, node: Node, incident: Incident) -> None:
        with ui.card().classes("ew-card ew-alarm"):
            with ui.element("div").classes("ew-row"):
                ui.label(f"▲ {incident.newest.severity}").classes("ew-severity ew-bad")
                ui.link(node.name, node_address(name)).classes("ew-name")
                self._times.append((ui.label().classes("ew-dim"), incident))
            ui.label(plain(incident.newest.summary)).classes("ew-wrap")


class _Card:
    """Card of one node."""

    def __init__(self, name: str) -> None:
        with ui.card().classes("ew-card").props("role=listitem") as self._card:
            with ui.element("div").classes("ew-row"):
                ui.link(plain(name, 100), node_address(name)).classes("ew-name ew-grow")
                self._chip = Chip()
            self._learning = ui.linear_progress(0.0, show_value=False).props('aria-label="Learning"')
            self._rows = [_WorstRow() for _ in range(_WORST_SHOWN)]
            with ui.element("div").classes("ew-row"):
                self._open = ui.label().classes("ew-grow")
                self._seen = ui.label().classes("ew-dim")
        self._shown = True

    def refresh(self, node: Node, *, shown: bool) -> None:
        if shown != self._shown:
            self._shown = shown
            self._card.set_visibility(shown)
        self._chip.refresh(node.standing)
        learning = node.standing == "learning"
        if self._learning.visible != learning:
            self._learning.set_visibility(learning)
        if learning and abs(self._learning.value - node.progress) >= 0.01:
            self._learning.set_value(round(node.progress, 2))
        worst = node.worst(_WORST_SHOWN)
        for row, name in zip(self._rows, [*(item.channel for item in worst), *[""] * _WORST_SHOWN], strict=False):
            row.refresh(node, name)
        count = len(node.open)
        set_text(self._open, f"▲ {count} open incident{'' if count == 1 else 's'}" if count else "no open incident")
        self._open.classes(add="ew-bad" if count else "ew-dim", remove="ew-dim" if count else "ew-bad")
        silent_s = node.silent_s
        set_text(self._seen, "live" if silent_s < LIVE_S else f"last message {ago(silent_s)} ago")

    def move(self, index: int) -> None:
        self._card.move(target_index=index)

    def delete(self) -> None:
        self._card.delete()


class _WorstRow:
    """Row of a card with one unusual channel."""

    def __init__(self) -> None:
        with ui.element("div").classes("ew-row"):
            self._name = ui.label().classes("ew-grow")
            self._value = ui.label().classes("ew-numbers")
            self._range = ui.label().classes("ew-dim ew-numbers")

    def refresh(self, node: Node, name: str) -> None:
        metric = node.metrics.channels.get(name) if node.metrics and name else None
        set_text(self._name, f"{'▲ ' * bool(metric and metric.anomalous)}{plain(name, 100)}")
        set_text(self._value, quantity(metric.value, metric.unit) if metric else "")
        set_text(self._range, f"({range_text(metric.lower, metric.upper, metric.unit)})" if metric else "")
