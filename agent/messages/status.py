"""The messages ``state``, ``metrics`` and ``health``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agent.messages.envelope import Node, Version, WallTime  # noqa: TC001 - msgspec resolves the hints at run time

if TYPE_CHECKING:
    from typing import TypeAlias


__all__ = ["ChannelMetric", "Health", "Metrics", "NodeState", "Status"]

Status: TypeAlias = Literal["learning", "normal", "anomalous"]


class NodeState(msgspec.Struct, frozen=True):
    """The retained message `state`."""

    v: Version
    node: Node
    state: Annotated[
        Status,
        Meta(
            description=(
                "State of the node: `anomalous` while an incident is open, `learning` until one channel has learned "
                "enough, otherwise `normal`."
            )
        ),
    ]
    ts: WallTime
    since: Annotated[float, Meta(description="Wall-clock time of the last change of `state`, in seconds since 1970.")]
    score: Annotated[float, Meta(description="Largest anomaly score of the channels, 0 to 1.")]
    state_score: Annotated[float, Meta(description="Anomaly score of the node as a whole, 0 to 1.")]
    threshold: Annotated[float, Meta(description="Score from which a channel is anomalous.")]
    learning_progress: Annotated[
        float, Meta(description="Progress of learning of the channel that has learned most, 0 to 1.")
    ]
    provisional: Annotated[
        bool, Meta(description="True while any channel was learned for less than `alerts.provisional_s`.")
    ]
    channels: Annotated[int, Meta(description="Number of channels.")]
    open_incidents: Annotated[
        tuple[str, ...], Meta(description="Identifiers of the open incidents that were sent, the oldest first.")
    ]
    silenced: Annotated[int, Meta(description="Number of channels that raise no alerts now.")] = 0
    commands: Annotated[bool, Meta(description="True if the node accepts commands on `cmd`.")] = False


class ChannelMetric(msgspec.Struct, frozen=True):
    """One channel in the message `metrics`; null stands for a missing number."""

    value: Annotated[float | None, Meta(description="Value of the channel.")]
    expected: Annotated[float | None, Meta(description="Expected value.")]
    lower: Annotated[float | None, Meta(description="Lower end of the normal range.")]
    upper: Annotated[float | None, Meta(description="Upper end of the normal range.")]
    score: Annotated[float, Meta(description="Anomaly score of the channel, 0 to 1.")]
    threshold: Annotated[float, Meta(description="Score from which the channel is anomalous.")]
    anomalous: Annotated[bool, Meta(description="True if the channel is anomalous.")]
    progress: Annotated[float, Meta(description="Progress of learning, 0 to 1.")]
    provisional: Annotated[
        bool, Meta(description="True while the channel was learned for less than `alerts.provisional_s`.")
    ]
    unit: Annotated[str, Meta(description="Unit of the values.")]


class Metrics(msgspec.Struct, frozen=True):
    """The message `metrics`: current values of all channels."""

    v: Version
    node: Node
    ts: WallTime
    seq: Annotated[int, Meta(description="Number of the tick.")]
    score: Annotated[float, Meta(description="Largest anomaly score of the channels, 0 to 1.")]
    state_score: Annotated[float, Meta(description="Anomaly score of the node as a whole, 0 to 1.")]
    channels: Annotated[dict[str, ChannelMetric], Meta(description="Channels by name.")]


class Health(msgspec.Struct, frozen=True):
    """The retained message `health`: condition of the agent itself."""

    v: Version
    node: Node
    ts: WallTime
    version: Annotated[str, Meta(description="Version of the agent.")]
    model: Annotated[str, Meta(description="Names and versions of the models.")]
    uptime_s: Annotated[float, Meta(description="Seconds since the start of the agent.")]
    clock_synced: Annotated[bool, Meta(description="False if the wall clock is not synchronised or has jumped.")]
    interval_s: Annotated[float, Meta(description="Sampling interval in seconds.")]
    steps: Annotated[int, Meta(description="Number of ticks processed since the start.")]
    missed_ticks: Annotated[
        int, Meta(description="Number of ticks that were skipped because the machine was too slow or suspended.")
    ]
    step_ms_p50: Annotated[float, Meta(description="Median duration of the last steps in milliseconds.")]
    step_ms_p99: Annotated[
        float, Meta(description="99th percentile of the duration of the last steps in milliseconds.")
    ]
    invalid_readings: Annotated[
        int,
        Meta(
            description=(
                "Number of values that could not be used: infinite, or beyond the valid range of their channel."
            )
        ),
    ]
    source_failures: Annotated[dict[str, int], Meta(description="Number of failed or late readings, by source.")]
    outbox_depth: Annotated[int, Meta(description="Number of alerts waiting for delivery.")]
    outbox_durable: Annotated[
        bool, Meta(description="True if waiting alerts are stored on disk, false if only in memory.")
    ]
    dropped: Annotated[
        int, Meta(description="Number of alerts deleted undelivered because the outbox was full or they were too old.")
    ]
    reconnects: Annotated[int, Meta(description="Number of connections to the broker after the first one.")]
    rss_mib: Annotated[float, Meta(description="Resident memory of the agent in mebibytes.")]
    suppressed: Annotated[int, Meta(description="Number of incidents suppressed by the alert budget or a silence.")] = 0
    refused: Annotated[
        int, Meta(description="Number of times that the broker refused an alert; it is offered again.")
    ] = 0
    discarded: Annotated[int, Meta(description="Number of received messages that were too large or too many.")] = 0
    snapshot_bytes: Annotated[int, Meta(description="Bytes of learned state written to disk since the start.")] = 0
    snapshot_failures: Annotated[int, Meta(description="Number of failed attempts to write the learned state.")] = 0
    left_out: Annotated[
        dict[str, dict[str, int]], Meta(description="Number of unusable readings, by source and reason.")
    ] = {}
