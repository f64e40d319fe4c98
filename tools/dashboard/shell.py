"""Common parts of all pages: header, light and dark theme, state chip, and texts of times."""

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

__all__ = ["LIVE_S", "Chip", "ago", "frame", "lasting", "node_address", "repeatedly", "set_text", "worst_first"]

_STYLE = Path(__file__).with_name("style.css")
# Seconds between updates of a page, chosen by hand.
_REFRESH_S = 0.5
#: Seconds since the last message within which a node is shown as live; chosen by hand.
LIVE_S = 5.0
_MODES: dict[bool | None, tuple[str, str]] = {
    None: ("brightness_auto", "Theme: system"),
    False: ("light_mode", "Theme: light"),
    True: ("dark_mode", "Theme: dark"),
}
# Icons by state: no information is given by colour alone. Worst state first.
_STANDINGS: dict[Standing, str] = {
    "anomalous": "warning",
    "offline": "power_off",
    "silent": "sensors_off",
    "learning": "school",
    "unknown": "help",
    "normal": "check_circle",
}


def worst_first(standing: Standing) -> int:
    """Sort key of a state; states that need attention come first."""
    return list(_STANDINGS).index(standing)


@contextlib.contextmanager
def frame(hub: Hub, title: str) -> Iterator[None]:
    """Build a page whose header shows the connection to the broker; the block adds its content."""
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
        set_text(link, f"● {hub.link}" if hub.connected else f"▲ {hub.link}")
        link.classes(add="ew-bad" if not hub.connected else "", remove="ew-bad" if hub.connected else "")
        set_text(lost, f"{hub.lost} messages could not be shown: invalid, too large, or too many" if hub.lost else "")

    repeatedly(refresh)


def _mode_button() -> None:
    mode = ui.dark_mode(value=None)

    def next_mode() -> None:
        order = list(_MODES)
        mode.value = order[(order.index(mode.value) + 1) % len(order)]
        show_mode()

    def show_mode() -> None:
        icon, text = _MODES[mode.value]
        button.props(f'icon={icon} aria-label="{text}"')
        tip.text = text

    with ui.button(on_click=next_mode).props("flat round dense color=inherit") as button:
        tip = ui.tooltip()
    show_mode()


def set_text(label: Any, text: str) -> None:
    """Set the text of a label; an unchanged text is not sent again."""
    if label.text != text:
        label.set_text(text)


def repeatedly(refresh: Callable[[], None]) -> None:
    """Call ``refresh`` now and every `_REFRESH_S`."""
    refresh()
    ui.timer(_REFRESH_S, refresh)


class Chip:
    """Icon and word for the state of a node."""

    def __init__(self) -> None:
        with ui.element("span").classes("ew-chip") as self.element:
            self._icon = ui.icon("help").props("aria-hidden=true")
            self._word = ui.label("")

    def refresh(self, standing: Standing) -> None:
        """Show a state, if it changed."""
        if self._word.text != standing:
            self._icon.set_name(_STANDINGS[standing])
            self._word.set_text(standing)
            self.element.classes(replace=f"ew-chip ew-{standing}")


def node_address(name: str) -> str:
    """Address of the page of a node, with the name as a query since it may contain any character."""
    return f"/node?{urlencode({'name': name})}"


def ago(seconds: float) -> str:
    """Format a duration in seconds.

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
    except (OverflowError, ValueError, OSError):  # a node may send an impossible time
        return "invalid time"


def lasting(incident: Incident) -> str:
    """Begin and duration of an incident, as a text."""
    begun = _moment(incident.opened)
    if incident.closed is None:
        return f"since {begun} ({ago(max(0.0, time.time() - incident.opened))})"
    return f"{begun}, lasted {ago(max(0.0, incident.closed - incident.opened))}"
