"""Rolling dynamic thresholds: what size of error is normal, learned error by error.

All share one protocol. Errors are signed, so that a channel may be quieter below than above; arrays run over *lanes*
(one a channel and head). Everything is causal and costs O(1) a step: `limits` uses only what `learn` was given before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from agent.config import MadThreshold, MeanStdThreshold, PercentileThreshold, RangeThreshold

if TYPE_CHECKING:
    from agent.config import ThresholdConfig
    from agent.types import BoolArray, Float64Array

__all__ = ["Mad", "MeanStd", "Percentile", "RangeNovelty", "Threshold", "make_threshold"]

# Errors after which one that exceeds all before is rather an outlier than a part of the body.
_WARM_UP = 30.0
_TINY = 1e-12
# A step of a running quantile, over the distance to the value that caused it: less biases it, more makes it jump.
_OVERSHOOT = 4.0
_SIGNS = np.array([[1.0], [-1.0]])


class Threshold(Protocol):
    """Learns errors, gives limits."""

    @property
    def count(self) -> Float64Array:
        """Errors learned so far, float64[n_lanes]."""

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """Lower (< 0) and upper (> 0) limit of a normal error, float64[n_lanes] each."""

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """Take in one row of errors, float64[n_lanes], of the chosen lanes; the others may hold NaN."""


def make_threshold(config: ThresholdConfig, effect: Float64Array, memory: float) -> Threshold:
    """Make the threshold that a config names.

    Parameters
    ----------
    config
        Its part of the config.
    effect
        float64[n_lanes], smallest error worth an alert.
    memory
        Rows after which an error is largely forgotten.
    """
    if isinstance(config, RangeThreshold):
        return RangeNovelty(effect, memory, novelty=config.novelty)
    if isinstance(config, MeanStdThreshold):
        return MeanStd(effect, memory, k=config.k)
    if isinstance(config, PercentileThreshold):
        return Percentile(effect, memory, percentile=config.percentile)
    if isinstance(config, MadThreshold):
        return Mad(effect, memory, k=config.k)
    raise TypeError(config)


class RangeNovelty:
    """Soft range novelty: how far beyond all that was seen, in units of the range seen.

    The smallest and the largest error are remembered. For thirty errors the range grows by the whole of each excess,
    afterwards by half of it, so that one outlier does not hide the next; and it relaxes slowly towards the mean error.
    A young range is believed less: the margin is multiplied by (n + 30) / n.

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    novelty
        Excess over range from which an error is anomalous.

    Examples
    --------
    >>> threshold = RangeNovelty(np.zeros(1), memory=10_000, novelty=0.14)
    >>> for error in np.sin(np.arange(300.0)):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> lower, upper = threshold.limits()
    >>> bool(1.2 < upper[0] < 1.4 and -1.4 < lower[0] < -1.2)
    True
    """

    def __init__(self, effect: Float64Array, memory: float, *, novelty: float) -> None:
        self._half_effect = effect / 2 + _TINY
        self._novelty = novelty
        self._memory = memory
        self.count = np.zeros(effect.size)
        self._mean = np.zeros(effect.size)
        # float64[2, n_lanes]: the largest error, and the smallest with its sign turned, so that both ends grow alike.
        self._ends = np.zeros((2, effect.size))
        # Relaxation is far slower than a row: it is done for many rows at once, a thousandth of the memory.
        self._rows = 0
        self._rows_between = max(1, round(memory / 1000.0))
        self._relaxed_at = np.zeros(effect.size)
        self._young = True

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """Range seen, widened by the margin; see `Threshold.limits`."""
        youth = self._novelty + 30.0 * self._novelty / np.maximum(self.count, 1.0)
        margin = youth * (self._ends[0] + self._ends[1]) + self._half_effect
        limits = np.maximum(self._ends, 0.0) + margin
        return -limits[1], limits[0]

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        self.count += which
        # Where nothing is learned the mean stands in, which moves neither the mean nor the ends.
        error = np.where(which, error, self._mean)
        self._mean += (error - self._mean) / np.minimum(np.maximum(self.count, 1.0), self._memory)
        excess = np.maximum(_both_signs(error) - self._ends, 0.0)
        if self._young:
            excess *= np.where(self.count <= _WARM_UP, 1.0, 0.5)
            self._young = bool((self.count <= _WARM_UP).any())
        else:
            excess *= 0.5
        self._ends += excess
        self._rows += 1
        if self._rows % self._rows_between == 0:
            self._relax()

    def _relax(self) -> None:
        """Draw the ends towards the mean, by as much as the errors learned since the last time call for."""
        share = 1.0 - np.exp((self._relaxed_at - self.count) / self._memory)
        self._relaxed_at = self.count.copy()
        self._ends -= share * (self._ends - _both_signs(self._mean))


def _both_signs(values: Float64Array) -> Float64Array:
    """The values, and below them the same with their signs turned; float64[2, n]."""
    both: Float64Array = values * _SIGNS
    return both


class MeanStd:
    """Mean ± k standard deviations, exponentially weighted.

    The rate is ``max(1 / n, 1 / memory)`` (West 1979 for the weighted update of the variance).

    Examples
    --------
    >>> threshold = MeanStd(np.zeros(1), memory=1e6, k=3.0)
    >>> for error in (-1.0, 1.0) * 200:
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> threshold.limits()[1].round(2)
    array([3.])
    """

    def __init__(self, effect: Float64Array, memory: float, *, k: float) -> None:
        self._effect = np.maximum(effect, _TINY)
        self._slowest = 1.0 / memory
        self._k = k
        self.count = np.zeros(effect.size)
        self.mean = np.zeros(effect.size)
        self.variance = np.zeros(effect.size)

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""
        spread = self._k * np.sqrt(self.variance)
        return (
            np.minimum(self.mean - spread, -self._effect),
            np.maximum(self.mean + spread, self._effect),
        )

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        self.count += which
        rate = which * np.maximum(1.0 / np.maximum(self.count, 1.0), self._slowest)
        step = np.where(which, error, self.mean) - self.mean
        self.mean += rate * step
        self.variance = (1.0 - rate) * (self.variance + rate * step * step)


class _RunningQuantile:
    """A quantile by stochastic approximation (Robbins & Monro 1951; Tierney 1983), O(1) in time and memory.

    A value above the estimate moves it up by ``p`` steps, one below moves it down by ``1 - p``, so that it rests where
    a share ``p`` lies below. A step follows the values' own scale and does not go far beyond the value that
    caused it; it is longer for a quantile far out, which few values inform.
    """

    def __init__(self, n_lanes: int, probability: float, memory: float) -> None:
        self._up = probability
        self._down = 1.0 - probability
        self._pace = 1.0 / min(self._up, self._down)
        self._slowest = 1.0 / memory
        self.estimate = np.zeros(n_lanes)
        self.count = np.zeros(n_lanes)
        self._scale = np.zeros(n_lanes)

    def learn(self, value: Float64Array, which: BoolArray) -> None:
        """Move towards the quantile of the chosen lanes' values."""
        self.count += which
        distance = np.where(which, value - self.estimate, 0.0)
        size = np.abs(distance)
        rate = np.maximum(1.0 / np.maximum(self.count, 1.0), self._slowest) * which
        self._scale += rate * (size - self._scale)
        step = self._pace * rate * self._scale * np.where(distance > 0.0, self._up, self._down)
        self.estimate += np.copysign(np.minimum(step, _OVERSHOOT * size), distance)


class Percentile:
    """The p-th and the (100 - p)-th percentile of the errors, by stochastic approximation.

    Examples
    --------
    >>> threshold = Percentile(np.zeros(1), memory=1e5, percentile=90.0)
    >>> rng = np.random.default_rng(0)
    >>> for error in rng.uniform(-1, 1, 5_000):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> bool(abs(threshold.limits()[1][0] - 0.8) < 0.05)
    True
    """

    def __init__(self, effect: Float64Array, memory: float, *, percentile: float) -> None:
        self._effect = np.maximum(effect, _TINY)
        self._upper = _RunningQuantile(effect.size, percentile / 100.0, memory)
        self._lower = _RunningQuantile(effect.size, 1.0 - percentile / 100.0, memory)

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


class Mad:
    """Median ± k scaled median absolute deviations (Leys et al. 2013), both by stochastic approximation.

    1.4826 makes the median absolute deviation of a normal distribution its standard deviation.

    Examples
    --------
    >>> threshold = Mad(np.zeros(1), memory=1e5, k=3.0)
    >>> rng = np.random.default_rng(0)
    >>> for error in rng.normal(0, 1, 5_000):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> bool(abs(threshold.limits()[1][0] - 3.0) < 0.3)
    True
    """

    def __init__(self, effect: Float64Array, memory: float, *, k: float) -> None:
        self._effect = np.maximum(effect, _TINY)
        self._k = 1.4826 * k
        self._median = _RunningQuantile(effect.size, 0.5, memory)
        self._deviation = _RunningQuantile(effect.size, 0.5, memory)

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
