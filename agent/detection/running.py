"""Learning rate of running means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

__all__ = ["learning_rate"]


def learning_rate(count: Float64Array, slowest: float | Float64Array) -> Float64Array:
    """Weight of the newest value in a running mean, float64[n] in 0..1.

    ``max(1 / count, slowest)``: an arithmetic mean at first, exponential forgetting from ``1 / slowest`` values on.

    Parameters
    ----------
    count
        float64[n], values so far, the newest included.
    slowest
        Final rate, the inverse of the memory in values; for all or float64[n].

    Examples
    --------
    >>> learning_rate(np.array([0.0, 1.0, 4.0, 1000.0]), 0.1).tolist()
    [1.0, 1.0, 0.25, 0.1]
    """
    rate: Float64Array = np.maximum(1.0 / np.maximum(count, 1.0), slowest)
    return rate
