"""Alerts of realistic size for tests of the outbox and the delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.messages.alert import Alert, Contributor

if TYPE_CHECKING:
    from agent.messages.alert import Severity

__all__ = ["alert"]

_CONTRIBUTORS = tuple(
    Contributor(name, 0.3, 88.25, 6.1, 2.0, 14.0, 0.9993, "ms", kind="level_shift")
    for name in ("disk.await", "cpu.iowait", "latency.gateway")
)


def alert(seq: int, severity: Severity = "warning", node: str = "pi4", ts: float = 0.0) -> Alert:
    """Make an alert with sequence number ``seq``; without a time, ``clock_synced`` is false."""
    stem = f"{node}-7f3a-{seq:06d}"
    return Alert(
        v=1,
        id=stem,
        seq=seq,
        node=node,
        phase="open",
        severity=severity,
        ts=ts,
        started=ts,
        clock_synced=ts > 0,
        score=0.9993,
        threshold=0.995,
        contributors=_CONTRIBUTORS,
        summary=f"disk.await 88.2 ms (expected 2 – 14 ms), level shift since 12:00:00 UTC and 2 more, number {seq}",
        model="default@1.0.0",
        incident=stem,
        duration_s=3.0,
        provisional=False,
        reason="onset",
        strength=12.5,
    )
