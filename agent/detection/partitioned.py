"""Runs a universal bundle on groups of channels: those of the same sampling interval, at most 256 a group.

The groups' expensive steps are spread over time, so that no tick has to do all the work.
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

#: Most channels of a group. Larger batches cost no less per channel.
LANES = 256


class _Group(NamedTuple):
    """Channels that are judged together.

    Parameters
    ----------
    indices
        int64[m], indices in the frame.
    every
        Frames between readings.
    """

    indices: IntArray
    every: int


class PartitionedDetectorState(State):
    """Fields of a `PartitionedDetector` that outlive a restart."""

    # Frame of each group's newest row; -1 before the first.
    newest: IntArray = array("number of a frame", "group", initial=-1, dtype=np.int64)


class PartitionedDetector(Detector):
    """Runs a `UniversalDetector` for each group of channels; the groups' blocks end at different rows.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    networks
        Networks of a universal bundle; all groups share the interpreters.
    detection, alerts
        Sections of the configuration.
    interval_s
        Seconds between frames; all times are rounded to it.
    every
        int64[n_channels], frames between readings of each channel; 1 for all by default.
    among
        Number of channels that share the alert budget; by default those given.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        networks: InterpreterPool,
        detection: DetectionConfig,
        alerts: AlertTimes,
        interval_s: float,
        every: IntArray | None = None,
        among: int | None = None,
    ) -> None:
        super().__init__(alerts, interval_s)
        every = np.ones(len(channels), np.int64) if every is None else every
        self._groups = _groups(every)
        # Index of each channel in the concatenation of the groups.
        self._order = np.argsort(np.concatenate([group.indices for group in self._groups]), kind="stable")
        self._state = PartitionedDetectorState(group=len(self._groups))
        self._detectors = []
        for number, group in enumerate(self._groups):
            step_s = interval_s * group.every
            # Rows between reconstructions, the most expensive step.
            cycle = max(1, round(detection.block_s / step_s)) * networks.manifest.autoencoder.stride
            detector = UniversalDetector(
                [channels[index] for index in group.indices.tolist()],
                networks,
                detection,
                alerts,
                step_s,
                phase=cycle * number // len(self._groups),
                sparing=every.size > LANES,
                among=among or every.size,
            )
            self._detectors.append(detector)

    @property
    def invalid(self) -> int:  # type: ignore[override]
        """Readings so far that were present but unusable."""
        return sum(detector.invalid for detector in self._detectors)

    def states(self) -> Iterator[Part]:
        """See `Detector.states`."""
        yield Part("", self._state)
        for number, detector in enumerate(self._detectors):
            yield from below(f"groups.{number}", detector)

    def step(self, frame: Frame) -> Verdict:
        """See `Detector.step`."""
        parts = [self._part(number, frame) for number in range(len(self._groups))]
        return Verdict.side_by_side(parts, self._order, frame.values, self._in_units)

    def _part(self, number: int, frame: Frame) -> Verdict:
        """Verdict of a group on a frame; `UniversalDetector.rest` if the group has no reading at this frame."""
        group, detector, newest = self._groups[number], self._detectors[number], int(self._state.newest[number])
        if frame.due is not None and not frame.due[group.indices[0]]:
            return detector.rest()
        if group.every > 1 and newest >= 0:
            missed = round((frame.seq - newest) / group.every) - 1
            if missed > 0:
                detector.skip(missed)
        self._state.newest[number] = frame.seq
        return detector.step(msgspec.structs.replace(frame, values=frame.values[group.indices], due=None))

    def replace(self, indices: IntArray, channels: Sequence[Channel]) -> None:
        """See `Detector.replace`."""
        for group, detector in zip(self._groups, self._detectors, strict=True):
            own = np.flatnonzero(np.isin(indices, group.indices))
            if own.size:
                detector.replace(
                    np.searchsorted(group.indices, indices[own]), [channels[index] for index in own.tolist()]
                )

    def skip(self, rows: int) -> None:
        """See `Detector.skip`; groups with a longer interval detect missed rows in `step`."""
        for group, detector in zip(self._groups, self._detectors, strict=True):
            if group.every == 1:
                detector.skip(rows)

    def _in_units(self, scaled: Float64Array) -> Float64Array:
        brought = np.empty_like(scaled)
        for group, detector in zip(self._groups, self._detectors, strict=True):
            brought[..., group.indices] = detector.in_units(scaled[..., group.indices])
        return brought


def _groups(every: IntArray) -> list[_Group]:
    """Group channels of the same interval, at most `LANES` per group, into groups of about the same size."""
    groups = []
    for pace in np.unique(every).tolist():
        those = np.flatnonzero(every == pace)
        groups += [_Group(part, pace) for part in np.array_split(those, -(-those.size // LANES))]
    return groups
