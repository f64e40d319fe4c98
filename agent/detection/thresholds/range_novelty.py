"""Soft range novelty: the excess of an error beyond the range of all errors seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number
from agent.detection.thresholds.base import TINY, both_signs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.detection.thresholds.base import Memory


__all__ = ["RangeNovelty"]

# Errors for which the range grows by the whole of each excess. Chosen on NAB, where results hardly change around it
# (`tools.benchmark nab`).
_WARM_UP = 100.0
# Number of errors at which the margin is twice that of an old range. Chosen by hand.
_YOUTH = 30.0


class RangeNoveltyState(State):
    """Fields of a `RangeNovelty` that outlive a restart."""

    count: Float64Array = array("errors learned", CHANNEL)
    mean: Float64Array = array("unit of the errors", CHANNEL)
    # Ends of the range: the largest error, and the largest negated error.
    ends: Float64Array = array("unit of the errors", 2, CHANNEL)
    rows: int = number("rows", initial=0)
    relaxed_at: Float64Array = array("errors learned", CHANNEL)
    # Whether any lane is in its first hundred errors.
    young: bool = number("flag", initial=True, after_reset=True)


class RangeNovelty:
    """Soft range novelty: excess of an error beyond the range of errors seen, in units of the range's width.

    For the first hundred errors the range grows by the whole of each excess, afterwards by half of it, so that one
    outlier does not hide the next. It relaxes towards the mean error over the memory. For a range learned from n errors
    the margin is multiplied by (n + 30) / n.

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    novelty
        Margin: excess over the range's width at which an error is anomalous.

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
        self._half_effect = effect / 2 + TINY
        self._novelty = novelty
        self._memory = memory
        self._state = RangeNoveltyState(channel=effect.size)
        # Rows between relaxations: a thousandth of the shortest memory, since relaxation is slow.
        self._rows_between = max(1, round(float(np.min(memory)) / 1000.0))

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._state.reset(lanes)
        self._half_effect[lanes] = effect / 2 + TINY

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._state.count

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """Range of errors, widened by the margin and half of the smallest effect; see `Threshold.limits`."""
        limits = np.maximum(self._state.ends, 0.0) + self._margin() + self._half_effect
        return -limits[1], limits[0]

    def strength(self, error: Float64Array) -> Float64Array:
        """Excess beyond the range less half of the smallest effect, over the margin; see `Threshold.strength`."""
        state = self._state
        excess = np.maximum(*(both_signs(error) - state.ends)) - self._half_effect
        strength: Float64Array = np.fmax(excess, 0.0) / (self._margin() + TINY)
        return strength

    def _margin(self) -> Float64Array:
        """Margin beside the range, float64[n_lanes] ≥ 0: a share of its width, larger for a young range."""
        state = self._state
        share = self._novelty * (1.0 + _YOUTH / np.maximum(state.count, 1.0))
        margin: Float64Array = share * (state.ends[0] + state.ends[1])
        return margin

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        state = self._state
        state.count += which
        # The mean instead of an error that is not learned leaves mean and ends unchanged.
        error = np.where(which, error, state.mean)
        # A division, not `learning_rate`: multiplying by the reciprocal rounds differently.
        state.mean += (error - state.mean) / np.minimum(np.maximum(state.count, 1.0), self._memory)
        excess = np.maximum(both_signs(error) - state.ends, 0.0)
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
        """Move the ends towards the mean, according to the errors learned since the last relaxation."""
        state = self._state
        share = 1.0 - np.exp((state.relaxed_at - state.count) / self._memory)
        state.relaxed_at = state.count.copy()
        state.ends -= share * (state.ends - both_signs(state.mean))
