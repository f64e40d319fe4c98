"""The two networks, as Keras models, and what they are trained to minimise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from agent.features import FEATURES

__all__ = ["LATENT", "QUANTILES", "UNITS", "WINDOW", "autoencoder", "forecaster", "pinball_loss", "window_loss"]

UNITS = 32
LATENT = 8
WINDOW = 32
QUANTILES = (0.05, 0.5, 0.95)
# The agent judges a window by its newest half; a point there counts three times one of the older half.
_NEWEST_WEIGHT = 3.0


def forecaster() -> Any:
    """Recurrent forecaster of three quantiles of the next value, its state passed in and out.

    Inputs ``features`` float32[batch, rows, 3], ``state_h`` and ``state_c`` float32[batch, units]. Outputs
    float32[batch, rows, 3] (the median's offset from the present level and the distances, ≥ 0, from it to the outer
    quantiles, which so cannot cross) and the two states after the last row.
    """
    features = keras.Input((None, len(FEATURES)), name="features")
    state_h = keras.Input((UNITS,), name="state_h")
    state_c = keras.Input((UNITS,), name="state_c")
    recurrent = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True, name="recurrent")
    hidden, next_h, next_c = recurrent(features, initial_state=[state_h, state_c])
    raw = keras.layers.Dense(len(QUANTILES), name="head")(hidden)
    forecast = keras.layers.Concatenate(name="forecast")([raw[..., :1], ops.softplus(raw[..., 1:])])
    return keras.Model([features, state_h, state_c], [forecast, next_h, next_c], name="forecaster")


def autoencoder() -> Any:
    """LSTM encoder, narrow latent vector, LSTM decoder: float32[batch, 32, 1] to its reconstruction.

    The latent vector is small enough that what training never showed cannot pass through it (EncDec-AD, Malhotra et
    al. 2016; here reconstructed in forward order, all at once).
    """
    window = keras.Input((WINDOW, 1), name="window")
    encoded = keras.layers.LSTM(UNITS, name="encoder")(window)
    latent = keras.layers.Dense(LATENT, name="latent")(encoded)
    repeated = keras.layers.RepeatVector(WINDOW)(latent)
    decoded = keras.layers.LSTM(UNITS, return_sequences=True, name="decoder")(repeated)
    reconstruction = keras.layers.Dense(1, name="points")(decoded)
    return keras.Model(window, reconstruction, name="autoencoder")


def pinball_loss(target: Any, forecast: Any) -> Any:
    """Mean pinball loss over the three quantiles (Koenker and Bassett 1978).

    Parameters
    ----------
    target
        float32[batch, rows].
    forecast
        float32[batch, rows, 3], median offset and distances.
    """
    median = forecast[..., 0]
    quantiles = (median - forecast[..., 1], median, median + forecast[..., 2])
    loss = 0.0
    for level, quantile in zip(QUANTILES, quantiles, strict=True):
        error = target - quantile
        loss += ops.mean(ops.maximum(level * error, (level - 1.0) * error))
    return loss / len(QUANTILES)


def window_loss(window: Any, reconstruction: Any) -> Any:
    """Mean absolute error of a reconstruction, the newest half of the window weighing more.

    Parameters
    ----------
    window, reconstruction
        float32[batch, 32, 1].
    """
    error = ops.abs(window - reconstruction)
    older, newest = error[:, : WINDOW // 2], error[:, WINDOW // 2 :]
    return (ops.mean(older) + _NEWEST_WEIGHT * ops.mean(newest)) / (1.0 + _NEWEST_WEIGHT)
