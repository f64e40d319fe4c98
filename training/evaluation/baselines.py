"""Baselines of detection: each network alone, and rules without a network.

All scores are causal: a row is scored by the rows before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.models.features import NORMALISATION_ROWS

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float32Array, Float64Array
    from agent.models.manifest import Start
    from training.evaluation.outcome import Outcome

__all__ = [
    "FROZEN_LIMIT",
    "baselines",
    "frozen_heads",
    "frozen_z",
    "highest_before",
    "linear_residual",
    "range_novelty",
    "relative_size",
    "running_z",
    "step_novelty",
]

# All constants are chosen by hand.
_CLIPPED = 5.0  # largest weight of one error in the running mean, in usual errors: one outlier must not hide the next
_FARTHEST = 100.0  # largest z score; reached when a channel moves that was constant while learning
_SMALLEST_SHARE = 0.002  # lower limit of the usual error, as share of the largest error so far, for quiet channels
_TINY = 1e-12  # avoids divisions by zero
# Parameters of `range_novelty`.
_BLOCK_ROWS = 24  # rows per block of the second scale
_RANGE_READINGS = 100  # readings before the range of readings counts
_RANGE_BLOCKS = 8  # blocks before the range of block means counts
_WIDENED = 0.5  # share of an excess by which the range grows
_NOVEL = 0.14  # excess over range that scores 1
_NOVEL_AT_MOST = 4.0  # largest score on one scale
# Parameters of `linear_residual`.
_LAGS = 64  # rows of the look-back
_RIDGE = 1e-3  # ridge penalty, in variances of the series
#: Score of `frozen_heads` from which a row is flagged: 14 % above the largest value before, as in the agent's `range`
#: threshold.
FROZEN_LIMIT = 1.14


def baselines(outcome: Outcome) -> dict[str, Float64Array]:
    """Score every row by each baseline.

    Returns
    -------
    float64[rows] each, ≥ 0:

    ``forecaster``, ``autoencoder``
        `relative_size` of the error of the network, maximum over channels. The error of the autoencoder stays until its
        next window.
    ``z_frozen``
        `frozen_z` by the learning rows, mean over channels.
    ``z_running``
        `running_z`, mean over channels.
    """
    values = np.asarray(outcome.recording.values)
    forecast, reconstruction = (relative_size(errors) for errors in outcome.errors)
    return {
        "forecaster": np.nan_to_num(forecast).max(axis=1),
        "autoencoder": np.nan_to_num(_last_known(reconstruction)).max(axis=1),
        "z_frozen": _mean(frozen_z(values, outcome.first)),
        "z_running": _mean(running_z(values)),
    }


def frozen_heads(outcome: Outcome, start: Start) -> dict[str, Float64Array]:
    """Score every row by the error of each network over its maximum in training; nothing adapts.

    Parameters
    ----------
    outcome
        Outcome of a recording with the channels of the bundle in the same order.
    start
        Quantiles of errors from the manifest of the bundle.

    Returns
    -------
    float64[rows] each: error over maximum in training, maximum over channels.
    """
    names = ("forecaster_frozen", "autoencoder_frozen")
    quantiles = (start.forecast_error, start.reconstruction_error)
    return {
        name: np.nan_to_num(_last_known(np.abs(errors.astype(np.float64)) / _largest(table))).max(axis=1)
        for name, errors, table in zip(names, outcome.errors, quantiles, strict=True)
    }


def _largest(quantiles: list[list[float]]) -> Float64Array:
    """Largest absolute error of every channel, float64[n_channels]."""
    table = np.array(quantiles)
    largest: Float64Array = np.maximum(np.maximum(np.abs(table[:, 0]), np.abs(table[:, -1])), _TINY)
    return largest


def relative_size(errors: Float32Array, memory: int = NORMALISATION_ROWS) -> Float64Array:
    """Divide errors by their usual size so far.

    The usual size is an exponentially weighted mean with rate ``max(1/n, 1/memory)``, in which errors are clipped to
    five times the mean. Its lower limit is 0.002 of the largest error so far, including the present one.

    Parameters
    ----------
    errors
        float32[rows, n_channels], NaN where undefined.
    memory
        Memory of the mean in rows.

    Returns
    -------
    float64[rows, n_channels], 0 to 500; NaN where the error is, 0 for the first error of a channel.
    """
    size = np.abs(errors.astype(np.float64))
    present = np.isfinite(size)
    floor = np.maximum(_SMALLEST_SHARE * np.maximum.accumulate(np.where(present, size, 0.0), axis=0), _TINY)
    relative = np.full(size.shape, np.nan)
    usual, count = np.zeros(size.shape[1]), np.zeros(size.shape[1])
    for row, (now, here) in enumerate(zip(size, present, strict=True)):
        known = here & (count > 0)
        relative[row, here] = 0.0
        np.divide(now, np.maximum(usual, floor[row]), out=relative[row], where=known)
        count += here
        rate = np.maximum(1.0 / np.maximum(count, 1.0), 1.0 / memory)
        allowed = np.where((count > 1) & (usual > 0), np.minimum(now, _CLIPPED * usual), now)
        np.add(usual, rate * (allowed - usual), out=usual, where=here)
    return relative


def frozen_z(values: Float32Array, first: int) -> Float64Array:
    """Absolute z score by mean and standard deviation of the first rows.

    Parameters
    ----------
    values
        float32[rows, n_channels], NaN where missing.
    first
        Number of rows for mean and deviation.

    Returns
    -------
    float64[rows, n_channels], 0 to 100, NaN where missing.
    """
    learned = values[:first].astype(np.float64)
    present = np.isfinite(learned)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, learned, 0.0).sum(axis=0) / count
    deviation = np.where(present, learned - mean, 0.0)
    return _distance(values, mean, np.sqrt((deviation**2).sum(axis=0) / count))


def running_z(values: Float32Array, memory: int = NORMALISATION_ROWS) -> Float64Array:
    """Absolute z score by exponentially weighted mean and standard deviation of the rows before.

    Parameters
    ----------
    values
        float32[rows, n_channels], NaN where missing.
    memory
        Memory in rows; the rate is ``max(1/n, 1/memory)`` (West 1979 for the variance).

    Returns
    -------
    As `frozen_z`; 0 for the first reading of a channel.
    """
    exact = values.astype(np.float64)
    present = np.isfinite(exact)
    mean = np.zeros(exact.shape)
    spread = np.zeros(exact.shape)
    centre, variance, count = np.zeros(exact.shape[1]), np.zeros(exact.shape[1]), np.zeros(exact.shape[1])
    for row, (now, here) in enumerate(zip(exact, present, strict=True)):
        mean[row], spread[row] = np.where(count > 0, centre, now), np.sqrt(variance)
        count += here
        rate = here * np.maximum(1.0 / np.maximum(count, 1.0), 1.0 / memory)
        step = np.where(here, now - centre, 0.0)
        centre += rate * step
        variance = (1.0 - rate) * (variance + rate * step * step)
    return _distance(values, mean, spread)


def range_novelty(values: Float64Array) -> Float64Array:
    """Excess of a value over the range of all before it, relative to that range, on two time scales.

    The excess of readings and the excess of means over 24 rows are divided by 0.14, clipped to 4, and combined as the
    root of the sum of squares.

    Parameters
    ----------
    values
        float64[rows] of one channel, NaN where missing.

    Returns
    -------
    float64[rows] ≥ 0; 0 where missing and for the first 100 readings. The mean of a block counts in its last row.
    """
    blocks = len(values) // _BLOCK_ROWS
    table = values[: blocks * _BLOCK_ROWS].reshape(blocks, _BLOCK_ROWS)
    present = np.isfinite(table)
    count = present.sum(axis=1)
    means = np.where(count > 0, np.where(present, table, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
    squares = np.minimum(_beyond(values, _RANGE_READINGS) / _NOVEL, _NOVEL_AT_MOST) ** 2
    ends = slice(_BLOCK_ROWS - 1, blocks * _BLOCK_ROWS, _BLOCK_ROWS)
    squares[ends] += np.minimum(_beyond(means, _RANGE_BLOCKS) / _NOVEL, _NOVEL_AT_MOST) ** 2
    novelty: Float64Array = np.sqrt(squares)
    return novelty


def step_novelty(values: Float64Array) -> Float64Array:
    """Excess of the difference of consecutive values over the range of all before it, relative to that range.

    Parameters
    ----------
    values
        float64[rows] of one channel, none missing.

    Returns
    -------
    float64[rows] ≥ 0.
    """
    step = np.diff(values, prepend=values[:1])
    highest = np.concatenate(([0.0], np.maximum.accumulate(step)[:-1]))
    lowest = np.concatenate(([0.0], np.minimum.accumulate(step)[:-1]))
    excess = np.maximum(np.maximum(step - highest, lowest - step), 0.0)
    novelty: Float64Array = excess / np.maximum(highest - lowest, 1e-9)
    return novelty


def linear_residual(values: Float64Array, first: int) -> Float64Array:
    """Mean square error of a linear forecast from the last 64 rows, averaged over the last 64 rows.

    The weights come from a ridge regression over the first rows of the standardised series.

    Parameters
    ----------
    values
        float64[rows] of one channel, none missing.
    first
        Number of rows for the regression, more than 64.

    Returns
    -------
    float64[rows] ≥ 0; 0 for the first 64.
    """
    standard = (values - values[:first].mean()) / max(float(values[:first].std()), _TINY)
    windows = np.lib.stride_tricks.sliding_window_view(standard, _LAGS + 1)
    learned = windows[: first - _LAGS]
    moments = learned.T @ learned / len(learned)
    weights = np.linalg.solve(moments[:_LAGS, :_LAGS] + _RIDGE * np.eye(_LAGS), moments[:_LAGS, _LAGS])
    squares = np.zeros(len(values))
    squares[_LAGS:] = (windows[:, _LAGS] - windows[:, :_LAGS] @ weights) ** 2
    total = np.concatenate((np.zeros(_LAGS), np.cumsum(squares)))
    mean: Float64Array = np.maximum(total[_LAGS:] - total[:-_LAGS], 0.0) / _LAGS
    return mean


def _beyond(values: Float64Array, learned: int) -> Float64Array:
    """Relative excess over the range of earlier values, after ``learned`` of them; half of it widens the range."""
    beyond = np.zeros(len(values))
    seen = 0
    lowest = highest = 0.0
    for row, value in enumerate(values.tolist()):
        if value != value:  # noqa: PLR0124 - NaN, in a loop over plain floats
            continue
        seen += 1
        if seen == 1:
            lowest = highest = value
        excess = max(value - highest, lowest - value, 0.0)
        if excess and seen > learned:
            beyond[row] = excess / max(highest - lowest, 1e-9 * abs(highest), _TINY)
            excess *= _WIDENED
        if value > highest:
            highest += excess
        elif value < lowest:
            lowest -= excess
    return beyond


def highest_before(score: Float64Array, first: int) -> float:
    """Threshold of a baseline: its largest score in the second half of the learning rows.

    Parameters
    ----------
    score
        float64[rows].
    first
        Number of learning rows; with 0 the threshold is infinite.
    """
    return float(np.max(score[first // 2 : first])) if first else np.inf


def _distance(values: Float32Array, mean: Float64Array, spread: Float64Array) -> Float64Array:
    resolution = np.maximum(1e-6 * np.abs(mean), _TINY)  # about the resolution of float32
    distance: Float64Array = np.abs(values - mean) / np.maximum(spread, resolution)
    return np.minimum(distance, _FARTHEST)


def _mean(distance: Float64Array) -> Float64Array:
    """Mean over the channels with a reading, float64[rows]; 0 in rows without readings."""
    present: BoolArray = np.isfinite(distance)
    mean: Float64Array = np.where(present, distance, 0.0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return mean


def _last_known(sparse: Float64Array) -> Float64Array:
    """Repeat the last number of each channel until the next one, float64[rows, n_channels]."""
    rows = np.arange(len(sparse))[:, None]
    newest = np.maximum.accumulate(np.where(np.isfinite(sparse), rows, -1), axis=0)
    repeated: Float64Array = np.where(newest >= 0, np.take_along_axis(sparse, np.maximum(newest, 0), axis=0), np.nan)
    return repeated
