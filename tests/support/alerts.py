from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.messages.alert import Alert, Contributor

if TYPE_CHECKING:
    from typing import Any


def alert(seq: int, severity: Any = "warning", summary: str = "", ts: float = 0.0) -> Alert:
    return Alert(1, f"n-i-{seq:06d}", seq, "n", "open", severity, ts, ts, ts > 0, 1.0, 0.995, (), summary, "m")


def message(
    incident: str,
    phase: Any,
    ts: float,
    *,
    reason: str = "onset",
    channel: str = "c",
    value: float | None = 5.0,
    normal: tuple[float | None, float | None] = (0.0, 1.0),
    limit: float | None = None,
) -> Alert:
    """A message of an incident; its first channel has a value and a normal range."""
    first = Contributor(channel, 1.0, value, 0.5, *normal, 1.0, limit=limit)
    return msgspec.structs.replace(
        alert(1, ts=ts), incident=incident, phase=phase, reason=reason, contributors=(first,)
    )
