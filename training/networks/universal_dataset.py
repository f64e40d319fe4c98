"""Inputs and targets of the universal networks from simulated series, computed by the agent's own normaliser."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agent.detection.normaliser import Normaliser
from agent.detection.scaling import squash
from agent.detection.seasonality import Seasons
from agent.models.features import FEATURES, SEASON_FEATURES

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array, Float64Array, IntArray

__all__ = ["WARM_UP", "Trace", "draw_floors", "trace", "windows"]

#: Rows before the running statistics are good enough for training; chosen by hand, and far shorter than the learning
#: time of the agent.
WARM_UP = 64


class Trace(NamedTuple):
    """Inputs, targets and running statistics of series; all arrays start after the warm-up.

    Parameters
    ----------
    features
        float32[n_series, rows, 8], inputs of the forecaster.
    target
        float32[n_series, rows], next value minus present level, both normalised and squashed.
    centre, spread
        float64[n_series, rows], running centre and spread at each row.
    """

    features: Float32Array
    target: Float32Array
    centre: Float64Array
    spread: Float64Array


def draw_floors(seed: int, series: Float64Array) -> Float64Array:
    """Draw lower limits of the spread, float64[n_series], for the normaliser.

    70 % are 0; the others are 0.1 to 20 times the deviation of the series. The agent sets such a limit for a channel
    with a smallest effect. If the effect exceeds the noise, the features are near zero, and the networks must have
    seen such channels.
    """
    rng = np.random.default_rng(seed)
    deviation = np.mean(np.abs(series - np.median(series, axis=1, keepdims=True)), axis=1)
    ratio = np.exp(rng.uniform(np.log(0.1), np.log(20.0), deviation.size))
    return np.where(rng.random(deviation.size) < 0.3, ratio * deviation, 0.0)


def trace(series: Float64Array, floors: Float64Array, day: IntArray) -> Trace:
    """Run the agent's normaliser over all series in parallel, row by row.

    Parameters
    ----------
    series
        float64[n_series, length], with ``length`` > `WARM_UP` + 1.
    floors
        float64[n_series], lower limits of the spread.
    day
        int64[n_series], rows per day; 0 if unknown.

    Returns
    -------
    `Trace` of ``length - WARM_UP - 1`` rows; the last row of a series is only a target.
    """
    n_series, length = series.shape
    rows = length - WARM_UP - 1
    features = np.empty((n_series, rows, len(FEATURES) + len(SEASON_FEATURES)), np.float32)
    target = np.empty((n_series, rows), np.float32)
    centre = np.empty((n_series, rows))
    spread = np.empty((n_series, rows))
    normaliser, seasons = Normaliser(n_series, floors), Seasons(day)
    everyone = np.ones(n_series, bool)
    for t in range(length - 1):
        row = normaliser.update(series[:, t], everyone)
        seasons.push(series[:, t])
        k = t - WARM_UP
        if k < 0:
            continue
        features[:, k, : len(FEATURES)] = row
        features[:, k, len(FEATURES) :] = seasons.features(
            normaliser.centre, normaliser.spread, normaliser.usual_change
        )
        centre[:, k] = normaliser.centre
        spread[:, k] = normaliser.spread
        target[:, k] = squash((series[:, t + 1] - centre[:, k]) / spread[:, k]) - row[:, 0]
    return Trace(features, target, centre, spread)


def windows(series: Float64Array, traced: Trace, which: IntArray, ends: IntArray, width: int) -> Float32Array:
    """Cut windows and normalise each by the running statistics at its newest row.

    Parameters
    ----------
    series
        float64[n_series, length].
    traced
        `trace` of the same series.
    which, ends
        int64[n_windows], index of the series, and newest row counted from the end of the warm-up.
    width
        Rows per window, at most `WARM_UP`.

    Returns
    -------
    float32[n_windows, width], squashed, oldest first.
    """
    rows = WARM_UP + ends[:, None] + np.arange(1 - width, 1)
    cut = series[which[:, None], rows]
    normalised = (cut - traced.centre[which, ends][:, None]) / traced.spread[which, ends][:, None]
    return squash(normalised).astype(np.float32)
