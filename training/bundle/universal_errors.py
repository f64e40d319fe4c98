"""Calibration of the universal bundle: quantiles of errors on normal series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.detection.scaling import unsquash
from training.export import device_run
from training.networks.universal_dataset import WARM_UP, windows

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array
    from agent.models.bundle import Bundle
    from training.networks.universal_dataset import Trace

__all__ = ["calibrate"]

_LEVELS = (0.5, 0.9, 0.99, 0.999)
_SETTLING = 128  # rows until the forecaster's state has settled; chosen by hand


def calibrate(bundle: Bundle, series: Float64Array, traced: Trace, seed: int) -> dict[str, Any]:
    """Quantiles of absolute errors, in running deviations of the channel.

    Parameters
    ----------
    bundle
        Exported networks.
    series
        float64[n_series, length], undisturbed series not used for training.
    traced
        `training.networks.universal_dataset.trace` of the series.
    seed
        Seed for the choice of windows.

    Returns
    -------
    Entry for the manifest. A forecast error is reading minus median. A reconstruction error is the maximum over the
    newest ``judged`` points of a window, as in the agent.
    """
    forecast = device_run.forecast(bundle, traced.features)[:, _SETTLING:, 0]
    level = traced.features[:, _SETTLING:, 0]
    target = traced.target[:, _SETTLING:] + level
    forecast_error = np.abs(unsquash(target.astype(np.float64)) - unsquash(level.astype(np.float64) + forecast))

    spec = bundle.manifest.autoencoder
    rng = np.random.default_rng(seed)
    n_windows = 4 * len(series)
    which, ends = np.repeat(np.arange(len(series)), 4), rng.integers(_SETTLING, traced.target.shape[1], n_windows)
    cut = windows(series, traced, which, ends, spec.window)
    rebuilt = device_run.reconstruct(bundle, cut)
    errors = np.abs(unsquash(cut.astype(np.float64)) - unsquash(rebuilt.astype(np.float64)))
    reconstruction_error = errors[:, -spec.judged :].max(axis=1)
    return {
        "unit": "running deviation",
        "series": len(series),
        "rows": series.shape[1] - WARM_UP - _SETTLING - 1,
        "windows": n_windows,
        "forecast_error": _quantiles(forecast_error),
        "reconstruction_error": _quantiles(reconstruction_error),
    }


def _quantiles(errors: Float64Array) -> dict[str, float]:
    return {str(level): round(float(np.quantile(errors, level)), 4) for level in _LEVELS}
