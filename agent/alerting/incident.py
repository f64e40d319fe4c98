"""An open incident and the state of all of them, as they are kept on disk."""

from __future__ import annotations

import math
from typing import (
    TYPE_CHECKING,
    Annotated,
    Literal,
)

import msgspec

from agent.detection.verdict import Course  # noqa: TC001 - msgspec resolves the hint at run time
from agent.messages.alert import AnomalyKind, Contributor, Severity  # noqa: TC001 - msgspec resolves the hint at run time

if TYPE_CHECKING:
    from typing import TypeAlias


__all__ = ["Incident"]

# What numbers can be in a state that is read back: ticks fit int64 and seconds a calendar.
_LARGEST = 1 << 53
_Tick: TypeAlias = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=-6e10, le=2.5e11)]
_Strength: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0)]


class Incident(msgspec.Struct):
    """An incident that is not over: its channels and how each looked at its worst."""

    number: _Tick
    threshold: float
    started_seq: _Tick
    opened_seq: _Tick
    started: _Seconds
    last_message_seq: _Tick
    # Given when it is sent; until then it is held back.
    stem: str = ""
    worst: dict[int, tuple[_Strength, Contributor]] = {}
    # Of each channel: tick of its onset, what it looks like, and the tick at which that is looked at again.
    onset: dict[int, _Tick] = {}
    kinds: dict[int, AnomalyKind | Literal[""]] = {}
    courses: dict[int, Course] = {}
    revision: dict[int, _Tick] = {}
    # Channels that are over while others are not: what comes of them next is another incident.
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

    def ranked(self) -> list[int]:
        """Channels, the strongest first."""
        return sorted(self.worst, key=lambda channel: -self.worst[channel][0])

    def is_sound(self) -> bool:
        """Whether all is there that a message needs."""
        channels = self.worst.keys()
        told = channels == self.onset.keys() == self.kinds.keys() and self.revision.keys() <= channels
        return bool(channels) and told and self.left < channels
