"""Simulated training series of the universal networks, from a seed.

The universal bundle uses no recorded data. Each series is one process or the sum of two, averaged over one of several
block lengths. Some series are disturbed. Each gets a random unit and is rounded and clipped as by an instrument.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from training.synthetic.disturbances import DISTURBANCES, typical_change
from training.synthetic.noise import log_uniform
from training.synthetic.processes import PROCESSES, Span

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array, IntArray

__all__ = ["days", "digest", "simulate"]

# Rows averaged into one, drawn with equal probability: the agent applies the networks to single rows and block means.
# Chosen by hand.
_BLOCKS = (1, 1, 1, 1, 5, 12, 24)
# Rows per day: from about two-hour blocks to readings every five minutes.
_SHORTEST_DAY, _LONGEST_DAY = 10, 300


def simulate(seed: int, n_series: int, length: int, *, disturbed: bool = True) -> Float64Array:
    """Draw training series.

    Parameters
    ----------
    seed
        The same seed gives the same series; series ``k`` does not depend on ``n_series``.
    n_series, length
        Number of series, and rows of each.
    disturbed
        Whether about a third of the series are disturbed; False draws normal behaviour only.

    Returns
    -------
    float64[n_series, length], finite, each value exactly a float32 as the agent's readings are.

    Examples
    --------
    >>> series = simulate(7, 3, 100)
    >>> series.shape
    (3, 100)
    >>> bool((series == simulate(7, 3, 100)).all())
    True
    """
    series = np.empty((n_series, length))
    for row, day in enumerate(days(seed, n_series).tolist()):
        rng = np.random.default_rng([seed, row])
        values = _behaviour(rng, Span(length, day))
        chosen = rng.random() < 0.35  # drawn in any case, to leave the random stream unchanged
        if disturbed and chosen:
            _disturb(rng, values)
        series[row] = _measured(rng, values)
    return series.astype(np.float32).astype(np.float64)


def days(seed: int, n_series: int) -> IntArray:
    """Rows per day of each series that `simulate` draws from the same seed, int64[n_series].

    Most cyclic series follow this period. The others teach that in some channels the day before has no information.
    """
    drawn = np.empty(n_series, np.int64)
    for row in range(n_series):
        drawn[row] = round(log_uniform(np.random.default_rng([seed, row, 1]), _SHORTEST_DAY, _LONGEST_DAY))
    return drawn


def digest(series: Float64Array) -> str:
    """SHA-256 of the series as little-endian float32, for the bundle's provenance."""
    return hashlib.sha256(series.astype("<f4").tobytes()).hexdigest()


def _behaviour(rng: np.random.Generator, span: Span) -> Float64Array:
    values = _process(rng, span)
    if rng.random() < 0.2:
        other = _process(rng, span)
        weight = log_uniform(rng, 0.05, 1.0)
        values = values / typical_change(values) + weight * other / typical_change(other)
    return values


def _process(rng: np.random.Generator, span: Span) -> Float64Array:
    block = _BLOCKS[rng.integers(len(_BLOCKS))]
    fine = Span(block * span.length, block * span.day)
    values = PROCESSES[rng.integers(len(PROCESSES))](rng, fine)
    return np.asarray(values.reshape(span.length, block).mean(axis=1))


def _disturb(rng: np.random.Generator, values: Float64Array) -> None:
    unit = typical_change(values)
    for _ in range(rng.geometric(0.5)):
        disturb = DISTURBANCES[rng.integers(len(DISTURBANCES))]
        disturb(rng, values, int(rng.integers(1, values.size)), unit * log_uniform(rng, 0.5, 30.0))


def _measured(rng: np.random.Generator, values: Float64Array) -> Float64Array:
    """Apply a random resolution, range, unit and zero point of an instrument."""
    unit = typical_change(values)
    if rng.random() < 0.3:
        resolution = unit * log_uniform(rng, 0.01, 2.0)
        values = np.round(values / resolution) * resolution
    if rng.random() < 0.1:
        low, high = np.quantile(values, [rng.uniform(0.0, 0.2), rng.uniform(0.8, 1.0)])
        values = np.clip(values, low, high)
    gain = log_uniform(rng, 1e-3, 1e4) / unit * (1.0 if rng.random() < 0.8 else -1.0)
    offset = 0.0 if rng.random() < 0.5 else rng.normal() * log_uniform(rng, 0.1, 100.0) * unit
    return np.asarray(gain * (values + offset))
