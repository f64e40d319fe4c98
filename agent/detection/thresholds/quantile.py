"""Thresholds from running quantiles: percentiles and the median absolute deviation."""

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


__all__ = ["Mad", "Percentile"]

# Largest step of a running quantile, as a multiple of the distance to the new value: a smaller one biases the estimate,
# a larger one makes it jump. Chosen by hand.
_OVERSHOOT = 4.0


class RunningQuantileState(State):
    """Fields of a `_RunningQuantile` that outlive a restart."""

    estimate: Float64Array = array("unit of the values", CHANNEL)
    count: Float64Array = array("values learned", CHANNEL)
    scale: Float64Array = array("unit of the values", CHANNEL)


class _RunningQuantile:
    """A quantile by stochastic approximation (Robbins & Monro 1951; Tierney 1983), O(1) in time and memory.

    A value above the estimate moves it up by ``p`` steps, a value below moves it down by ``1 - p`` steps; it rests
    where a share ``p`` of the values lies below. The size of a step is the values' mean distance, at most four times
    that of the value itself, and larger for extreme quantiles, beyond which few values lie.
    """

    def __init__(self, n_lanes: int, probability: float, memory: Memory) -> None:
        self._up = probability
        self._down = 1.0 - probability
        self._pace = 1.0 / min(self._up, self._down)
        self._slowest = 1.0 / memory
        self._state = RunningQuantileState(channel=n_lanes)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray) -> None:
        """Forget these lanes, int64[m]."""
        self._state.reset(lanes)

    @property
    def count(self) -> Float64Array:
        """Values learned so far, float64[n_lanes]."""
        return self._state.count

    @property
    def estimate(self) -> Float64Array:
        """Present estimate of the quantile, float64[n_lanes]."""
        return self._state.estimate

    def learn(self, value: Float64Array, which: BoolArray) -> None:
        """Learn values, float64[n_lanes], of the chosen lanes, bool[n_lanes]."""
        state = self._state
        state.count += which
        distance = np.where(which, value - state.estimate, 0.0)
        size = np.abs(distance)
        rate = learning_rate(state.count, self._slowest) * which
        state.scale += rate * (size - state.scale)
        step = self._pace * rate * state.scale * np.where(distance > 0.0, self._up, self._down)
        state.estimate += np.copysign(np.minimum(step, _OVERSHOOT * size), distance)


class Percentile(StrengthByRatio):
    """The p-th and the (100 - p)-th percentile of the errors, by stochastic approximation.

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    percentile
        p, 50 to 100.

    Examples
    --------
    >>> threshold = Percentile(np.zeros(1), memory=1e5, percentile=90.0)
    >>> rng = np.random.default_rng(0)
    >>> for error in rng.uniform(-1, 1, 5_000):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> bool(abs(threshold.limits()[1][0] - 0.8) < 0.05)
    True
    """

    def __init__(self, effect: Float64Array, memory: Memory, *, percentile: float) -> None:
        self._effect = np.maximum(effect, TINY)
        self._upper = _RunningQuantile(effect.size, percentile / 100.0, memory)
        self._lower = _RunningQuantile(effect.size, 1.0 - percentile / 100.0, memory)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield from below("upper", self._upper)
        yield from below("lower", self._lower)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._upper.reset(lanes)
        self._lower.reset(lanes)
        self._effect[lanes] = np.maximum(effect, TINY)

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._upper.count

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""
        return np.minimum(self._lower.estimate, -self._effect), np.maximum(self._upper.estimate, self._effect)

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        self._upper.learn(error, which)
        self._lower.learn(error, which)


class Mad(StrengthByRatio):
    """Median ± k scaled median absolute deviations (Leys et al. 2013), both by stochastic approximation.

    The scale 1.4826 makes the median absolute deviation of a normal distribution equal to its standard deviation.

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    k
        Scaled deviations from the median to each limit.

    Examples
    --------
    >>> threshold = Mad(np.zeros(1), memory=1e5, k=3.0)
    >>> rng = np.random.default_rng(0)
    >>> for error in rng.normal(0, 1, 5_000):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> bool(abs(threshold.limits()[1][0] - 3.0) < 0.3)
    True
    """

    def __init__(self, effect: Float64Array, memory: Memory, *, k: float) -> None:
        self._effect = np.maximum(effect, TINY)
        self._k = 1.4826 * k
        self._median = _RunningQuantile(effect.size, 0.5, memory)
        self._deviation = _RunningQuantile(effect.size, 0.5, memory)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield from below("median", self._median)
        yield from below("deviation", self._deviation)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._median.reset(lanes)
        self._deviation.reset(lanes)
        self._effect[lanes] = np.maximum(effect, TINY)

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._median.count

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""
        median = self._median.estimate
        spread = self._k * self._deviation.estimate
        return np.minimum(median - spread, -self._effect), np.maximum(median + spread, self._effect)

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        self._median.learn(error, which)
        self._deviation.learn(np.abs(error - self._median.estimate), which)
