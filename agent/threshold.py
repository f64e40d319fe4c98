"""Rolling dynamic thresholds: what size of error is normal, learned error by error.

All share one protocol. Errors are signed, so that a channel may be quieter below than above; arrays run over *lanes*
(one a channel and head). Everything is causal and costs O(1) a step: `limits` uses only what `learn` was given before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import numpy as np

from agent.config import (
    DspotThreshold,
    LikelihoodThreshold,
    MadThreshold,
    MeanStdThreshold,
    PercentileThreshold,
    RangeThreshold,
    SpotThreshold,
)
from agent.persistent_state import CHANNEL, Part, State, array, below, number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from agent.config import ThresholdConfig
    from agent.types import BoolArray, Float64Array, IntArray

    #: Rows, of all lanes or float64[n_lanes].
    Memory: TypeAlias = float | Float64Array

__all__ = ["Likelihood", "Mad", "MeanStd", "Percentile", "RangeNovelty", "Spot", "Threshold", "make_threshold"]

# Errors after which one that exceeds all before is rather an outlier than a part of the body; and those for which a
# range is believed half as much as an old one.
_WARM_UP = 100.0
_YOUTH = 30.0
_TINY = 1e-12
# A step of a running quantile, over the distance to the value that caused it: less biases it, more makes it jump.
_OVERSHOOT = 4.0
_SIGNS = np.array([[1.0], [-1.0]])
# Peaks are errors beyond this quantile of the calibration; so many of the newest are kept a lane and side.
_PEAK_LEVEL = 0.95
_PEAKS = 128
# A tail heavier than this has no variance to fit it by; one shorter ends at the largest peak.
_MOST_SHAPE = 0.5


class Threshold(Protocol):
    """Learns errors, gives limits."""

    @property
    def count(self) -> Float64Array:
        """Errors learned so far, float64[n_lanes]."""

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """Lower (< 0) and upper (> 0) limit of a normal error, float64[n_lanes] each."""

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """Take in one row of errors, float64[n_lanes], of the chosen lanes; the others may hold NaN."""

    def strength(self, error: Float64Array) -> Float64Array:
        """How much errors, float64[n_lanes], speak for an anomaly: 1 at the limit, about 0 where usual or NaN."""

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """Forget these lanes, int64[m]; float64[m] is the smallest error worth an alert of those that come instead."""


class _ByRatio(ABC):
    """Strength from how near an error is to its limit: its fourth power within, so that usual ones add to little."""

    @abstractmethod
    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""

    def strength(self, error: Float64Array) -> Float64Array:
        """See `Threshold.strength`."""
        lower, upper = self.limits()
        ratio = np.fmax(np.maximum(error / upper, error / lower), 0.0)
        strength: Float64Array = np.where(ratio < 1.0, ratio**4, ratio)
        return strength


def make_threshold(config: ThresholdConfig, effect: Float64Array, memory: Memory) -> Threshold:
    """Make the threshold that a config names.

    Parameters
    ----------
    config
        Its part of the config.
    effect
        float64[n_lanes], smallest error worth an alert.
    memory
        Rows after which an error is largely forgotten, of all lanes or float64[n_lanes].
    """
    if isinstance(config, RangeThreshold):
        return RangeNovelty(effect, memory, novelty=config.novelty)
    if isinstance(config, MeanStdThreshold):
        return MeanStd(effect, memory, k=config.k)
    if isinstance(config, PercentileThreshold):
        return Percentile(effect, memory, percentile=config.percentile)
    if isinstance(config, MadThreshold):
        return Mad(effect, memory, k=config.k)
    if isinstance(config, LikelihoodThreshold):
        return Likelihood(effect, memory, epsilon=config.epsilon, short_rows=config.short_rows)
    return _make_spot(config, effect, memory)


def _make_spot(config: ThresholdConfig, effect: Float64Array, memory: Memory) -> Threshold:
    if isinstance(config, SpotThreshold):
        return Spot(effect, memory, risk=config.risk, calibration_rows=config.calibration_rows)
    if isinstance(config, DspotThreshold):
        return Spot(
            effect,
            memory,
            risk=config.risk,
            calibration_rows=config.calibration_rows,
            depth_rows=config.depth_rows,
        )
    raise TypeError(config)


class RangeNoveltyState(State):
    """Fields of a `RangeNovelty` that outlive a restart."""

    count: Float64Array = array("errors learned", CHANNEL)
    mean: Float64Array = array("unit of the errors", CHANNEL)
    # The largest error, and the smallest with its sign turned, so that both ends grow alike.
    ends: Float64Array = array("unit of the errors", 2, CHANNEL)
    rows: int = number("rows", initial=0)
    relaxed_at: Float64Array = array("errors learned", CHANNEL)
    # Whether any lane has learned so few errors that its range grows by the whole of each excess.
    young: bool = number("flag", initial=True, after_reset=True)


class RangeNovelty:
    """Soft range novelty: how far beyond all that was seen, in units of the range seen.

    The smallest and the largest error are remembered. For a hundred errors the range grows by the whole of each excess,
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

    def __init__(self, effect: Float64Array, memory: Memory, *, novelty: float) -> None:
        self._half_effect = effect / 2 + _TINY
        self._novelty = novelty
        self._memory = memory
        self._state = RangeNoveltyState(channel=effect.size)
        # Relaxation is far slower than a row: it is done for many rows at once, a thousandth of the shortest memory.
        self._rows_between = max(1, round(float(np.min(memory)) / 1000.0))

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._state.reset(lanes)
        self._half_effect[lanes] = effect / 2 + _TINY

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._state.count

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """Range seen, widened by the margin; see `Threshold.limits`."""
        limits = np.maximum(self._state.ends, 0.0) + self._margin() + self._half_effect
        return -limits[1], limits[0]

    def strength(self, error: Float64Array) -> Float64Array:
        """Excess beyond the range, less half of the smallest effect, over the margin; see `Threshold.strength`."""
        state = self._state
        excess = np.maximum(*(_both_signs(error) - state.ends)) - self._half_effect
        strength: Float64Array = np.fmax(excess, 0.0) / (self._margin() + _TINY)
        return strength

    def _margin(self) -> Float64Array:
        """A share of the range, the larger the younger it is."""
        state = self._state
        share = self._novelty * (1.0 + _YOUTH / np.maximum(state.count, 1.0))
        margin: Float64Array = share * (state.ends[0] + state.ends[1])
        return margin

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        state = self._state
        state.count += which
        # Where nothing is learned the mean stands in, which moves neither the mean nor the ends.
        error = np.where(which, error, state.mean)
        state.mean += (error - state.mean) / np.minimum(np.maximum(state.count, 1.0), self._memory)
        excess = np.maximum(_both_signs(error) - state.ends, 0.0)
        if state.young:
            excess *= np.where(state.count <= _WARM_UP, 1.0, 0.5)
            state.young = bool((state.count <= _WARM_UP).any())
        else:
            excess *= 0.5
        state.ends += excess
        state.rows += 1
        if state.rows % self._rows_between == 0:
            self._relax()

    def _relax(self) -> None:
        """Draw the ends towards the mean, by as much as the errors learned since the last time call for."""
        state = self._state
        share = 1.0 - np.exp((state.relaxed_at - state.count) / self._memory)
        state.relaxed_at = state.count.copy()
        state.ends -= share * (state.ends - _both_signs(state.mean))


def _both_signs(values: Float64Array) -> Float64Array:
    """The values, and below them the same with their signs turned; float64[2, n]."""
    both: Float64Array = values * _SIGNS
    return both


class MeanStdState(State):
    """Fields of a `MeanStd` that outlive a restart."""

    count: Float64Array = array("errors learned", CHANNEL)
    mean: Float64Array = array("unit of the errors", CHANNEL)
    variance: Float64Array = array("unit of the errors, squared", CHANNEL)


class MeanStd(_ByRatio):
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

    def __init__(self, effect: Float64Array, memory: Memory, *, k: float) -> None:
        self._effect = np.maximum(effect, _TINY)
        self._slowest = 1.0 / memory
        self._k = k
        self._state = MeanStdState(channel=effect.size)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._state.reset(lanes)
        self._effect[lanes] = np.maximum(effect, _TINY)

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._state.count

    @property
    def mean(self) -> Float64Array:
        """Running mean of the errors, float64[n_lanes]."""
        return self._state.mean

    def spread(self) -> Float64Array:
        """The k standard deviations, float64[n_lanes]."""
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
        rate = which * np.maximum(1.0 / np.maximum(state.count, 1.0), self._slowest)
        step = np.where(which, error, state.mean) - state.mean
        state.mean += rate * step
        state.variance = (1.0 - rate) * (state.variance + rate * step * step)


class RunningQuantileState(State):
    """Fields of a `_RunningQuantile` that outlive a restart."""

    estimate: Float64Array = array("unit of the values", CHANNEL)
    count: Float64Array = array("values learned", CHANNEL)
    scale: Float64Array = array("unit of the values", CHANNEL)


class _RunningQuantile:
    """A quantile by stochastic approximation (Robbins & Monro 1951; Tierney 1983), O(1) in time and memory.

    A value above the estimate moves it up by ``p`` steps, one below moves it down by ``1 - p``, so that it rests where
    a share ``p`` lies below. A step follows the values' own scale and does not go far beyond the value that
    caused it; it is longer for a quantile far out, which few values inform.
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
        """The quantile as far as it is known, float64[n_lanes]."""
        return self._state.estimate

    def learn(self, value: Float64Array, which: BoolArray) -> None:
        """Move towards the quantile of the chosen lanes' values."""
        state = self._state
        state.count += which
        distance = np.where(which, value - state.estimate, 0.0)
        size = np.abs(distance)
        rate = np.maximum(1.0 / np.maximum(state.count, 1.0), self._slowest) * which
        state.scale += rate * (size - state.scale)
        step = self._pace * rate * state.scale * np.where(distance > 0.0, self._up, self._down)
        state.estimate += np.copysign(np.minimum(step, _OVERSHOOT * size), distance)


class Percentile(_ByRatio):
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

    def __init__(self, effect: Float64Array, memory: Memory, *, percentile: float) -> None:
        self._effect = np.maximum(effect, _TINY)
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
        self._effect[lanes] = np.maximum(effect, _TINY)

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


class Mad(_ByRatio):
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

    def __init__(self, effect: Float64Array, memory: Memory, *, k: float) -> None:
        self._effect = np.maximum(effect, _TINY)
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
        self._effect[lanes] = np.maximum(effect, _TINY)

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


class LikelihoodState(State):
    """Fields of a `Likelihood` that outlive a restart."""

    short: Float64Array = array("unit of the errors", CHANNEL)


class Likelihood(_ByRatio):
    """Anomaly likelihood: the short-term mean of the errors against its own usual distribution.

    After Lavin & Ahmad 2015. Mean and variance of the short-term mean are kept over the memory, as a normal
    distribution; an error is anomalous when the mean that it would bring about lies in a tail of probability ε: the
    more the errors before it have moved the mean already, the less it takes. All means are exponentially weighted.

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    epsilon
        Probability of each tail: the Q-function of the limit.
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
        from statistics import NormalDist  # noqa: PLC0415 - with it come fractions and decimals

        self._effect = np.maximum(effect, _TINY)
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
        self._effect[lanes] = np.maximum(effect, _TINY)

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._usual.count

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""
        spread = self._usual.spread()
        # The error that would bring the short-term mean to the end of what is usual.
        lower, upper = (
            self._state.short + (self._usual.mean + side - self._state.short) / self._rate for side in (-spread, spread)
        )
        return np.minimum(lower, -self._effect), np.maximum(upper, self._effect)

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        rate = which * np.maximum(1.0 / (self._usual.count + 1.0), self._rate)
        self._state.short += rate * (np.where(which, error, self._state.short) - self._state.short)
        self._usual.learn(self._state.short, which)


class SpotState(State):
    """Fields of a `Spot` that outlive a restart; sides are the upper one, and the lower with its sign turned."""

    count: Float64Array = array("errors learned", CHANNEL)
    average: Float64Array = array("unit of the errors", CHANNEL)
    # There only while any lane is calibrated.
    calibration: Float64Array | None = array("unit of the errors", "calibration_row", CHANNEL, optional=True)
    calibrated: BoolArray = array("flag", CHANNEL, dtype=bool)
    begin: Float64Array = array("unit of the errors", 2, CHANNEL, initial=np.inf)
    shape: Float64Array = array("shape of the generalised Pareto distribution", 2, CHANNEL)
    size: Float64Array = array("unit of the errors", 2, CHANNEL)
    seen: Float64Array = array("errors, weighted", CHANNEL)
    passed: Float64Array = array("errors, weighted", 2, CHANNEL)
    peaks: Float64Array = array("unit of the errors", 2, CHANNEL, _PEAKS)
    n_peaks: IntArray = array("peaks", 2, CHANNEL, dtype=np.int64)


class Spot(_ByRatio):
    """Streaming peaks over threshold, SPOT and with ``depth_rows`` DSPOT (Siffer et al. 2017), on both sides.

    The first rows of a lane calibrate it: their 95 % quantile, of the errors and of the errors with their sign turned,
    is where peaks begin. Excesses over it follow a generalised Pareto distribution, by the theorem of Pickands, Balkema
    and de Haan; the limit is the level that is passed with the risk q. The fit is by moments (Hosking & Wallis 1987),
    over the newest peaks, so that it costs the same for ever; the share of peaks is weighted over the memory.

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    risk
        q, for each side.
    calibration_rows
        Until then there are no limits: they are infinite.
    depth_rows
        Errors are taken from their moving average, exponentially weighted over so many rows; 0: from nothing.

    Examples
    --------
    >>> threshold = Spot(np.zeros(1), memory=1e5, risk=1e-3, calibration_rows=300)
    >>> rng = np.random.default_rng(0)
    >>> for error in rng.exponential(1.0, 20_000):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> bool(6.2 < threshold.limits()[1][0] < 7.6)  # exactly: ln 1000 = 6.9
    True
    """

    def __init__(
        self, effect: Float64Array, memory: Memory, *, risk: float, calibration_rows: int, depth_rows: float = 0.0
    ) -> None:
        n = effect.size
        self._effect = np.maximum(effect, _TINY)
        self._risk = risk
        self._depth = depth_rows
        self._kept = 1.0 - 1.0 / memory
        self._calibration_rows = calibration_rows
        self._state = SpotState(channel=n, calibration_row=calibration_rows)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._state.reset(lanes)
        self._effect[lanes] = np.maximum(effect, _TINY)

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._state.count

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""
        state = self._state
        # How many times rarer than a peak: q·n/N in the paper, inverted.
        rarer = np.log(np.maximum(state.passed / np.maximum(state.seen, 1.0) / self._risk, 1.0))
        flat = np.abs(state.shape) < 1e-6
        shape = np.where(flat, 1.0, state.shape)
        level = state.begin + state.size * np.where(flat, rarer, np.expm1(shape * rarer) / shape)
        return (
            np.minimum(state.average - level[1], -self._effect),
            np.maximum(state.average + level[0], self._effect),
        )

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        state = self._state
        centred = np.where(which, error - state.average, 0.0)
        if self._depth:
            state.average += which * centred * np.maximum(1.0 / (state.count + 1.0), 1.0 / self._depth)
        calibrating = which & ~state.calibrated
        if calibrating.any():
            lanes = np.flatnonzero(calibrating)
            if state.calibration is None:
                state.calibration = np.zeros((self._calibration_rows, state.count.size))
            state.calibration[state.count[lanes].astype(np.int64), lanes] = centred[lanes]
        state.count += which
        running = which & state.calibrated
        passed = (_both_signs(centred) > state.begin) & running
        kept = np.where(running, self._kept, 1.0)
        state.seen = state.seen * kept + running
        state.passed = state.passed * kept + passed
        if passed.any():
            sides, lanes = np.nonzero(passed)
            self._add(sides, lanes, (_both_signs(centred) - state.begin)[sides, lanes])
            self._fit(sides, lanes)
        if state.calibration is not None:
            for lane in np.flatnonzero(calibrating & (state.count >= self._calibration_rows)):
                self._calibrate(int(lane), state.calibration)
            if state.calibrated.all():
                state.calibration = None

    def _add(self, sides: IntArray, lanes: IntArray, excess: Float64Array) -> None:
        state = self._state
        state.peaks[sides, lanes, state.n_peaks[sides, lanes] % _PEAKS] = excess
        state.n_peaks[sides, lanes] += 1

    def _fit(self, sides: IntArray, lanes: IntArray) -> None:
        """Fit shape and size to the moments of the peaks of these sides and lanes."""
        state = self._state
        peaks = state.peaks[sides, lanes]
        count = np.minimum(state.n_peaks[sides, lanes], _PEAKS)
        mean = peaks.sum(axis=1) / count
        variance = (peaks * peaks).sum(axis=1) / count - mean * mean
        ratio = mean * mean / np.maximum(variance, _TINY * mean * mean + _TINY**2)
        shape = np.clip(0.5 * (1.0 - ratio), -_MOST_SHAPE, _MOST_SHAPE)
        state.shape[sides, lanes] = shape
        # The size that goes with the shape for this mean.
        state.size[sides, lanes] = mean * (1.0 - shape)

    def _calibrate(self, lane: int, calibration: Float64Array) -> None:
        state = self._state
        values = _both_signs(calibration[:, lane])
        state.calibrated[lane] = True
        state.seen[lane] = len(calibration)
        for side in (0, 1):
            begin = float(np.quantile(values[side], _PEAK_LEVEL))
            excess = values[side][values[side] > begin] - begin
            state.begin[side, lane] = begin
            state.passed[side, lane] = excess.size
            where = np.array([side]), np.array([lane])
            for each in excess:
                self._add(*where, each)
            if excess.size:
                self._fit(*where)
