"""Detector for the channels that a bundle was fitted to, with thresholds that start from training errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, number
from agent.detection.alarm_bar import MEMORY_S, AlarmBar, cluster_gap
from agent.detection.detector import Detector
from agent.detection.fitted_networks import FittedNetworks
from agent.detection.relative_error import node_state
from agent.detection.return_level import ReturnLevels
from agent.detection.thresholds.registry import make_threshold
from agent.detection.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import BoolArray, Float64Array
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.detection.settings import AlertTimes, DetectionConfig
    from agent.models.bundle import Bundle
    from agent.models.manifest import Start

__all__ = ["FittedDetector"]

# All constants of this file are chosen by hand.
# Reconstructions before their limits are used; they come only every `stride` rows.
_MIN_RECONSTRUCTIONS = 12
# Largest strength of a reconstruction error that the next reconstruction has not confirmed yet, in limits.
_UNCONFIRMED = 0.99
# Smallest strength in the statistic of rarity, in limits.
_LEAST_STRENGTH = 0.05
# Training errors per lane that the thresholds learn at most before the first reading.
_START_ROWS = 512


class FittedDetectorState(State):
    """Fields of a `FittedDetector` that outlive a restart."""

    seen: Float64Array = array("readings", CHANNEL)
    anomalous: BoolArray = array("flag", CHANNEL, dtype=bool)
    excursion: Float64Array = array("rows", CHANNEL)
    # Whether any channel is on an excursion, and whether any has too few reconstructions to be judged by them.
    excursions: bool = number("flag", initial=False)
    few_looks: bool = number("flag", initial=True)
    # Newest reconstruction error over its limit, and the smaller of the newest two.
    last_look: Float64Array = array("limits", CHANNEL)
    reconstruction_strength: Float64Array = array("limits", CHANNEL)
    # First reconstruction error of an excursion confirmed by the autoencoder; NaN otherwise.
    onset: Float64Array = array("spreads", CHANNEL, initial=np.nan)


class FittedDetector(Detector):
    """Runs a bundle that `training fit` made for these channels.

    While a channel is anomalous, its limits do not learn, except from the first anomalous row, so that recurring
    behaviour becomes normal. The excursion ends with the first reading within limits, or after ``accept_after_s``, when
    it is accepted as the new normal.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    bundle
        The verified bundle.
    detection, alerts
        Sections of the configuration.
    interval_s
        Seconds between frames; all times are rounded to it.
    """

    weight: ClassVar[float] = 1.0

    def __init__(
        self,
        channels: Sequence[Channel],
        bundle: Bundle,
        detection: DetectionConfig,
        alerts: AlertTimes,
        interval_s: float,
    ) -> None:
        super().__init__(alerts, interval_s)
        n = len(channels)
        self._n = n
        self._sensitivity = np.array([channel.sensitivity for channel in channels])
        self.detector = FittedNetworks(channels, bundle, interval_s)
        effect = self.detector.scale.effect
        self._threshold = make_threshold(
            detection.threshold, np.concatenate((effect, effect)), max(detection.memory_s / interval_s, 2.0)
        )
        between_s = np.full(n, interval_s)
        self._tails = ReturnLevels(between_s, MEMORY_S, cluster_gap(between_s))
        self._bar, self._interval_s = AlarmBar(alerts.budget_per_day, n, interval_s), interval_s
        self._accept_rows = max(detection.accept_after_s / interval_s, 2.0)
        self._state = FittedDetectorState(channel=n)
        self._none = np.zeros(n, bool)
        self._all = np.ones(n, bool)
        if bundle.manifest.start is not None:
            names = list(bundle.manifest.channels)
            self._start_from(bundle.manifest.start, [names.index(channel.name) for channel in channels])

    @property
    def invalid(self) -> int:  # type: ignore[override] # a property here
        """Readings so far that were present but unusable."""
        return self.detector.invalid

    def states(self) -> Iterator[Part]:
        """See `Detector.states`."""
        yield Part("", self._state)
        yield from below("networks", self.detector)
        yield from below("threshold", self._threshold)
        yield from below("tails", self._tails, added=True)

    def step(self, frame: Frame) -> Verdict:
        """See `Detector.step`."""
        kept = self._state
        n = self._n
        scores = self.detector.score(frame)
        valid = self.detector.valid
        kept.seen = kept.seen + valid
        errors = scores.errors.reshape(-1)  # lanes: forecast errors of all channels, then reconstruction errors
        lower, upper = self._threshold.limits()
        ready = kept.seen > self._learning_rows
        strength = self._strength(errors, lower, upper) * (ready & valid) * self._sensitivity

        anomalous = strength >= 1.0
        accepted = self._none
        if kept.excursions or np.count_nonzero(anomalous):
            accepted = self._accept(anomalous, valid)
            if accepted.any():
                strength[accepted] = kept.last_look[accepted] = kept.reconstruction_strength[accepted] = 0.0
                anomalous = anomalous & ~accepted

        # Strength beyond the limits says that a row is anomalous; rarity, whether that is worth an alert.
        statistic = np.log(np.maximum(strength, _LEAST_STRENGTH))
        period_s = self._tails.period_s(statistic)
        rarity = self._bar.strength(period_s, kept.seen * self._interval_s)
        # Limits are known from the training, tails from the first rows on this device.
        peak = np.where(self._tails.known, rarity, strength) * anomalous
        self._tails.learn(statistic, ready & valid)
        state = self.detector.relative_residual() * ready
        verdict = Verdict(
            value=frame.values,
            outlook=scores.outlook,
            limits=(lower[:n], upper[:n]),
            in_units=self.detector.in_units,
            strength=strength,
            peak=peak,
            period_s=period_s,
            anomalous=anomalous,
            accepted=accepted,
            seen=kept.seen,
            learning_rows=self._learning_rows,
            provisional_rows=self._provisional_rows,
            state=state,
            state_score=node_state(state[ready]),
            errors=scores.errors,
        )
        self._learn(errors, anomalous, accepted)
        return verdict

    def _start_from(self, start: Start, order: list[int]) -> None:
        """Let the thresholds learn the errors on held-back training data, as if they had occurred here."""
        table = np.concatenate((np.array(start.forecast_error)[order], np.array(start.reconstruction_error)[order]))
        everywhere = np.ones(len(table), bool)
        # Outermost quantiles first: a later, larger error would be learned as an outlier.
        outermost = np.argsort(-np.abs(np.array(start.levels) - 0.5), kind="stable")
        for _ in range(max(1, min(start.rows, _START_ROWS) // len(outermost))):
            for column in outermost:
                self._threshold.learn(table[:, column], everywhere)
        self._state.seen += start.rows

    def _strength(self, errors: Float64Array, lower: Float64Array, upper: Float64Array) -> Float64Array:
        """Error over limit, the larger of forecast and reconstruction; float64[n_channels] ≥ 0."""
        state = self._state
        n = self._n
        # The quotient with the limit on the error's own side is positive, the other negative. fmax drops NaN.
        ratio = np.fmax(np.maximum(errors / upper, errors / lower), 0.0)
        judged = np.isfinite(errors[n:])
        if state.few_looks:
            enough = self._threshold.count[n:] >= _MIN_RECONSTRUCTIONS
            judged &= enough
            state.few_looks = not enough.all()
        if np.count_nonzero(judged):
            # Two consecutive reconstructions must agree; one alone may be due to a single odd reading.
            both = np.minimum(ratio[n:], state.last_look)
            np.copyto(state.reconstruction_strength, both, where=judged)
            np.copyto(state.last_look, ratio[n:], where=judged)
        # An unconfirmed error counts at most as nearly at the limit.
        unconfirmed = np.minimum(state.last_look, _UNCONFIRMED)
        strength: Float64Array = np.maximum(np.maximum(ratio[:n], state.reconstruction_strength), unconfirmed)
        return strength

    def _accept(self, anomalous: BoolArray, valid: BoolArray) -> BoolArray:
        """Channels anomalous for ``accept_after_s``, whose centre moves to their recent rows; bool[n_channels]."""
        state = self._state
        state.excursion = np.maximum(state.excursion + np.where(anomalous, 1.0, -1.0) * valid, 0.0)
        accepted = state.excursion >= self._accept_rows
        if accepted.any():
            self.detector.restart(accepted)
            state.excursion[accepted] = 0.0
        state.excursions = bool(state.excursion.any())
        return accepted

    def _learn(self, errors: Float64Array, anomalous: BoolArray, accepted: BoolArray) -> None:
        lanes = np.isfinite(errors)
        allowed = self._all
        if np.count_nonzero(anomalous) or accepted is not self._none:
            allowed = ~(anomalous | accepted)
            lanes &= np.tile(allowed | (anomalous & ~self._state.anomalous), 2)
        self._defer(errors, lanes, anomalous)
        self._threshold.learn(errors, lanes)
        self.detector.learn(allowed)
        self._state.anomalous = anomalous

    def _defer(self, errors: Float64Array, lanes: BoolArray, anomalous: BoolArray) -> None:
        """Defer learning of reconstruction errors beyond their limits until the excursion has ended.

        The limits come from training. An error beyond them is not learned at once. If the next reconstruction confirms
        it, its first error is learned when the excursion has ended.
        """
        state = self._state
        n = self._n
        lanes[n:] &= state.last_look < 1.0
        began = anomalous & ~state.anomalous
        np.copyto(state.onset, errors[n:], where=began & (state.reconstruction_strength >= 1.0))
        ended = state.anomalous & ~anomalous & np.isfinite(state.onset)
        if ended.any():
            onset = np.concatenate((np.zeros(n), np.nan_to_num(state.onset)))
            self._threshold.learn(onset, np.concatenate((self._none, ended)))
            state.onset[ended] = np.nan
