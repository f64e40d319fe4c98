"""Disturbances of normal series: level shifts, spikes, noise, trends, stuck values, dropouts.

Some training series contain them, so that the forecaster learns how series continue afterwards. The same functions
plant anomalies when the networks are measured. Each function changes its series, float64[rows], in place from ``row``
on.
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
    """Unit of disturbance sizes: the mean absolute deviation from the median; for a flat series, 1 % of its level."""
    deviation = float(np.mean(np.abs(series - np.median(series))))
    return deviation if deviation > 0 else 0.01 * max(1.0, float(np.abs(series).max()))


def level_shift(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Shift all rows from ``row`` on by ``size``, up or down."""
    series[row:] += rng.choice([-1.0, 1.0]) * size


def spike(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Shift one to three rows by ``size``, up or down."""
    series[row : row + rng.integers(1, 4)] += rng.choice([-1.0, 1.0]) * size


def new_variance(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Add Gaussian noise with standard deviation ``size`` from ``row`` on."""
    series[row:] += rng.normal(scale=size, size=series.size - row)


def trend(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Drift from ``row`` on, up or down by ``size`` per 50 to 500 rows."""
    series[row:] += rng.choice([-1.0, 1.0]) * size * np.arange(series.size - row) / log_uniform(rng, 50.0, 500.0)


def stuck(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:  # noqa: ARG001 - signature of `Disturbance`
    """Repeat the value of ``row`` for 5 to 99 rows."""
    series[row : row + rng.integers(5, 100)] = series[row]


def dropout(rng: np.random.Generator, series: Float64Array, row: int, size: float) -> None:
    """Fall to the lowest value of the series, or ``size`` below it, for 1 to 29 rows."""
    series[row : row + rng.integers(1, 30)] = series.min() - size * rng.choice([0.0, 1.0])


#: Drawn with equal probability; repeated entries are drawn twice as often.
DISTURBANCES: tuple[Disturbance, ...] = (level_shift, level_shift, spike, spike, new_variance, trend, stuck, dropout)
