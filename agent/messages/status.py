"""The messages ``state``, ``metrics`` and ``health``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from typing import TypeAlias


__all__ = ["ChannelMetric", "Health", "Metrics", "NodeState", "Status"]

Status: TypeAlias = Literal["learning", "normal", "anomalous"]


class NodeState(msgspec.Struct, frozen=True):
    """The retained ``state`` message.

    Parameters
    ----------
    silenced
        Channels that raise no alerts now.
    commands
        Whether it obeys what is said to it on ``cmd``.
    """

    v: int
    node: str
    state: Status
    ts: float
    since: float
    score: float
    state_score: float
    threshold: float
    learning_progress: float
    provisional: bool
    channels: int
    open_incidents: tuple[str, ...]
    silenced: int = 0
    commands: bool = False


class ChannelMetric(msgspec.Struct, frozen=True):
    """One channel in the ``metrics`` message; null where there is no number."""

    value: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    score: float
    threshold: float
    anomalous: bool
    progress: float
    provisional: bool
    unit: str


class Metrics(msgspec.Struct, frozen=True):
    """The ``metrics`` message: every channel as it is now."""

    v: int
    node: str
    ts: float
    seq: int
    score: float
    state_score: float
    channels: dict[str, ChannelMetric]


class Health(msgspec.Struct, frozen=True):
    """The retained ``health`` message: how the agent itself is.

    Parameters
    ----------
    refused
        Times that the broker did not take an alert; it is offered again.
    discarded
        Messages from outside that were too large, or too many.
    snapshot_bytes, snapshot_failures
        What was written of what was learned since the start, and how often that failed.
    left_out
        What came to a source and could not be used, by source and by why.
    """

    v: int
    node: str
    ts: float
    version: str
    model: str
    uptime_s: float
    clock_synced: bool
    interval_s: float
    steps: int
    missed_ticks: int
    step_ms_p50: float
    step_ms_p99: float
    invalid_readings: int
    source_failures: dict[str, int]
    outbox_depth: int
    outbox_durable: bool
    dropped: int
    reconnects: int
    rss_mib: float
    suppressed: int = 0
    refused: int = 0
    discarded: int = 0
    snapshot_bytes: int = 0
    snapshot_failures: int = 0
    left_out: dict[str, dict[str, int]] = {}
