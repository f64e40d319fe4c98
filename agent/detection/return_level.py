"""Return levels: how rare a statistic is on its own lane, from the tail of what was seen before.

Peaks over a running begin are declustered, so that one event counts once. Their excess is fitted by an exponential tail
(peaks over threshold; Pickands 1975, with the shape 0). A peak counts at most three times the usual excess, so that the
anomalies to be found hardly change the tail that is to find them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array
from agent.detection.running import learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["ReturnLevels"]

# All constants of this file were chosen on the first 35 days of the AIOps KPIs and on simulated hosts with seeds below
# 1,000 (`tools.benchmark alerts`); results change little from half to twice of each.
# Peaks begin at the running mean plus this many mean absolute deviations: about the highest 5 %.
_BEGIN = 1.7
# Values learned before rarity is known.
_FEWEST = 50.0
# Largest excess that a peak contributes, in usual excesses, and the share of the mean of an exponential distribution
# that is left by this clipping.
_CLIP = 3.0
_LEFT = 1.0 - float(np.exp(-_CLIP))
# Usual excess before any peak, smallest usual excess, and the number of peaks that the first one weighs.
_FIRST_SIZE, _LEAST_SIZE, _PRIOR_PEAKS = 0.3, 0.02, 4.0
# The usual excess is doubled for a lane without a cluster. Chosen by hand.
_YOUTH = 4.0
# Smallest deviation of the statistic.
_LEAST_DEVIATION = 0.05
# A cluster of peaks ends after this time at the latest, so that a new level becomes usual.
_LONGEST_S = 86400.0
# Largest exponent: a return period of 1e21 clusters.
_MOST = 50.0


class ReturnLevelsState(State):
    """Fields of `ReturnLevels` that outlive a restart."""

    count: Float64Array = array("values learned", CHANNEL)
    mean: Float64Array = array("statistic", CHANNEL)
    deviation: Float64Array = array("statistic, mean absolute", CHANNEL)
    # Clusters of peaks per value, and usual excess of a cluster's highest peak.
    rate: Float64Array = array("clusters a value", CHANNEL)
    size: Float64Array = array("statistic", CHANNEL, initial=_FIRST_SIZE)
    clusters: Float64Array = array("clusters", CHANNEL)
    # Present cluster: whether there is one, its highest excess, values since its begin and since its last peak.
    inside: BoolArray = array("flag", CHANNEL, dtype=bool)
    highest: Float64Array = array("statistic", CHANNEL)
    length: Float64Array = array("values", CHANNEL)
    since: Float64Array = array("values", CHANNEL)


class ReturnLevels:
    """Learns the tail of a statistic per lane and gives the return period of a value.

    Parameters
    ----------
    between_s
        float64[n_lanes], seconds between the values of a lane.
    memory_s
        Time constant of exponential forgetting, seconds.
    gap
        float64[n_lanes], values without a peak that end a cluster.

    Examples
    --------
    >>> levels, rng = ReturnLevels(np.array([60.0]), 28 * 86400.0, np.ones(1)), np.random.default_rng(0)
    >>> for value in np.log(rng.exponential(size=30_000)):
    ...     levels.learn(np.array([value]), np.array([True]))
    >>> seen = np.log(np.log(1440.0))  # exceeded once a day
    >>> bool(0.3 < levels.period_s(np.array([seen]))[0] / 86400.0 < 3.0)
    True
    """

    def __init__(self, between_s: Float64Array, memory_s: float, gap: Float64Array) -> None:
        self._between_s = between_s
        self._longest = np.maximum(_LONGEST_S / between_s, 2.0)
        self._slowest = 1.0 / np.maximum(memory_s / between_s, 2.0)
        self._gap = np.maximum(gap, 1.0)
        self._state = ReturnLevelsState(channel=between_s.size)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray) -> None:
        """Forget these lanes, int64[m]."""
        self._state.reset(lanes)

    @property
    def begin(self) -> Float64Array:
        """Value from which on peaks begin, float64[n_lanes]."""
        state = self._state
        begin: Float64Array = state.mean + _BEGIN * np.maximum(state.deviation, _LEAST_DEVIATION)
        return begin

    def period_s(self, statistic: Float64Array) -> Float64Array:
        """Seconds between clusters that reach these values, float64[n_lanes]; 0 below the begin or where unknown."""
        excess = (statistic - self.begin) / self._size()
        known = self.known & (excess > 0.0)
        period: Float64Array = np.exp(np.minimum(excess, _MOST)) * self._cluster_s()
        return np.where(known, period, 0.0)

    def level(self, period_s: Float64Array | float) -> Float64Array:
        """Value that is reached once in a period, float64[n_lanes]; infinite where unknown."""
        level: Float64Array = self.begin + self._size() * np.log(np.maximum(period_s / self._cluster_s(), 1.0))
        return np.where(self.known, level, np.inf)

    @property
    def known(self) -> BoolArray:
        """Lanes that have learned enough, bool[n_lanes]; the return periods of the others are 0."""
        known: BoolArray = self._state.count > _FEWEST
        return known

    @property
    def learned_s(self) -> Float64Array:
        """Time learned, seconds, float64[n_lanes]."""
        learned_s: Float64Array = self._state.count * self._between_s
        return learned_s

    def _size(self) -> Float64Array:
        """Usual excess, larger while few clusters were seen, float64[n_lanes]."""
        size: Float64Array = self._state.size * (1.0 + _YOUTH / (self._state.clusters + _PRIOR_PEAKS))
        return size

    def _cluster_s(self) -> Float64Array:
        """Seconds between clusters; on lanes without one, the time learned."""
        state = self._state
        learned = np.minimum(np.maximum(state.count - _FEWEST, 1.0), 1.0 / self._slowest)
        between: Float64Array = self._between_s / np.maximum(state.rate, 1.0 / learned)
        return between

    def learn(self, statistic: Float64Array, which: BoolArray, weight: Float64Array | float = 1.0) -> None:
        """Learn values.

        Parameters
        ----------
        statistic
            float64[n_lanes].
        which
            bool[n_lanes], lanes that are learned; the others keep their state.
        weight
            float64[n_lanes] in 0..1, share of the learning rate of the running mean and deviation.
        """
        state = self._state
        begin = self.begin
        state.count += which
        known = which & self.known
        peak = known & (statistic > begin)
        starts = peak & ~state.inside
        state.inside |= starts
        state.length = np.where(starts, 0.0, state.length + which)
        state.since = np.where(peak, 0.0, state.since + which)
        excess = np.where(state.inside & peak, statistic - begin, 0.0)
        state.highest = np.where(starts, excess, np.maximum(state.highest, excess))
        rate = learning_rate(state.count - _FEWEST, self._slowest)
        state.rate += known * rate * (starts - state.rate)
        ends = state.inside & ((state.since >= self._gap) | (state.length >= self._longest))
        if np.count_nonzero(ends):
            self._end(ends)
        self._follow(statistic, np.multiply(which, weight, dtype=np.float64))

    def _end(self, ends: BoolArray) -> None:
        """Learn the highest peak of clusters that end, bool[n_lanes]."""
        state = self._state
        state.inside &= ~ends
        state.clusters += ends
        # Clusters within the memory, at least those that the prior stands for.
        slowest = 1.0 / np.maximum(state.rate / self._slowest, _PRIOR_PEAKS)
        weight = np.maximum(1.0 / (state.clusters + _PRIOR_PEAKS), slowest) * ends
        clipped = np.minimum(state.highest, _CLIP * state.size) / _LEFT
        state.size = np.maximum(state.size + weight * (clipped - state.size), _LEAST_SIZE)

    def _follow(self, statistic: Float64Array, weight: Float64Array) -> None:
        """Update mean and deviation, on which the begin rests."""
        state = self._state
        rate = learning_rate(state.count, self._slowest) * weight
        far = np.where(state.count > _FEWEST, 5.0 * np.maximum(state.deviation, _LEAST_DEVIATION), np.inf)
        away = np.maximum(np.minimum(np.where(weight > 0.0, statistic - state.mean, 0.0), far), -far)
        state.mean += rate * away
        state.deviation += rate * (np.abs(away) - state.deviation)
