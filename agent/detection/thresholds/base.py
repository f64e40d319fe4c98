"""Rolling dynamic thresholds: what size of error is normal, learned error by error.

All share one protocol. Errors are signed, so that a channel may be quieter below than above; arrays run over *lanes*
(one a channel and head). Everything is causal and costs O(1) a step: `limits` uses only what `learn` was given before.
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

    #: Rows, of all lanes or float64[n_lanes].
    Memory: TypeAlias = float | Float64Array


__all__ = ["TINY", "StrengthByRatio", "Threshold", "both_signs"]

TINY = 1e-12
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

    def strength(self, error: Float64Array) -> Float64Array:
        """How much errors, float64[n_lanes], speak for an anomaly: 1 at the limit, about 0 where usual or NaN."""

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """Forget these lanes, int64[m]; float64[m] is the smallest error worth an alert of those that come instead."""


class StrengthByRatio(ABC):
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


def both_signs(values: Float64Array) -> Float64Array:
    """The values, and below them the same with their signs turned; float64[2, n]."""
    both: Float64Array = values * _SIGNS
    return both
