"""Base class of detectors, which judge each frame by the frames before it and then learn from it."""

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

# Fewest readings of the learning phase, however short `learning_s` is. Chosen by hand.
_MIN_LEARNING_ROWS = 100


class Detector(ABC):
    """Runs one bundle on a fixed number of channels.

    Parameters
    ----------
    alerts
        Times of the section ``alerts``.
    interval_s
        Seconds between frames.
    """

    #: Weight of the state score beside other detectors of the same channels: 4 for universal bundles, 1 for fitted
    #: ones. Chosen by hand.
    weight: ClassVar[float] = 4.0
    #: Readings so far that were present but unusable.
    invalid: int

    def __init__(self, alerts: AlertTimes, interval_s: float) -> None:
        self._learning_rows = max(_MIN_LEARNING_ROWS, math.ceil(alerts.learning_s / interval_s))
        self._provisional_rows = alerts.provisional_s / interval_s

    @abstractmethod
    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""

    def skip(self, rows: int) -> None:
        """Advance by so many missed rows."""
        del rows

    def replace(self, indices: IntArray, channels: Sequence[Channel]) -> None:
        """Assign these indices of the frame, int64[m], to new channels and forget what was learned of the old ones.

        Fitted bundles stay as they are.
        """
        del indices, channels

    @abstractmethod
    def step(self, frame: Frame) -> Verdict:
        """Judge a frame by what was learned before it, then learn from it."""
