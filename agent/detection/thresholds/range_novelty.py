"""Soft range novelty: how far an error lies beyond all that was seen."""

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

# Errors after which one that exceeds all before is rather an outlier than a part of the body; and those for which a
# range is believed half as much as an old one.
_WARM_UP = 100.0
_YOUTH = 30.0


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
        self._half_effect = effect / 2 + TINY
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
        self._half_effect[lanes] = effect / 2 + TINY

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
        excess = np.maximum(*(both_signs(error) - state.ends)) - self._half_effect
        strength: Float64Array = np.fmax(excess, 0.0) / (self._margin() + TINY)
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
        """Draw the ends towards the mean, by as much as the errors learned since the last time call for."""
        state = self._state
        share = 1.0 - np.exp((state.relaxed_at - state.count) / self._memory)
        state.relaxed_at = state.count.copy()
        state.ends -= share * (state.ends - both_signs(state.mean))
