"""The words and numbers of an alert."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from agent.core.text import quantity, range_text

if TYPE_CHECKING:
    from agent.alerting.incident import Incident
    from agent.core.channel import Channel
    from agent.messages.alert import Contributor, Phase


__all__ = ["limit_reached", "rounded_number", "summary_text"]


def limit_reached(channel: Channel, value: float | None) -> float | None:
    """The hard limit that a value has reached; None if none."""
    if value is None:
        return None
    if value >= channel.alarm_above:
        return channel.alarm_above
    return channel.alarm_below if value <= channel.alarm_below else None


def rounded_number(value: float) -> float | None:
    """Six significant digits, or None for NaN: what a message carries."""
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


def summary_text(
    incident: Incident, contributors: tuple[Contributor, ...], phase: Phase, reason: str, duration_s: float
) -> str:
    """One line that says what is wrong, for a person."""
    first = contributors[0]
    seen = "reached " if phase == "close" else ""
    if first.limit is not None:
        normal = f"hard limit {quantity(first.limit, first.unit)}"
    else:
        normal = f"expected {range_text(first.lower, first.upper, first.unit)}"
        if first.value is not None and (first.lower or 0.0) <= first.value <= (first.upper or 0.0):
            # Each reading is within limits; it is the autoencoder that does not know their course.
            seen = "shows an unusual pattern, last "
    text = f"{first.channel} {seen}{quantity(first.value, first.unit)} ({normal})"
    if first.kind:
        when = "at" if first.kind in {"spike", "drop"} else "since"
        hour = time.strftime("%H:%M:%S UTC", time.gmtime(incident.started))
        text += f", {first.kind.replace('_', ' ')} {when} {hour}"
    if len(incident.worst) > 1:
        text += f" and {len(incident.worst) - 1} more"
    return f"{text}, {reason} after {duration_s:.0f} s" if phase == "close" else text
