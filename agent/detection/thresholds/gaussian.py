"""Thresholds for normally distributed errors: k standard deviations, and anomaly likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below
from agent.detection.running import learning_rate
from agent.detection.thresholds.base import TINY, StrengthByRatio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.detection.thresholds.base import Memory


__all__ = ["Likelihood", "MeanStd"]


class MeanStdState(State):
    """Fields of a `MeanStd` that outlive a restart."""

    count: Float64Array = array("errors learned", CHANNEL)
    mean: Float64Array = array("unit of the errors", CHANNEL)
    variance: Float64Array = array("unit of the errors, squared", CHANNEL)


class MeanStd(StrengthByRatio):
    """Mean ± k standard deviations, exponentially weighted (West 1979).

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    k
        Standard deviations from the mean to each limit.

    Examples
    --------
    >>> threshold = MeanStd(np.zeros(1), memory=1e6, k=3.0)
    >>> for error in (-1.0, 1.0) * 200:
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> threshold.limits()[1].round(2)
    array([3.])
    """

    def __init__(self, effect: Float64Array, memory: Memory, *, k: float) -> None:
        self._effect = np.maximum(effect, TINY)
        self._slowest = 1.0 / memory
        self._k = k
        self._state = MeanStdState(channel=effect.size)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._state.reset(lanes)
        self._effect[lanes] = np.maximum(effect, TINY)

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._state.count

    @property
    def mean(self) -> Float64Array:
        """Running mean of the errors, float64[n_lanes]."""
        return self._state.mean

    def spread(self) -> Float64Array:
        """Distance of the limits from the mean: k standard deviations, float64[n_lanes]."""
        spread: Float64Array = self._k * np.sqrt(self._state.variance)
        return spread

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""
        state = self._state
        spread = self.spread()
        return (
            np.minimum(state.mean - spread, -self._effect),
            np.maximum(state.mean + spread, self._effect),
        )

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        state = self._state
        state.count += which
        rate = which * learning_rate(state.count, self._slowest)
        step = np.where(which, error, state.mean) - state.mean
        state.mean += rate * step
        state.variance = (1.0 - rate) * (state.variance + rate * step * step)


class LikelihoodState(State):
    """Fields of a `Likelihood` that outlive a restart."""

    short: Float64Array = array("unit of the errors", CHANNEL)


class Likelihood(StrengthByRatio):
    """Anomaly likelihood: the short-term mean of the errors compared with its usual distribution (Lavin & Ahmad 2015).

    The usual distribution is normal, with the short-term mean's own mean and variance over the memory. An error is
    anomalous if it would move the short-term mean into a tail of probability ε; after several moderate errors a smaller
    one suffices. All means are exponentially weighted.

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    epsilon
        Probability of each tail.
    short_rows
        Errors in the short-term mean.

    Examples
    --------
    >>> threshold = Likelihood(np.zeros(1), memory=1e5, epsilon=1e-5, short_rows=5)
    >>> rng = np.random.default_rng(0)
    >>> for error in rng.normal(0, 1, 5_000):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> one = threshold.limits()[1][0]
    >>> for error in (4.0, 4.0, 4.0):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> bool(5 < one < 10), bool(threshold.limits()[1][0] < 4)
    (True, True)
    """

    def __init__(self, effect: Float64Array, memory: Memory, *, epsilon: float, short_rows: float) -> None:
        from statistics import NormalDist  # noqa: PLC0415 - imports fractions and decimal

        self._effect = np.maximum(effect, TINY)
        self._rate = 1.0 / short_rows
        self._usual = MeanStd(effect, memory, k=NormalDist().inv_cdf(1.0 - epsilon))
        self._state = LikelihoodState(channel=effect.size)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("usual", self._usual)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._state.reset(lanes)
        self._usual.reset(lanes, effect)
        self._effect[lanes] = np.maximum(effect, TINY)

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._usual.count

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""
        spread = self._usual.spread()
        # Error that would move the short-term mean to the limit of its usual distribution.
        lower, upper = (
            self._state.short + (self._usual.mean + side - self._state.short) / self._rate for side in (-spread, spread)
        )
        return np.minimum(lower, -self._effect), np.maximum(upper, self._effect)

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        rate = which * learning_rate(self._usual.count + 1.0, self._rate)
        self._state.short += rate * (np.where(which, error, self._state.short) - self._state.short)
        self._usual.learn(self._state.short, which)
