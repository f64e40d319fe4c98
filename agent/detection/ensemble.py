"""The detection step: one frame in, one verdict out. Operation, replay and evaluation all run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import Part, State, below, number
from agent.detection.fitted import FittedDetector
from agent.detection.partitioned import LANES, PartitionedDetector
from agent.detection.relative_error import node_state
from agent.detection.universal import UniversalDetector
from agent.models.bundle import Bundle
from agent.models.interpreter_pool import InterpreterPool
from agent.models.manifest import FixedScaling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import BoolArray, IntArray
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.detection.detector import Detector
    from agent.detection.settings import AlertTimes, DetectionConfig
    from agent.detection.verdict import Verdict

__all__ = ["Ensemble"]


class EnsembleState(State):
    """Fields of an `Ensemble` that outlive a restart."""

    next_seq: int = number("number of the next frame if none is missed; -1 before the first", initial=-1)
    invalid_before: int = number("unusable readings before the last relearning of all channels", initial=0)


class Ensemble:
    """Runs one or several bundles side by side on a fixed set of channels.

    Of several bundles, a channel's strength is the largest of theirs, and its state the geometric mean weighted by
    `Detector.weight`. Expectations and limits are those of the last bundle, which is usually fitted to these channels.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    bundles
        The verified models.
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
        bundles: Bundle | Sequence[Bundle],
        detection: DetectionConfig,
        alerts: AlertTimes,
        interval_s: float,
        every: IntArray | None = None,
        among: int | None = None,
    ) -> None:
        #: Seconds between frames.
        self.interval_s = interval_s
        self._state = EnsembleState()
        self._bundles = [bundles] if isinstance(bundles, Bundle) else list(bundles)
        self._settings = (detection, alerts, interval_s)
        self._channels = list(channels)
        self._every = np.ones(len(channels), np.int64) if every is None else every
        self._among = among or len(channels)
        self._detectors = self._begin()

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("ensemble", self._state)
        for position, detector in enumerate(self._detectors):
            yield from below(f"detectors.{position}", detector)

    def _begin(self) -> list[Detector]:
        """Make detectors in their initial state."""
        return [
            _make_detector(self._channels, bundle, *self._settings, self._every, self._among)
            for bundle in self._bundles
        ]

    @property
    def invalid(self) -> int:
        """Readings so far that were present but unusable."""
        return self._state.invalid_before + self._detectors[0].invalid

    def replace(self, indices: IntArray, channels: Sequence[Channel]) -> None:
        """Assign indices of the frame, int64[m], to new channels and forget what was learned of the old ones."""
        for index, channel in zip(indices.tolist(), channels, strict=True):
            self._channels[index] = channel
        for detector in self._detectors:
            detector.replace(indices, channels)

    def relearn(self, which: BoolArray) -> None:
        """Forget what was learned of the chosen channels, bool[n_channels].

        Detectors of fitted bundles forget only if all channels are chosen.
        """
        if not which.all():
            indices = np.flatnonzero(which)
            self.replace(indices, [self._channels[index] for index in indices.tolist()])
            return
        self._state.invalid_before = self.invalid
        self._detectors = self._begin()

    def step(self, frame: Frame) -> Verdict:
        """See `Detector.step`; frames missed since the last one are skipped first."""
        if frame.seq > self._state.next_seq >= 0:
            for detector in self._detectors:
                detector.skip(frame.seq - self._state.next_seq)
        self._state.next_seq = frame.seq + 1
        verdicts = [detector.step(frame) for detector in self._detectors]
        return (
            verdicts[0] if len(verdicts) == 1 else _joined(verdicts, [detector.weight for detector in self._detectors])
        )


def _make_detector(
    channels: Sequence[Channel],
    bundle: Bundle,
    detection: DetectionConfig,
    alerts: AlertTimes,
    interval_s: float,
    every: IntArray,
    among: int,
) -> Detector:
    if isinstance(bundle.manifest.scaling, FixedScaling):
        return FittedDetector(channels, bundle, detection, alerts, interval_s)
    if len(channels) <= LANES and (every == 1).all():
        return UniversalDetector(channels, InterpreterPool(bundle), detection, alerts, interval_s, among=among)
    return PartitionedDetector(channels, InterpreterPool(bundle), detection, alerts, interval_s, every, among)


def _joined(verdicts: list[Verdict], weights: list[float]) -> Verdict:
    """Combine verdicts on the same channels, see `Ensemble`."""
    last = verdicts[-1]
    # 1e-3 keeps a state of 0 from making the geometric mean 0.
    state = np.exp(np.average([np.log(verdict.state + 1e-3) for verdict in verdicts], axis=0, weights=weights))
    strongest = np.argmax([verdict.peak for verdict in verdicts], axis=0)
    told = [np.full((5, state.size), np.nan) if verdict.told is None else verdict.told for verdict in verdicts]
    return last.replaced(
        told=np.choose(strongest, told),
        period_s=np.choose(strongest, [verdict.period_s for verdict in verdicts]),
        strength=np.maximum.reduce([verdict.strength for verdict in verdicts]),
        peak=np.maximum.reduce([verdict.peak for verdict in verdicts]),
        anomalous=np.logical_or.reduce([verdict.anomalous for verdict in verdicts]),
        accepted=np.logical_or.reduce([verdict.accepted for verdict in verdicts]),
        state=state,
        state_score=node_state(state),
    )
