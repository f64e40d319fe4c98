"""Protocol of rolling thresholds, which learn the normal size of errors one by one.

Errors are signed, because the lower limit may differ from the upper. Arrays run over *lanes* (channel × kind of error).
A step takes constant time and memory and is causal: `limits` depends on errors learned before only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.core.persistent_state import Part

    #: Time constant of exponential forgetting, rows; for all lanes or float64[n_lanes].
    Memory: TypeAlias = float | Float64Array


__all__ = ["TINY", "StrengthByRatio", "Threshold", "both_signs"]

#: Smallest limit; keeps divisions finite.
TINY = 1e-12
_SIGNS = np.array([[1.0], [-1.0]])


class Threshold(Protocol):
    """Learns errors and gives their limits."""

    @property
    def count(self) -> Float64Array:
        """Errors learned so far, float64[n_lanes]."""

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """Lower (< 0) and upper (> 0) limit of a normal error, float64[n_lanes] each."""

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """Learn the errors, float64[n_lanes], of the chosen lanes, bool[n_lanes]; the others may be NaN."""

    def strength(self, error: Float64Array) -> Float64Array:
        """Strength of errors, float64[n_lanes] ≥ 0: 1 at the limit, near 0 where usual, 0 where NaN."""

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """Forget these lanes, int64[m]; ``effect``, float64[m], is that of the channels that replace them."""


class StrengthByRatio(ABC):
    """Strength as error over limit; within the limit its fourth power, so that usual errors add up to little."""

    @abstractmethod
    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""

    def strength(self, error: Float64Array) -> Float64Array:
        """See `Threshold.strength`."""
        lower, upper = self.limits()
        ratio = np.fmax(np.maximum(error / upper, error / lower), 0.0)
        strength: Float64Array = np.where(ratio < 1.0, ratio**4, ratio)
        return strength


def both_signs(values: Float64Array) -> Float64Array:
    """Stack values, float64[n], on their negatives; float64[2, n]."""
    both: Float64Array = values * _SIGNS
    return both
