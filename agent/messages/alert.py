"""The messages ``alert`` and ``digest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agent.messages.envelope import Node, Version, WallTime  # noqa: TC001 - msgspec resolves the hints at run time

if TYPE_CHECKING:
    from typing import TypeAlias


__all__ = ["Alert", "AnomalyKind", "Contributor", "Digest", "HeldBack", "Phase", "Severity"]

Phase: TypeAlias = Literal["open", "update", "close"]
Severity: TypeAlias = Literal["info", "warning", "critical"]
AnomalyKind: TypeAlias = Literal["spike", "drop", "level_shift", "variance_change", "flat_line", "pattern_break"]
_Strength: TypeAlias = Annotated[
    float,
    Meta(
        description=(
            "Sum over the incident's channels of each one's largest strength: the root of its rarity over the rarity "
            "at which an alert is sent. 1 is just rare enough, 10 a hundred times rarer."
        )
    ),
]


class Contributor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A channel's part in an incident, in the channel's own unit."""

    channel: Annotated[str, Meta(description="Name of the channel.")]
    share: Annotated[float, Meta(description="Share of the incident's strength, 0 to 1.")]
    value: Annotated[float | None, Meta(description="Value of the channel; null if it is missing.")]
    expected: Annotated[float | None, Meta(description="Expected value; null if it is unknown.")]
    lower: Annotated[float | None, Meta(description="Lower end of the normal range; null if it is unknown.")]
    upper: Annotated[float | None, Meta(description="Upper end of the normal range; null if it is unknown.")]
    score: Annotated[float, Meta(description="Anomaly score of the channel, 0 to 1.")]
    unit: Annotated[str, Meta(description="Unit of the values.")] = ""
    kind: Annotated[
        AnomalyKind | Literal[""], Meta(description="Kind of the anomaly; empty if there are too few values to tell.")
    ] = ""
    limit: Annotated[float | None, Meta(description="Hard limit that was reached, if any.")] = None
    over_s: Annotated[
        float, Meta(description="Seconds over which the value is averaged; 0 if it is a single reading.")
    ] = 0.0
    once_in_days: Annotated[
        float | None,
        Meta(
            description=(
                "Rarity: a deviation as large as this is seen on this channel about once in this many days; at most a "
                "year, null if it is unknown."
            )
        ),
    ] = None


class Alert(msgspec.Struct, frozen=True):
    """One message about an incident, as published on `alert`."""

    v: Version
    id: Annotated[
        str,
        Meta(
            description=(
                "Identifier of this message, the same when it is delivered again: receivers can drop duplicates."
            )
        ),
    ]
    seq: Annotated[
        int,
        Meta(
            description=(
                "Number of this message, without gaps over all alerts of the node: receivers can detect losses."
            )
        ),
    ]
    node: Node
    phase: Annotated[Phase, Meta(description="Phase of the incident: one `open`, any number of `update`, one `close`.")]
    severity: Annotated[
        Severity,
        Meta(
            description=(
                "Severity, from the strongest channel's strength: `info` below 10, `warning` below 100, `critical` "
                "from 100 and at hard limits. Provisional alerts are `warning` at most, except at hard limits."
            )
        ),
    ]
    ts: WallTime
    started: Annotated[
        float, Meta(description="Wall-clock time of the incident's first anomalous reading, in seconds since 1970.")
    ]
    clock_synced: Annotated[
        bool,
        Meta(
            description=(
                "False if the wall clock is not synchronised or has jumped; then no ages can be computed from `ts` "
                "and `started`."
            )
        ),
    ]
    score: Annotated[float, Meta(description="Largest anomaly score of the contributors, 0 to 1.")]
    threshold: Annotated[float, Meta(description="Score from which a channel is anomalous.")]
    contributors: Annotated[
        tuple[Contributor, ...], Meta(description="Channels of the incident, the strongest first, at most five.")
    ]
    summary: Annotated[str, Meta(description="One line of text for people.")]
    model: Annotated[str, Meta(description="Names and versions of the models.")]
    replayed: Annotated[
        bool,
        Meta(
            description=(
                "True if the alert was sent late, after an outage of the broker or a restart; `ts` is its true time."
            )
        ),
    ] = False
    incident: Annotated[str, Meta(description="Identifier of the incident, the same in all its messages.")] = ""
    duration_s: Annotated[float, Meta(description="Seconds since `started`, by the monotonic clock.")] = 0.0
    provisional: Annotated[
        bool, Meta(description="True if all channels concerned were learned for less than `alerts.provisional_s`.")
    ] = False
    reason: Annotated[
        str,
        Meta(
            description=(
                "Reason of this message: `onset`, `limit` (a hard limit was reached), `joined` (another channel), "
                "`severity` (it rose), `revised` (another kind), `acknowledged` (by command, no further updates), "
                "`recovered`, `accepted` (the new level became normal), `missing` (no more readings), `relearned` "
                "(by command) or `stopped`."
            )
        ),
    ] = ""
    strength: _Strength = 0.0


class HeldBack(msgspec.Struct, frozen=True, tag_field="phase", tag="held"):
    """An incident that the alert budget or a silence suppressed until it was over."""

    started: Annotated[
        float, Meta(description="Wall-clock time of its first anomalous reading, in seconds since 1970.")
    ]
    duration_s: Annotated[float, Meta(description="Seconds until it was over.")]
    strength: _Strength
    needed: Annotated[float, Meta(description="Lowest strength that would have been sent while it lasted.")]
    summary: Annotated[str, Meta(description="One line of text for people, as in its alert.")]
    channels: Annotated[tuple[str, ...], Meta(description="Names of its channels, the strongest first, at most five.")]
    reason: Annotated[
        Literal["budget", "silenced"],
        Meta(description="Reason of the suppression: the alert `budget`, or some of its channels were `silenced`."),
    ] = "budget"


class Digest(msgspec.Struct, frozen=True):
    """The retained message `digest`: incidents suppressed by the alert budget or a silence."""

    v: Version
    node: Node
    ts: WallTime
    budget_per_day: Annotated[float, Meta(description="Alert budget, in incidents a day.")]
    needed: Annotated[
        float, Meta(description="Strength that an incident needs now to be sent; above 64 none is sent for a while.")
    ]
    suppressed: Annotated[int, Meta(description="Number of suppressed incidents since the start of the agent.")]
    incidents: Annotated[
        tuple[HeldBack, ...],
        Meta(description="Suppressed incidents of the last 24 hours, the strongest first, at most twenty."),
    ]
