"""Running normalisation of channels, and the inputs of the universal forecaster computed from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number
from agent.detection.running import learning_rate
from agent.detection.scaling import SQUASH_LIMIT, between
from agent.models.features import FEATURES, NORMALISATION_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray


__all__ = ["Normaliser"]

# Clipping of each feature, as a column; the networks were trained with it.
_FEATURE_LIMITS = np.array([[SQUASH_LIMIT], [SQUASH_LIMIT], [6.0]])


class NormaliserState(State):
    """Fields of a `Normaliser` that outlive a restart."""

    count: Float64Array = array("readings learned", CHANNEL)
    centre: Float64Array = array("channel's scale", CHANNEL)
    # Running means of the absolute deviation from the centre and of the absolute change.
    moments: Float64Array = array("channel's scale", 2, CHANNEL)
    last: Float64Array = array("channel's scale", CHANNEL)
    fewest: float = number("readings learned, the fewest of any channel", initial=0.0, after_reset=0.0)
    spread: Float64Array = array("channel's scale", CHANNEL)
    usual_change: Float64Array = array("channel's scale", CHANNEL)
    rate: Float64Array = array("weight of the newest reading", CHANNEL)


class Normaliser:
    """Exponentially weighted centre, absolute deviation and absolute change of every channel.

    The learning rate is ``max(1 / n, 1 / memory)``, n being the readings learned, see `learning_rate`.

    Parameters
    ----------
    n_channels
        Number of channels, or of series in training.
    floor
        float64[n_channels], smallest spread, on the channels' scales.
    memory
        Time constant of exponential forgetting, rows.

    Examples
    --------
    >>> normaliser = Normaliser(1, np.array([0.0]))
    >>> for value in (4.0, 6.0, 5.0):
    ...     features = normaliser.update(np.array([value]), np.array([True]))
    >>> float(normaliser.centre[0])
    5.0
    >>> features.shape
    (1, 3)
    """

    def __init__(self, n_channels: int, floor: Float64Array, memory: int = NORMALISATION_ROWS) -> None:
        self._floor = np.maximum(floor, 1e-9)
        self._slowest = 1.0 / memory
        self._state = NormaliserState(channel=n_channels)
        self._begin(np.arange(n_channels))

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray, floor: Float64Array) -> None:
        """Forget these channels, int64[m]; ``floor``, float64[m], is that of the channels that replace them."""
        self._state.reset(channels)
        self._floor[channels] = np.maximum(floor, 1e-9)
        self._begin(channels)

    def _begin(self, channels: IntArray) -> None:
        """Start these channels with the smallest spread."""
        self._state.spread[channels] = self._floor[channels]
        self._state.usual_change[channels] = self._floor[channels]

    @property
    def count(self) -> Float64Array:
        """Readings learned, float64[n_channels]."""
        return self._state.count

    @property
    def centre(self) -> Float64Array:
        """Running centre, float64[n_channels]."""
        return self._state.centre

    @property
    def spread(self) -> Float64Array:
        """Divisor of deviations: mean absolute deviation, or the floor if larger; float64[n_channels] > 0."""
        return self._state.spread

    @property
    def usual_change(self) -> Float64Array:
        """Divisor of changes: mean absolute change, or 5 % of the spread if larger; float64[n_channels] > 0."""
        return self._state.usual_change

    @property
    def rate(self) -> Float64Array:
        """Learning rate at the newest reading, float64[n_channels]; 0 where it was not learned."""
        return self._state.rate

    @property
    def deviation(self) -> Float64Array:
        """Mean absolute deviation from the centre, float64[n_channels]."""
        deviation: Float64Array = self._state.moments[0]
        return deviation

    @property
    def change(self) -> Float64Array:
        """Mean absolute change from one reading to the next, float64[n_channels]."""
        change: Float64Array = self._state.moments[1]
        return change

    def _measure_spread(self) -> Float64Array:
        """Mean absolute deviation, at least the floor and at least 1e-6 of the centre; float64[n_channels]."""
        state = self._state
        spread: Float64Array = np.maximum(np.maximum(np.abs(state.centre) * 1e-6, self._floor), state.moments[0])
        return spread

    def update(self, scaled: Float64Array, learn: BoolArray) -> Float32Array:
        """Learn a row and return the forecaster's inputs.

        Parameters
        ----------
        scaled
            float64[n_channels], readings on the channels' scales.
        learn
            bool[n_channels]; other channels keep their statistics and their last value.

        Returns
        -------
        features
            float32[n_channels, 3]: asinh of the normalised level and of the normalised change, log of spread over usual
            change (dispersion); see `FEATURES`.
        """
        state = self._state
        if not state.fewest:
            first = learn & (state.count == 0)
            state.last[first] = scaled[first]
        state.rate = rate = self._rate(learn)
        step = scaled - state.last
        if np.count_nonzero(learn) < learn.size:
            # Step and rate 0 leave the statistics of the other channels unchanged.
            step *= learn
        state.last += step
        state.centre += rate * (state.last - state.centre)
        level = state.last - state.centre
        sizes = np.empty_like(state.moments)
        np.abs(level, out=sizes[0])
        np.abs(step, out=sizes[1])
        sizes -= state.moments
        sizes *= rate
        state.moments += sizes
        state.spread = spread = self._measure_spread()
        state.usual_change = change = np.maximum(state.moments[1], 0.05 * spread)
        features = np.empty((len(FEATURES), level.size))
        np.divide(level, spread, out=features[0])
        np.divide(step, change, out=features[1])
        np.arcsinh(features[:2], out=features[:2])
        np.log(spread / change, out=features[2])
        return np.ascontiguousarray(between(features, -_FEATURE_LIMITS, _FEATURE_LIMITS).T, np.float32)

    def _rate(self, learn: BoolArray) -> Float64Array:
        """Count a row and return the learning rate, float64[n_channels]; 0 where it is not learned."""
        state = self._state
        if state.fewest * self._slowest >= 1.0:
            return np.multiply(self._slowest, learn, dtype=np.float64)
        state.count += learn
        state.fewest = float(state.count.min())
        rate: Float64Array = learning_rate(state.count, self._slowest) * learn
        return rate
