"""What happens to normal series now and then: shifts, spikes, silences.

The forecaster shall have seen what comes after them, and anomalies are planted with the same functions to measure how
well the networks tell them. Each function changes its series in place from a given row on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from training.synthetic.noise import log_uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.arrays import Float64Array

    Disturbance: TypeAlias = Callable[[np.random.Generator, Float64Array, int, float], None]

__all__ = ["DISTURBANCES", "dropout", "level_shift", "new_variance", "spike", "stuck", "trend", "typical_change"]


def typical_change(series: Float64Array) -> float:
    """Give a size to measure disturbances by: the deviation, or a hundredth of the level of a flat series."""
    deviation = float(np.mean(np.abs(series - np.median(series))))
    return deviation if deviation > 0 else 0.01 * max(1.0, float(np.abs(series).max()))


def level_shift(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Move everything from ``row`` on by ``size``, up or down."""
    series[row:] += rng.choice([-1.0, 1.0]) * size


def spike(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Move one to three rows by ``size``, up or down."""
    series[row : row + rng.integers(1, 4)] += rng.choice([-1.0, 1.0]) * size


def new_variance(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Add noise of ``size`` from ``row`` on."""
    series[row:] += rng.normal(scale=size, size=series.size - row)


def trend(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Drift away from ``row`` on, by ``size`` in 50 to 500 rows."""
    series[row:] += rng.choice([-1.0, 1.0]) * size * np.arange(series.size - row) / log_uniform(rng, 50.0, 500.0)


def stuck(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:  # noqa: ARG001 - one signature
    """Repeat the value of ``row`` for 5 to 100 rows."""
    series[row : row + rng.integers(5, 100)] = series[row]


def dropout(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Fall to ``size`` below the lowest value for 1 to 30 rows."""
    series[row : row + rng.integers(1, 30)] = series.min() - size * rng.choice([0.0, 1.0])


DISTURBANCES: tuple[Disturbance, ...] = (level_shift, level_shift, spike, spike, new_variance, trend, stuck, dropout)
