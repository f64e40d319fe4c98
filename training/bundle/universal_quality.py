"""Quality of the universal networks on unseen series, compared with rules without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.detection.scaling import unsquash
from training.export import device_run
from training.networks.architectures import LATENT, QUANTILES
from training.networks.universal_dataset import WARM_UP, trace, windows
from training.synthetic.disturbances import level_shift, new_variance, spike, stuck

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
    from agent.models.bundle import Bundle
    from training.networks.universal_dataset import Trace

__all__ = ["measure"]

# Chosen by hand.
_SETTLING = 128  # rows until the forecaster's state has settled
_SPAN = 10  # rows in which a planted anomaly must be found
_RIVALS = 32  # undisturbed spans per series that a planted anomaly is compared with
_SIZE = 8.0  # size of a planted anomaly in running deviations
_PLANTED = (spike, level_shift, new_variance, stuck)


def measure(bundle: Bundle, series: Float64Array, traced: Trace, day: IntArray, seed: int) -> dict[str, Any]:
    """Measure forecasts, reconstructions, and the detection of planted anomalies.

    Parameters
    ----------
    bundle
        Exported networks.
    series
        float64[n_series, length], undisturbed series not used for training.
    traced, day
        `training.networks.universal_dataset.trace` of the series, and rows per day of each, int64[n_series].
    seed
        Seed for the choice of windows and anomalies.

    Returns
    -------
    Entry for the manifest, with

    ``forecaster``
        Mean pinball loss on the squashed scale; that of repeating the last value, with the best common spread and with
        the best spread of each series (known only in hindsight); share of readings within the 5 to 95 % band.
    ``autoencoder``
        Mean absolute error of the newest 10 points on the squashed scale; that of the running centre, of the median of
        the window, and of a linear code (principal components) with the length of the latent vector.
    ``found``
        By kind of anomaly, the share whose largest error exceeds that of each of 32 undisturbed spans of the same
        series (3 % by chance); for the forecaster, the autoencoder, and the distance from the running centre.
    """
    return {
        "series": len(series),
        "forecaster": _forecaster(bundle, traced),
        "autoencoder": _autoencoder(bundle, series, traced, seed),
        "found": {disturb.__name__: _found(bundle, series, traced, day, disturb, seed) for disturb in _PLANTED},
    }


def _forecaster(bundle: Bundle, traced: Trace) -> dict[str, float]:
    target = traced.target[:, _SETTLING:].astype(np.float64)
    forecast = device_run.forecast(bundle, traced.features)[:, _SETTLING:]
    lower, upper = forecast[..., 0] - forecast[..., 1], forecast[..., 0] + forecast[..., 2]
    everywhere = np.quantile(target, QUANTILES)
    each = np.quantile(target, QUANTILES, axis=1, keepdims=True)
    return {
        "pinball": _pinball(target, (lower, forecast[..., 0], upper)),
        "persistence_constant_spread": _pinball(target, (everywhere[0], 0.0, everywhere[2])),
        "persistence_own_spread": _pinball(target, (each[0], 0.0, each[2])),
        "coverage": round(float(np.mean((target >= lower) & (target <= upper))), 4),
        "below": round(float(np.mean(target < lower)), 4),
        "above": round(float(np.mean(target > upper)), 4),
    }


def _pinball(target: Float64Array, quantiles: tuple[Any, Any, Any]) -> float:
    losses = []
    for level, quantile in zip(QUANTILES, quantiles, strict=True):
        error = target - quantile
        losses.append(np.mean(np.maximum(level * error, (level - 1.0) * error)))
    return round(float(np.mean(losses)), 5)


def _autoencoder(bundle: Bundle, series: Float64Array, traced: Trace, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    n_series, rows = traced.target.shape
    which = np.repeat(np.arange(n_series), 8)
    cut = windows(series, traced, which, rng.integers(rows, size=which.size), bundle.manifest.autoencoder.window)
    judged, fitted = cut[::2], cut[1::2]
    newest = slice(-_SPAN, None)

    def error(answer: Float32Array) -> float:
        return round(float(np.mean(np.abs((judged - answer)[:, newest]))), 5)

    centre = fitted.mean(axis=0)
    directions = np.linalg.svd(fitted - centre, full_matrices=False)[2][:LATENT]
    return {
        "windows": len(judged),
        "error": error(device_run.reconstruct(bundle, judged)),
        "centre": error(np.zeros_like(judged)),
        "window_median": error(np.median(judged, axis=1, keepdims=True)),
        "linear_code": error((judged - centre) @ directions.T @ directions + centre),
    }


def _found(
    bundle: Bundle,
    series: Float64Array,
    traced: Trace,
    day: IntArray,
    disturb: Callable[[np.random.Generator, Float64Array, int, float], None],
    seed: int,
) -> dict[str, float]:
    """Share of series in which a planted anomaly exceeds all undisturbed spans, by signal."""
    rng = np.random.default_rng(seed)
    n_series, rows = traced.target.shape
    onset = rng.integers(rows // 2, rows - _SPAN, n_series)
    planted = series.copy()
    for values, row, spread in zip(planted, onset, traced.spread[np.arange(n_series), onset], strict=True):
        disturb(rng, values, WARM_UP + int(row), _SIZE * spread)
    ends = onset + _SPAN - 1
    rivals = np.sort(rng.integers(_SETTLING, rows // 2, (n_series, _RIVALS)), axis=1)

    disturbed = _signals(bundle, planted, trace(planted, np.zeros(n_series), day), ends[:, None])
    usual = _signals(bundle, series, traced, rivals)

    def share(signal: str) -> float:
        above: BoolArray = disturbed[signal][:, 0] > usual[signal].max(axis=1)
        return round(float(above.mean()), 3)

    return {signal: share(signal) for signal in usual}


def _signals(bundle: Bundle, series: Float64Array, traced: Trace, ends: IntArray) -> dict[str, Float64Array]:
    """Largest error within the `_SPAN` rows up to each end, in running deviations.

    Parameters
    ----------
    ends
        int64[n_series, n_ends], rows counted from the end of the warm-up.

    Returns
    -------
    float64[n_series, n_ends] by signal.
    """
    n_series, n_ends = ends.shape
    which = np.repeat(np.arange(n_series), n_ends)
    cut = windows(series, traced, which, ends.ravel(), bundle.manifest.autoencoder.window)
    values = unsquash(cut.astype(np.float64))[:, -_SPAN:]
    rebuilt = unsquash(device_run.reconstruct(bundle, cut).astype(np.float64))[:, -_SPAN:]

    median = device_run.forecast(bundle, traced.features)[..., 0]
    level = traced.features[..., 0].astype(np.float64)
    surprise = np.abs(unsquash(level + traced.target) - unsquash(level + median))
    # The error of a forecast made in one row belongs to the next row.
    rows = ends[:, :, None] + np.arange(-_SPAN, 0)
    return {
        "forecaster": surprise[np.arange(n_series)[:, None, None], rows].max(axis=2),
        "autoencoder": np.abs(values - rebuilt).max(axis=1).reshape(n_series, n_ends),
        "distance_from_centre": np.abs(values).max(axis=1).reshape(n_series, n_ends),
    }
