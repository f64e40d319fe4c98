"""What all ways of watching channels share: they judge a frame by what was learned before it, then learn from it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import IntArray
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.core.persistent_state import Part
    from agent.detection.settings import AlertTimes
    from agent.detection.verdict import Verdict

__all__ = ["Detector"]

# Fewer readings than this tell nothing about a range.
_MIN_LEARNING_ROWS = 100


class Detector(ABC):
    """One bundle at work on a fixed number of channels.

    Parameters
    ----------
    alerts
        The config's section.
    interval_s
        Seconds between frames.
    """

    #: How much what it says of the state counts beside others that watch the same channels.
    weight: ClassVar[float] = 4.0
    #: Readings that were there but could not be used, so far.
    invalid: int

    def __init__(self, alerts: AlertTimes, interval_s: float) -> None:
        self._learning_rows = max(_MIN_LEARNING_ROWS, math.ceil(alerts.learning_s / interval_s))
        self._provisional_rows = alerts.provisional_s / interval_s

    @abstractmethod
    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""

    def skip(self, rows: int) -> None:
        """Go on so many rows later; nothing was read in between."""
        del rows

    def replace(self, places: IntArray, channels: Sequence[Channel]) -> None:
        """Know nothing yet of these places, int64[m], which are these channels' now; what was trained offline stays."""
        del places, channels

    @abstractmethod
    def step(self, frame: Frame) -> Verdict:
        """Judge a frame by what was learned before it, then learn from it."""
