"""An incident that is not over, as it is kept on disk."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from agent.detection.verdict import Course  # noqa: TC001 - msgspec resolves the hint at run time
from agent.messages.alert import AnomalyKind, Contributor, Severity  # noqa: TC001 - msgspec resolves the hint at run time

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Incident"]

# Bounds of numbers that are read back from disk: ticks fit int64, and seconds fit a calendar.
_LARGEST = 1 << 53
_Tick: TypeAlias = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=-6e10, le=2.5e11)]
_Strength: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0)]

# Largest channel strength, in limits, from which an incident is of this severity.
_CRITICAL_STRENGTH = 4.0
_WARNING_STRENGTH = 1.5


class Incident(msgspec.Struct):
    """An incident that is not over: its channels, and how each looked at its worst.

    Its fields are a file format: a new one needs a default, and none may be renamed.

    Parameters
    ----------
    number
        Number of the incident since start, sent or not.
    threshold
        Score from which a channel is anomalous.
    started_seq, opened_seq, last_message_seq
        Ticks of its first anomalous reading, of its opening, and of its last message.
    started
        Wall time of its first anomalous reading, seconds since 1970.
    stem
        Identifier that all its messages share; empty while it has not been sent.
    worst
        By channel: the largest strength, and the channel's values then.
    onset
        By channel: tick of the first anomalous reading.
    kinds
        By channel: the kind of anomaly; empty where there is too little to tell.
    courses
        By channel: how the anomaly was noticed.
    revision
        By channel: tick at which the kind is judged again.
    left
        Channels that are over while others are not. Their next anomaly is another incident.
    severity
        The present one.
    messages
        Number of messages sent.
    pending
        Reason of an update that is due.
    provisional
        All channels have been learned for less than ``provisional_s``.
    accepted
        A channel's new level has been accepted as normal.
    limit
        A hard limit was reached.
    silenced
        Channels were silenced at some time.
    acknowledged
        A person knows: no more updates.
    needed
        The lowest strength that the alert budget would have let pass so far.
    """

    number: _Tick
    threshold: float
    started_seq: _Tick
    opened_seq: _Tick
    started: _Seconds
    last_message_seq: _Tick
    stem: str = ""
    worst: dict[int, tuple[_Strength, Contributor]] = {}
    onset: dict[int, _Tick] = {}
    kinds: dict[int, AnomalyKind | Literal[""]] = {}
    courses: dict[int, Course] = {}
    revision: dict[int, _Tick] = {}
    left: set[int] = set()
    severity: Severity = "info"
    messages: int = 0
    pending: str = ""
    provisional: bool = True
    accepted: bool = False
    limit: bool = False
    silenced: bool = False
    acknowledged: bool = False
    needed: float = math.inf

    @property
    def strength(self) -> float:
        """Sum over the channels of each one at its worst."""
        return sum(strength for strength, _ in self.worst.values())

    @property
    def present(self) -> set[int]:
        """Channels that are not over."""
        return self.worst.keys() - self.left

    def ranked(self) -> list[int]:
        """Channels, the strongest first."""
        return sorted(self.worst, key=lambda channel: -self.worst[channel][0])

    def present_severity(self) -> Severity:
        """Severity by the strongest channel."""
        strongest = max(strength for strength, _ in self.worst.values())
        if strongest >= _CRITICAL_STRENGTH:
            return "critical"
        return "warning" if strongest >= _WARNING_STRENGTH else "info"

    def is_sound(self) -> bool:
        """Whether all is there that a message needs."""
        channels = self.worst.keys()
        complete = channels == self.onset.keys() == self.kinds.keys() and self.revision.keys() <= channels
        return bool(channels) and complete and self.left < channels

    def is_about(self, name: str) -> bool:
        """Whether a name is that of this incident or of one of its messages."""
        return bool(self.stem) and (name == self.stem or name.startswith(f"{self.stem}."))
