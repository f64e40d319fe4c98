"""Channels watched in groups: of those that are read at the same pace, and of thousands so many at a time.

Turns of the groups are spread over time, so that no tick bears all of the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec.structs
import numpy as np

from agent.core.persistent_state import Part, State, array, below
from agent.detection.detector import Detector
from agent.detection.universal import UniversalDetector
from agent.detection.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import Float64Array, IntArray
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.detection.settings import AlertTimes, DetectionConfig
    from agent.models.interpreter_pool import InterpreterPool

__all__ = ["LANES", "PartitionedDetector"]

#: Most channels that are watched together: more in a batch cost no less each.
LANES = 256


class _Group(NamedTuple):
    """Channels that are watched together.

    Parameters
    ----------
    places
        int64[m], in the frames.
    every
        Frames between their turns.
    """

    places: IntArray
    every: int


class PartitionedDetectorState(State):
    """Fields of a `PartitionedDetector` that outlive a restart."""

    # The frame that the newest row of each group was; -1 before the first.
    newest: IntArray = array("frames", "group", initial=-1, dtype=np.int64)


class PartitionedDetector(Detector):
    """Watches channels as `UniversalDetector` does, group by group; the groups' blocks end at different rows.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    networks
        Of a universal bundle; all groups run in the same interpreters.
    detection, alerts
        The config's sections.
    interval_s
        Seconds between frames, to which all times are rounded.
    every
        int64[n_channels], frames between the turns of each channel; 1 for all by default.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        networks: InterpreterPool,
        detection: DetectionConfig,
        alerts: AlertTimes,
        interval_s: float,
        every: IntArray | None = None,
    ) -> None:
        super().__init__(alerts, interval_s)
        every = np.ones(len(channels), np.int64) if every is None else every
        self._groups = _groups(every)
        # Where in the groups, one behind the other, each channel is.
        self._order = np.argsort(np.concatenate([group.places for group in self._groups]), kind="stable")
        self._state = PartitionedDetectorState(group=len(self._groups))
        self._watches = []
        for number, group in enumerate(self._groups):
            step_s = interval_s * group.every
            # The largest piece of work comes once in so many rows.
            cycle = max(1, round(detection.block_s / step_s)) * networks.manifest.autoencoder.stride
            watch = UniversalDetector(
                [channels[place] for place in group.places.tolist()],
                networks,
                detection,
                alerts,
                step_s,
                phase=cycle * number // len(self._groups),
                sparing=every.size > LANES,
            )
            self._watches.append(watch)

    @property
    def invalid(self) -> int:  # type: ignore[override]
        """Readings that were there but could not be used, so far."""
        return sum(watch.invalid for watch in self._watches)

    def states(self) -> Iterator[Part]:
        """See `Detector.states`."""
        yield Part("", self._state)
        for number, watch in enumerate(self._watches):
            yield from below(f"groups.{number}", watch)

    def step(self, frame: Frame) -> Verdict:
        """See `Detector.step`."""
        parts = [self._part(number, frame) for number in range(len(self._groups))]
        return Verdict.side_by_side(parts, self._order, frame.values, self._in_units)

    def _part(self, number: int, frame: Frame) -> Verdict:
        """What a group says of a frame, or at rest between its turns."""
        group, watch, newest = self._groups[number], self._watches[number], int(self._state.newest[number])
        if frame.due is not None and not frame.due[group.places[0]]:
            return watch.rest()
        if group.every > 1 and newest >= 0:
            missed = round((frame.seq - newest) / group.every) - 1
            if missed > 0:
                watch.skip(missed)
        self._state.newest[number] = frame.seq
        return watch.step(msgspec.structs.replace(frame, values=frame.values[group.places], due=None))

    def replace(self, places: IntArray, channels: Sequence[Channel]) -> None:
        """See `Detector.replace`."""
        for group, watch in zip(self._groups, self._watches, strict=True):
            own = np.flatnonzero(np.isin(places, group.places))
            if own.size:
                watch.replace(np.searchsorted(group.places, places[own]), [channels[index] for index in own.tolist()])

    def skip(self, rows: int) -> None:
        """See `Detector.skip`; a group that has turns sees by itself which it missed."""
        for group, watch in zip(self._groups, self._watches, strict=True):
            if group.every == 1:
                watch.skip(rows)

    def _in_units(self, scaled: Float64Array) -> Float64Array:
        brought = np.empty_like(scaled)
        for group, watch in zip(self._groups, self._watches, strict=True):
            brought[..., group.places] = watch.in_units(scaled[..., group.places])
        return brought


def _groups(every: IntArray) -> list[_Group]:
    """Channels of the same pace, at most `LANES` a group, in groups of about the same size."""
    groups = []
    for pace in np.unique(every).tolist():
        those = np.flatnonzero(every == pace)
        groups += [_Group(part, pace) for part in np.array_split(those, -(-those.size // LANES))]
    return groups
