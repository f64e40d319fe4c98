"""The types that travel along the path of a reading, from the source to the subscriber."""

from __future__ import annotations

import copy
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

__all__ = [
    "NO_COURSES",
    "SCORE_THRESHOLD",
    "Alert",
    "BoolArray",
    "Channel",
    "ChannelMetric",
    "Contributor",
    "Course",
    "Digest",
    "Float32Array",
    "Float64Array",
    "Frame",
    "Health",
    "HeldBack",
    "IntArray",
    "Kind",
    "Metrics",
    "NodeState",
    "Phase",
    "Received",
    "Scores",
    "Severity",
    "Status",
    "Verdict",
    "bounded_score",
]

#: The score at which an error is at its limit.
SCORE_THRESHOLD = 0.995

# As texts: numpy's types of types are 0.3 MiB that nothing needs when it runs.
BoolArray: TypeAlias = "npt.NDArray[np.bool_]"
Float32Array: TypeAlias = "npt.NDArray[np.float32]"
Float64Array: TypeAlias = "npt.NDArray[np.float64]"
IntArray: TypeAlias = "npt.NDArray[np.int64]"

Phase: TypeAlias = Literal["open", "update", "close"]
Severity: TypeAlias = Literal["info", "warning", "critical"]
Kind: TypeAlias = Literal["spike", "drop", "level_shift", "variance_change", "flat_line", "pattern_break"]
#: How an anomaly was noticed: by single readings, by the course of some minutes, or by where the level lies.
Course: TypeAlias = Literal["readings", "pattern", "level"]
Status: TypeAlias = Literal["learning", "normal", "anomalous"]


class Channel(msgspec.Struct, frozen=True):
    """One scalar series with a stable name.

    Parameters
    ----------
    name
        As subscribers see it: ``cpu.percent``, ``latency.gateway``, ``boiler/temperature``.
    unit
        As printed behind a value: ``%``, ``B/s``, ``ms``; empty when unknown.
    effect
        Smallest difference from what is expected that is worth an alert. In the channel's unit on a linear scale;
        a factor above 1 on a logarithmic one. 0 (linear) or 1 (log): anything that is new.
    log_reference
        0 scores the channel on a linear scale; otherwise on ``log1p(value / log_reference)``, as suits rates and
        latencies, whose size varies over decades.
    minimum, maximum
        What the channel can show at all, such as 0 and 100 %: expectations are shown within.
    alarm_above, alarm_below
        Hard limits in the channel's unit: a value at or beyond one is an incident whatever is usual here, also while
        learning, and no alert budget holds it back.
    invalid_above, invalid_below
        What lies beyond is no reading, but a fault on its way: it is counted and taken as missing.
    sensitivity
        Above 1, less has to be new for an alert; below 1, more.
    silent
        It raises no alerts, but those of its hard limits.
    """

    name: str
    unit: str = ""
    effect: float = 0.0
    log_reference: float = 0.0
    minimum: float = -math.inf
    maximum: float = math.inf
    alarm_above: float = math.inf
    alarm_below: float = -math.inf
    invalid_above: float = math.inf
    invalid_below: float = -math.inf
    sensitivity: float = 1.0
    silent: bool = False


#: Who has a place in a frame that belongs to no channel yet, or no longer.
NOBODY = Channel("")


def owned(channels: Sequence[Channel]) -> list[int]:
    """Places that belong to a channel, of channels in the order of the places."""
    return [place for place, channel in enumerate(channels) if channel is not NOBODY]


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One tick's values.

    Parameters
    ----------
    seq
        Number of the tick since start; it jumps where ticks were missed.
    mono_ns
        Monotonic nanoseconds of the tick's deadline.
    wall
        Wall time of the tick, seconds since 1970: a label, never an age.
    values
        float32[n_channels], NaN where nothing valid arrived.
    due
        bool[n_channels], whose turn it was; None where it was everybody's. The others are not missing.
    """

    seq: int
    mono_ns: int
    wall: float
    values: Any  # Float32Array; msgspec does not look inside
    due: Any = None  # BoolArray


class Scores(msgspec.Struct, gc=False):
    """What the models say of one frame, on each channel's own scale (linear or logarithmic).

    Parameters
    ----------
    outlook
        float64[3, n_channels]: what the forecaster expected of this tick, median, 5 % and 95 % quantile; NaN before a
        channel's first valid reading.
    errors
        float64[2, n_channels]: of the forecast, reading less median, NaN where either is missing; of the
        reconstruction, the largest of the newest points, NaN for a channel whose window was not due at this tick.
    """

    outlook: Any  # Float64Array; msgspec does not look inside
    errors: Any


#: Where there is no excursion.
NO_COURSES: Mapping[int, Course] = MappingProxyType({})


class Verdict:
    """What the thresholds say of one frame; arrays over channels.

    What people read – expectations in the channel's unit, scores, progress – is worked out when it is asked for, which
    on a quiet device is seldom.

    Parameters
    ----------
    value
        float32[n_channels], the readings, NaN where missing.
    outlook
        float64[3, n_channels] on the channels' scales, see `Scores`.
    limits
        Lower and upper limit of the forecast error, float64[n_channels] each, on the channels' scales.
    in_units
        Brings numbers from the channels' scales to their units.
    strength
        float64[n_channels], how much this frame speaks for an anomaly: 1 is at the limit. The alert head.
    held
        float64[n_channels], the largest strength of the present excursion where a channel is anomalous, else 0 or
        ``strength``.
    anomalous
        bool[n_channels].
    accepted
        bool[n_channels]: anomalous for so long that the new level is taken as normal from here on.
    seen, learning_rows, provisional_rows
        float64[n_channels] readings seen; how many, the same of all or float64[n_channels], end the silent and the
        provisional part of learning.
    state
        float64[n_channels], deviations over their usual size: the state head.
    state_score
        0..1 for the node as a whole: the channels' states, see `agent.ratio.node_state`.
    errors
        float64[2, n_channels], see `Scores`.
    courses
        By channel, how its present anomaly was noticed where it was not by single readings.
    """

    __slots__ = (
        "_in_units",
        "_learning_rows",
        "_limits",
        "_outlook",
        "_provisional_rows",
        "_seen",
        "accepted",
        "anomalous",
        "courses",
        "errors",
        "held",
        "state",
        "state_score",
        "strength",
        "value",
    )

    #: The score from which a channel is anomalous.
    threshold: ClassVar[float] = SCORE_THRESHOLD

    def __init__(
        self,
        *,
        value: Float32Array,
        outlook: Float64Array,
        limits: tuple[Float64Array, Float64Array],
        in_units: Callable[[Float64Array], Float64Array],
        strength: Float64Array,
        held: Float64Array,
        anomalous: BoolArray,
        accepted: BoolArray,
        seen: Float64Array,
        learning_rows: float | Float64Array,
        provisional_rows: float | Float64Array,
        state: Float64Array,
        state_score: float,
        errors: Float64Array,
        courses: Mapping[int, Course] = NO_COURSES,
    ) -> None:
        self.value = value
        self.strength = strength
        self.held = held
        self.anomalous = anomalous
        self.accepted = accepted
        self.state = state
        self.state_score = state_score
        self.errors = errors
        self.courses = courses
        self._outlook = outlook
        self._limits = limits
        self._in_units = in_units
        self._seen = seen
        self._learning_rows = learning_rows
        self._provisional_rows = provisional_rows

    def replaced(self, **changes: Any) -> Verdict:
        """Make a copy with some of the public attributes changed."""
        other = copy.copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    @classmethod
    def side_by_side(
        cls,
        parts: Sequence[Verdict],
        order: IntArray,
        value: Float32Array,
        in_units: Callable[[Float64Array], Float64Array],
    ) -> Verdict:
        """Put verdicts on groups of channels together.

        Parameters
        ----------
        order
            int64[n_channels]: where in the parts, one behind the other, each channel is.
        """

        def all_of(name: str) -> Any:
            return np.concatenate([getattr(part, name) for part in parts], axis=-1)[..., order]

        def rows(name: str) -> Float64Array:
            each = [np.broadcast_to(getattr(part, name), part.strength.shape) for part in parts]
            spread: Float64Array = np.concatenate(each)[order]
            return spread

        courses, offset = {}, 0
        if any(part.courses for part in parts):
            place = np.argsort(order)
            for part in parts:
                courses.update({int(place[offset + channel]): course for channel, course in part.courses.items()})
                offset += part.strength.size
        ready = [float(np.count_nonzero(part._seen > part._learning_rows)) for part in parts]  # noqa: SLF001 - its own kind
        scores = [part.state_score for part in parts]
        lower, upper = (np.concatenate([part._limits[side] for part in parts])[order] for side in (0, 1))  # noqa: SLF001 - the same
        return cls(
            value=value,
            outlook=all_of("_outlook"),
            limits=(lower, upper),
            in_units=in_units,
            seen=all_of("_seen"),
            learning_rows=rows("_learning_rows"),
            provisional_rows=rows("_provisional_rows"),
            state_score=float(np.average(scores, weights=ready)) if any(ready) else 0.0,
            courses=courses,
            **{name: all_of(name) for name in ("strength", "held", "anomalous", "accepted", "state", "errors")},
        )

    def bounds(self) -> Float64Array:
        """Expectation, lower and upper end of the normal range, float64[3, n_channels] in the channels' units.

        The range is where the forecast error is within its limits; while these are still being learned, it is the
        model's own band.
        """
        bounds = self._outlook.copy()
        known = self._seen > self._learning_rows
        for end, limit in zip(bounds[1:], self._limits, strict=True):
            np.add(bounds[0], limit, out=end, where=known)
        return self._in_units(bounds)

    def score(self) -> Float64Array:
        """``strength`` on a bounded scale, float64[n_channels] in 0..1."""
        return bounded_score(self.strength)

    def progress(self) -> Float64Array:
        """How much of the silent part of learning is done, float64[n_channels] in 0..1."""
        progress: Float64Array = np.minimum(self._seen / self._learning_rows, 1.0)
        return progress

    def provisional(self) -> BoolArray:
        """Whether a channel has learned too little yet to be sure, bool[n_channels]."""
        provisional: BoolArray = self._seen < self._provisional_rows
        return provisional


def bounded_score(strength: Float64Array) -> Float64Array:
    """Map error over limit, 0..∞, to 0..1 without losing its order; 1 becomes `SCORE_THRESHOLD`.

    A log-logistic curve: it stays low where errors are usual, and still tells 50 limits from 100.

    Examples
    --------
    >>> bounded_score(np.array([0.0, 0.25, 1.0, 2.0])).round(4).tolist()
    [0.0, 0.4374, 0.995, 0.9997]
    """
    odds = SCORE_THRESHOLD / (1.0 - SCORE_THRESHOLD)
    score: Float64Array = 1.0 - 1.0 / (1.0 + odds * np.minimum(strength, 1e3) ** 4)
    return score


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
    kind: Kind | Literal[""] = ""
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


class Received(msgspec.Struct, frozen=True):
    """A message from outside, as the broker delivered it.

    Parameters
    ----------
    retained
        The broker had kept it; it may be old.
    response_topic, correlation
        Where MQTT 5 asks for an answer, and what the answer has to carry; empty where it does not.
    """

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str = ""
    correlation: bytes = b""
