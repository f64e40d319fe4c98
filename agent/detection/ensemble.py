"""The step: one frame in, one verdict out. The live loop, replay and evaluation all run this and nothing else."""

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
    """Fields of a `Ensemble` that outlive a restart."""

    next_seq: int = number("frame that comes next unless some are missed; -1 before the first", initial=-1)
    invalid_before: int = number("readings that could not be used before all was learned anew", initial=0)


class Ensemble:
    """Watches a fixed set of channels with one bundle, or with several side by side.

    With several, a channel is as anomalous as the strongest of them says; its state is the geometric mean of theirs,
    by their `Detector.weight`, and expectations are those of the last, the one made for these channels.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    bundles
        The verified models.
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
        bundles: Bundle | Sequence[Bundle],
        detection: DetectionConfig,
        alerts: AlertTimes,
        interval_s: float,
        every: IntArray | None = None,
    ) -> None:
        #: Seconds between frames.
        self.interval_s = interval_s
        self._state = EnsembleState()
        self._bundles = [bundles] if isinstance(bundles, Bundle) else list(bundles)
        self._settings = (detection, alerts, interval_s)
        self._channels = list(channels)
        self._every = np.ones(len(channels), np.int64) if every is None else every
        self._watches = self._begin()

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("ensemble", self._state)
        for position, watch in enumerate(self._watches):
            yield from below(f"detectors.{position}", watch)

    def _begin(self) -> list[Detector]:
        """Watches that know nothing yet."""
        return [_watch(self._channels, bundle, *self._settings, self._every) for bundle in self._bundles]

    @property
    def invalid(self) -> int:
        """Readings that were there but could not be used, so far."""
        return self._state.invalid_before + self._watches[0].invalid

    def replace(self, places: IntArray, channels: Sequence[Channel]) -> None:
        """Give places in the frames, int64[m], to other channels, of which nothing is known yet."""
        for place, channel in zip(places.tolist(), channels, strict=True):
            self._channels[place] = channel
        for watch in self._watches:
            watch.replace(places, channels)

    def relearn(self, which: BoolArray) -> None:
        """Forget what was learned since the start of the chosen channels, bool[n_channels].

        What a bundle was trained for stays, unless all are chosen.
        """
        if not which.all():
            places = np.flatnonzero(which)
            self.replace(places, [self._channels[place] for place in places.tolist()])
            return
        self._state.invalid_before = self.invalid
        self._watches = self._begin()

    def step(self, frame: Frame) -> Verdict:
        """Judge a frame by what was learned before it, then learn from it."""
        if frame.seq > self._state.next_seq >= 0:
            for watch in self._watches:
                watch.skip(frame.seq - self._state.next_seq)
        self._state.next_seq = frame.seq + 1
        verdicts = [watch.step(frame) for watch in self._watches]
        return verdicts[0] if len(verdicts) == 1 else _joined(verdicts, [watch.weight for watch in self._watches])


def _watch(
    channels: Sequence[Channel],
    bundle: Bundle,
    detection: DetectionConfig,
    alerts: AlertTimes,
    interval_s: float,
    every: IntArray,
) -> Detector:
    if isinstance(bundle.manifest.scaling, FixedScaling):
        return FittedDetector(channels, bundle, detection, alerts, interval_s)
    if len(channels) <= LANES and (every == 1).all():
        return UniversalDetector(channels, InterpreterPool(bundle), detection, alerts, interval_s)
    return PartitionedDetector(channels, InterpreterPool(bundle), detection, alerts, interval_s, every)


def _joined(verdicts: list[Verdict], weights: list[float]) -> Verdict:
    """One verdict of several."""
    last = verdicts[-1]
    state = np.exp(np.average([np.log(verdict.state + 1e-3) for verdict in verdicts], axis=0, weights=weights))
    return last.replaced(
        strength=np.maximum.reduce([verdict.strength for verdict in verdicts]),
        peak=np.maximum.reduce([verdict.peak for verdict in verdicts]),
        anomalous=np.logical_or.reduce([verdict.anomalous for verdict in verdicts]),
        accepted=np.logical_or.reduce([verdict.accepted for verdict in verdicts]),
        state=state,
        state_score=node_state(state),
    )
