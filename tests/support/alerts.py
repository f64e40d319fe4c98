from __future__ import annotations

from typing import TYPE_CHECKING

from agent.messages.alert import Alert

if TYPE_CHECKING:
    from typing import Any


def alert(seq: int, severity: Any = "warning", summary: str = "", ts: float = 0.0) -> Alert:
    return Alert(1, f"n-i-{seq:06d}", seq, "n", "open", severity, ts, ts, ts > 0, 1.0, 0.995, (), summary, "m")
