"""Runs exported networks over many rows as the device does: the agent's loader, the runtime, one step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.bundle import Bundle
    from agent.types import Float32Array

__all__ = ["forecast", "reconstruct"]


def forecast(bundle: Bundle, features: Float32Array) -> Float32Array:
    """Forecast every row in turn from zero state, which is then carried.

    Parameters
    ----------
    features
        float32[n_series, rows, 3].

    Returns
    -------
    float32[n_series, rows, 3], median offsets and distances.
    """
    n_series, rows, _ = features.shape
    network = bundle.forecaster(n_series)
    forecasts = np.empty((n_series, rows, len(bundle.manifest.forecaster.quantiles)), np.float32)
    for t in range(rows):
        forecasts[:, t], network.h, network.c = network.step(np.ascontiguousarray(features[:, t]))
    return forecasts


def reconstruct(bundle: Bundle, windows: Float32Array) -> Float32Array:
    """Reconstruct windows one after the other through one network, so that a state left over shows.

    Parameters
    ----------
    windows
        float32[n_windows, window].

    Returns
    -------
    float32[n_windows, window]
    """
    network = bundle.autoencoder(1)
    return np.concatenate([network.reconstruct(window[None]) for window in windows])
