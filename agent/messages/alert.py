"""The messages ``alert`` and ``digest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from typing import TypeAlias


__all__ = ["Alert", "AnomalyKind", "Contributor", "Digest", "HeldBack", "Phase", "Severity"]

Phase: TypeAlias = Literal["open", "update", "close"]
Severity: TypeAlias = Literal["info", "warning", "critical"]
AnomalyKind: TypeAlias = Literal["spike", "drop", "level_shift", "variance_change", "flat_line", "pattern_break"]


class Contributor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A channel's part in an incident, in the channel's own unit.

    Parameters
    ----------
    share
        Of the incident's strength.
    kind
        What the anomaly looks like; empty when there is too little to tell by.
    limit
        The hard limit that was reached, if one was.
    """

    channel: str
    share: float
    value: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    score: float
    unit: str = ""
    kind: AnomalyKind | Literal[""] = ""
    limit: float | None = None


class Alert(msgspec.Struct, frozen=True):
    """One message about an incident, as published on ``alert``.

    Parameters
    ----------
    id
        Stable over retries, so that receivers can drop duplicates; all messages of an incident share its stem.
    seq
        Without gaps over all alerts of the node, so that receivers can see losses.
    ts, started
        Wall time of this message and of the incident's first anomalous tick, seconds since 1970.
    clock_synced
        False when the wall clock is not synchronised or has jumped.
    score, threshold
        0..1: the largest channel score and what it was held against.
    duration_s
        Seconds since ``started`` by the monotonic clock.
    provisional
        The channels concerned were learned for less than the provisional time.
    reason
        Why this message was sent: ``onset``, ``limit`` (a hard limit was reached), ``joined``, ``severity``,
        ``revised`` (it is of another kind than it looked at first), ``acknowledged`` (somebody knows, no more updates),
        ``recovered``, ``accepted`` (the new level became normal), ``missing`` (no more readings), ``relearned`` or
        ``stopped``.
    strength
        Sum over the incident's channels of each one's worst error over limit: what the alert budget goes by.
    """

    v: int
    id: str
    seq: int
    node: str
    phase: Phase
    severity: Severity
    ts: float
    started: float
    clock_synced: bool
    score: float
    threshold: float
    contributors: tuple[Contributor, ...]
    summary: str
    model: str
    replayed: bool = False
    incident: str = ""
    duration_s: float = 0.0
    provisional: bool = False
    reason: str = ""
    strength: float = 0.0


class HeldBack(msgspec.Struct, frozen=True, tag_field="phase", tag="held"):
    """An incident that the alert budget or a silence held back until it was over.

    Parameters
    ----------
    started
        Wall time of its first anomalous tick, seconds since 1970.
    duration_s
        Until it was over.
    strength
        As in `Alert`.
    needed
        The lowest strength that would have passed while it lasted.
    summary
        What its alert would have said.
    channels
        Those of the contributors, the strongest first.
    reason
        ``silenced`` when some of its channels were while it lasted.
    """

    started: float
    duration_s: float
    strength: float
    needed: float
    summary: str
    channels: tuple[str, ...]
    reason: Literal["budget", "silenced"] = "budget"


class Digest(msgspec.Struct, frozen=True):
    """The retained ``digest`` message: what the alert budget and silences held back.

    Parameters
    ----------
    suppressed
        Incidents held back since start.
    needed
        Strength that an incident must have to be sent at ``ts``.
    incidents
        The strongest of the last 24 hours, at most twenty, strongest first.
    """

    v: int
    node: str
    ts: float
    budget_per_day: float
    needed: float
    suppressed: int
    incidents: tuple[HeldBack, ...]
