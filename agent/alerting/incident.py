"""An open incident, as stored on disk."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from agent.detection.verdict import Course  # noqa: TC001 - msgspec resolves the hint at run time
from agent.messages.alert import AnomalyKind, Contributor, Severity  # noqa: TC001 - msgspec resolves the hint at run time

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["CRITICAL_STRENGTH", "Incident"]

# Bounds of numbers read from disk: ticks fit int64, seconds fit Python's calendar (years 69 to 9892).
_LARGEST = 1 << 53
_Tick: TypeAlias = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=-6e10, le=2.5e11)]
_Strength: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0)]

#: Largest strength of a channel from which on an incident has this severity: ten thousand times and a hundred times
#: rarer than needed for an alert. Chosen by hand.
CRITICAL_STRENGTH = 100.0
_WARNING_STRENGTH = 10.0


class Incident(msgspec.Struct):
    """An open incident: its channels, and the state of each at its strongest.

    The fields are a file format: new ones need a default, and none may be renamed.

    Parameters
    ----------
    number
        Number of the incident since start, whether sent or not.
    threshold
        Score from which on a channel is anomalous.
    started_seq, opened_seq, last_message_seq
        Ticks of its first anomalous reading, of its opening, and of its last message.
    started
        Wall time of its first anomalous reading, seconds since 1970.
    stem
        Identifier shared by all its messages; empty until it is sent.
    worst
        By channel: largest strength in limits, and the channel's state at that time.
    onset
        By channel: tick of the first anomalous reading.
    kinds
        By channel: kind of the anomaly; empty if there were too few values.
    courses
        By channel: evidence by which the anomaly was noticed.
    revision
        By channel: tick at which the anomaly is classified again.
    left
        Channels that have left the incident while others keep it open. Their next anomaly opens another one.
    severity
        Present severity.
    messages
        Number of messages sent.
    pending
        Reason of an update that is due; empty if none.
    provisional
        Whether all channels are in the provisional phase.
    accepted
        Whether a channel's anomaly was accepted as the new normal.
    limit
        Whether a hard limit was reached.
    silenced
        Whether any of its channels has been silenced.
    acknowledged
        Whether a person has acknowledged it; no updates are sent any more.
    needed
        Lowest bar of the alert budget since it opened.
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
        """Sum over the channels of each one's largest strength."""
        return sum(strength for strength, _ in self.worst.values())

    @property
    def present(self) -> set[int]:
        """Channels that have not left the incident."""
        return self.worst.keys() - self.left

    def ranked(self) -> list[int]:
        """Channels, the strongest first."""
        return sorted(self.worst, key=lambda channel: -self.worst[channel][0])

    def present_severity(self) -> Severity:
        """Severity of the strongest channel; nothing that was learned for a day or less is critical."""
        strongest = max(strength for strength, _ in self.worst.values())
        if strongest >= CRITICAL_STRENGTH and (self.limit or not self.provisional):
            return "critical"
        return "warning" if strongest >= _WARNING_STRENGTH else "info"

    def is_sound(self) -> bool:
        """Whether the fields are complete and consistent; checked after reading from disk."""
        channels = self.worst.keys()
        complete = channels == self.onset.keys() == self.kinds.keys() and self.revision.keys() <= channels
        return bool(channels) and complete and self.left < channels

    def is_about(self, name: str) -> bool:
        """Whether a name is the identifier of this incident or of one of its messages."""
        return bool(self.stem) and (name == self.stem or name.startswith(f"{self.stem}."))
