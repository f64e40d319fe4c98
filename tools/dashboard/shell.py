"""What all pages have: the header, light and dark, and how things are said."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from nicegui import ui

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.dashboard.fleet import Incident, Standing
    from tools.dashboard.hub import Hub

__all__ = ["LIVE_S", "Chip", "ago", "frame", "lasting", "node_address", "repeatedly", "say", "worst_first"]

_STYLE = Path(__file__).with_name("style.css")
_REFRESH_S = 0.5
#: A node that speaks oftener than this is live; of others one is told when they were heard.
LIVE_S = 5.0
_MODES: dict[bool | None, tuple[str, str]] = {
    None: ("brightness_auto", "Light or dark: as the system"),
    False: ("light_mode", "Light"),
    True: ("dark_mode", "Dark"),
}
# An icon and a word: no colour says anything alone.
_STANDINGS: dict[Standing, str] = {
    "anomalous": "warning",
    "offline": "power_off",
    "silent": "sensors_off",
    "learning": "school",
    "unknown": "help",
    "normal": "check_circle",
}


def worst_first(standing: Standing) -> int:
    """Place of a standing in a list whose top is what needs somebody."""
    return list(_STANDINGS).index(standing)


@contextlib.contextmanager
def frame(hub: Hub, title: str) -> Iterator[None]:
    """Put the block's elements on a page with a header that says how the broker is."""
    ui.add_css(_STYLE)
    ui.page_title(f"{title} – Edgewatch")
    with ui.header().classes("ew-header"):
        ui.link("Edgewatch", "/").classes("ew-brand")
        link = ui.label().classes("ew-link").props("role=status")
        _mode_button()
    with ui.column().classes("ew-main").props("role=main"):
        lost = ui.label().classes("ew-note")
        yield

    def refresh() -> None:
        say(link, f"● {hub.link}" if hub.connected else f"▲ {hub.link}")
        link.classes(add="ew-bad" if not hub.connected else "", remove="ew-bad" if hub.connected else "")
        say(lost, f"{hub.lost} messages could not be shown: unreadable, too large, or too many" if hub.lost else "")

    repeatedly(refresh)


def _mode_button() -> None:
    mode = ui.dark_mode(value=None)

    def turn() -> None:
        order = list(_MODES)
        mode.value = order[(order.index(mode.value) + 1) % len(order)]
        say_mode()

    def say_mode() -> None:
        icon, words = _MODES[mode.value]
        button.props(f'icon={icon} aria-label="{words}"')
        tip.text = words

    with ui.button(on_click=turn).props("flat round dense color=inherit") as button:
        tip = ui.tooltip()
    say_mode()


def say(label: Any, text: str) -> None:
    """Change a text; what is the same already is not sent again."""
    if label.text != text:
        label.set_text(text)


def repeatedly(refresh: Callable[[], None]) -> None:
    """Bring something up to date now, and from now on."""
    refresh()
    ui.timer(_REFRESH_S, refresh)


class Chip:
    """Says how a node is."""

    def __init__(self) -> None:
        with ui.element("span").classes("ew-chip") as self.element:
            self._icon = ui.icon("help").props("aria-hidden=true")
            self._word = ui.label("")

    def refresh(self, standing: Standing) -> None:
        """Say it, if it is news."""
        if self._word.text != standing:
            self._icon.set_name(_STANDINGS[standing])
            self._word.set_text(standing)
            self.element.classes(replace=f"ew-chip ew-{standing}")


def node_address(name: str) -> str:
    """Where the page of a node is; its topic's level may hold anything, so it is no part of the path."""
    return f"/node?{urlencode({'name': name})}"


def ago(seconds: float) -> str:
    """How long something was ago.

    Examples
    --------
    >>> ago(12.3), ago(200.0), ago(9000.0), ago(400_000.0)
    ('12 s', '3 min', '2.5 h', '4.6 d')
    """
    for size, name in ((86_400.0, "d"), (3600.0, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s" if seconds < 120.0 else f"{seconds / 60.0:.0f} min"


def _moment(ts: float) -> str:
    try:
        return time.strftime("%a %H:%M:%S", time.localtime(ts))
    except (OverflowError, ValueError, OSError):  # what a node calls a time may be none
        return "no time"


def lasting(incident: Incident) -> str:
    """When an incident began, and for how long it has lasted or did last."""
    begun = _moment(incident.opened)
    if incident.closed is None:
        return f"since {begun}, {ago(max(0.0, time.time() - incident.opened))}"
    return f"{begun}, over after {ago(max(0.0, incident.closed - incident.opened))}"
