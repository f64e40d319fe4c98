"""The step: one frame in, one verdict out. The live loop, replay and evaluation all run this and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agent.detector import Detector
from agent.threshold import make_threshold
from agent.types import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.bundle import Bundle
    from agent.config import AlertsConfig, DetectionConfig
    from agent.types import BoolArray, Channel, Float64Array, Frame

__all__ = ["SCORE_THRESHOLD", "Monitor", "bounded_score"]

#: The score at which an error is at its limit.
SCORE_THRESHOLD = 0.995
# Fewer readings than this tell nothing about a range.
_MIN_LEARNING_ROWS = 100
# The autoencoder looks at a channel only now and then; its range needs this many looks.
_MIN_RECONSTRUCTIONS = 12
# Its finding fades by this factor a row until it looks again, so that one look is not an anomaly of many rows.
_FADING = 0.8
# Residuals are held against their mean over about this many rows.
_RESIDUAL_ROWS = 1500
_RESIDUAL_CLIP = 5.0


def bounded_score(strength: Float64Array) -> Float64Array:
    """Map error over limit, 0..∞, to 0..1 without losing its order; 1 becomes `SCORE_THRESHOLD`.

    A log-logistic curve: it stays low where errors are usual, and still tells 50 limits from 100.

    Examples
    --------
    >>> bounded_score(np.array([0.0, 0.25, 1.0, 2.0])).round(4).tolist()
    [0.0, 0.4374, 0.995, 0.9997]
    """
    odds = SCORE_THRESHOLD / (1.0 - SCORE_THRESHOLD)
    return np.subtract(1.0, 1.0 / (1.0 + odds * np.minimum(strength, 1e3) ** 4))


class Monitor:
    """Detector, thresholds and the rules of learning, for a fixed set of channels.

    Learning is held back for a channel while it is anomalous: its normalisation, its network state and its limits stay
    as they were, so that the expectation remains what would be normal. The first anomalous row of an excursion still
    widens the limits by half, so that what recurs becomes usual; and what lasts longer than ``accept_after_s`` is taken
    as the new normal.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    bundle
        The verified models.
    detection, alerts
        The config's sections.
    interval_s
        Seconds between frames, to which all times are rounded.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        bundle: Bundle,
        detection: DetectionConfig,
        alerts: AlertsConfig,
        interval_s: float,
    ) -> None:
        n = len(channels)
        self.channels = tuple(channels)
        self.detector = Detector(channels, bundle)
        effect = self.detector.scale.effect
        self._threshold = make_threshold(
            detection.threshold, np.concatenate((effect, effect)), max(detection.memory_s / interval_s, 2.0)
        )
        self._learning_rows = max(_MIN_LEARNING_ROWS, math.ceil(alerts.learning_s / interval_s))
        self._provisional_rows = alerts.provisional_s / interval_s
        self._accept_rows = max(detection.accept_after_s / interval_s, 2.0)
        self._seen = np.zeros(n)
        self._anomalous = np.zeros(n, bool)
        self._excursion = np.zeros(n)
        self._reconstruction_strength = np.zeros(n)
        self._usual_residual = np.zeros(n)

    def step(self, frame: Frame) -> Verdict:
        """Judge a frame by what was learned before it, then learn from it."""
        n = self._seen.size
        scores = self.detector.score(frame.values)
        valid = self.detector.valid
        self._seen += valid
        errors = np.concatenate((scores.forecast_error, scores.reconstruction_error))
        lower, upper = self._threshold.limits()
        ready = self._seen > self._learning_rows
        strength = self._strength(errors, lower, upper) * ready
        strength[~valid] = 0.0

        anomalous = strength >= 1.0
        self._excursion = np.maximum(self._excursion + np.where(anomalous, 1.0, -1.0) * valid, 0.0)
        accepted = self._excursion >= self._accept_rows
        if accepted.any():
            self.detector.restart(accepted)
            self._excursion[accepted] = 0.0
            strength[accepted] = 0.0
            anomalous &= ~accepted

        # Readings at which the forecast reaches its limits; the model's own band while these are not known.
        low, high = self.detector.limits_in_units(lower[:n], upper[:n])
        low = np.where(ready, low, scores.band_lower)
        high = np.where(ready, high, scores.band_upper)
        state_score = self._state_score(scores.forecast_error, ready & valid)

        self._learn(errors, anomalous, accepted)
        return Verdict(
            value=frame.values,
            expected=scores.expected,
            lower=low,
            upper=high,
            strength=strength,
            score=bounded_score(strength),
            threshold=SCORE_THRESHOLD,
            anomalous=anomalous,
            progress=np.minimum(self._seen / self._learning_rows, 1.0),
            provisional=self._seen < self._provisional_rows,
            accepted=accepted,
            state_score=state_score,
        )

    def _strength(self, errors: Float64Array, lower: Float64Array, upper: Float64Array) -> Float64Array:
        """Error over limit, the larger of both heads; float64[n_channels]."""
        n = self._seen.size
        ratio = np.where(errors >= 0.0, errors / upper, errors / lower)
        looked = ~np.isnan(ratio[n:]) & (self._threshold.count[n:] >= _MIN_RECONSTRUCTIONS)
        self._reconstruction_strength *= _FADING
        np.copyto(self._reconstruction_strength, ratio[n:], where=looked)
        strength: Float64Array = np.maximum(np.nan_to_num(ratio[:n]), self._reconstruction_strength)
        return strength

    def _state_score(self, forecast_error: Float64Array, which: BoolArray) -> float:
        """Residual over its usual size, root mean square over channels, brought to 0..1."""
        size = np.abs(np.nan_to_num(forecast_error))
        floor = 0.1 * self.detector.scale.effect + 1e-9
        relative = size / (self._usual_residual + floor)
        rate = np.maximum(1.0 / np.maximum(self._seen, 1.0), 1.0 / _RESIDUAL_ROWS) * self.detector.valid
        clipped = np.where(self._seen > 1.0, np.minimum(size, _RESIDUAL_CLIP * (self._usual_residual + floor)), size)
        self._usual_residual += rate * (clipped - self._usual_residual)
        watching = int(np.count_nonzero(which))
        if not watching:
            return 0.0
        mean_square = float(np.dot(relative * which, relative)) / watching
        return math.sqrt(mean_square) / (math.sqrt(mean_square) + _RESIDUAL_CLIP)

    def _learn(self, errors: Float64Array, anomalous: BoolArray, accepted: BoolArray) -> None:
        held = anomalous | accepted
        onset = anomalous & ~self._anomalous
        lanes = np.isfinite(errors) & np.tile(~held | onset, 2)
        self._threshold.learn(errors, lanes)
        self.detector.learn(~held)
        self._anomalous = anomalous
