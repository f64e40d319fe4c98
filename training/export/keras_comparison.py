"""Verification of exported networks, as the agent runs them, against the Keras models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from agent.core.errors import EdgewatchError
from training.export import device_run
from training.export.tflite import quantiles
from training.networks.architectures import ForecasterShape

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.arrays import Float32Array
    from agent.models.bundle import Bundle

__all__ = [
    "MAX_TOLERANCE",
    "MEAN_TOLERANCE",
    "deviation",
    "keras_forecast",
    "keras_outputs",
    "keras_reconstruction",
    "verify",
]

# On the scale of the networks, in which a channel's usual deviation is about 1. Measured deviations: int8 weights 0.013
# on average and 0.4 to 0.7 at most over 65,000 points of many kinds, up to 1.0 on the steep flanks of heartbeats; state
# of a fused LSTM that is not cleared 0.53 on average and 5.8 at most.
MEAN_TOLERANCE = 0.02
MAX_TOLERANCE = 2.0


def verify(
    bundle: Bundle,
    forecaster: Any,
    autoencoder: Any,
    features: Float32Array,
    windows: Float32Array,
    *,
    shape: ForecasterShape | None = None,
    band: Float32Array | None = None,
    other_python: Path | None = None,
) -> dict[str, Any]:
    """Compare outputs with Keras and refuse a bundle that deviates too much.

    Parameters
    ----------
    bundle
        The exported networks.
    forecaster, autoencoder
        The Keras models.
    features
        float32[n_series, rows, n_features]: all rows run in sequence with the state carried.
    windows
        float32[n_windows, window * lanes]: all run in sequence through one network.
    shape, band
        Architecture and band with which the forecaster was exported.
    other_python
        Python with another TFLite runtime, which is compared with Keras too; the bundle must be written to its folder.

    Returns
    -------
    Entry for the manifest: for each network the number of inputs and the mean and largest deviation.

    Raises
    ------
    EdgewatchError
        The mean deviation exceeds `MEAN_TOLERANCE` or the largest exceeds `MAX_TOLERANCE`.
    EnvironmentFault
        The other Python cannot run the bundle.
    """
    n_series, rows, _ = features.shape
    forecast = keras_forecast(forecaster, features, shape or ForecasterShape(), band)
    reconstruction = keras_reconstruction(autoencoder, windows)
    found = {
        "mean_tolerance": MEAN_TOLERANCE,
        "max_tolerance": MAX_TOLERANCE,
        "forecaster": {
            "series": n_series,
            "steps": rows,
            **_accepted("forecaster", device_run.forecast(bundle, features), forecast),
        },
        "autoencoder": {
            "windows": len(windows),
            **_accepted("autoencoder", device_run.reconstruct(bundle, windows), reconstruction),
        },
    }
    if other_python is not None:
        runtime, theirs, redrawn = device_run.answers_of(other_python, bundle.directory, features, windows)
        found[runtime] = {
            "forecaster": _accepted(f"forecaster, run by {runtime},", theirs, forecast),
            "autoencoder": _accepted(f"autoencoder, run by {runtime},", redrawn, reconstruction),
        }
    return found


def keras_outputs(model: Any, features: Float32Array, shape: ForecasterShape) -> Float32Array:
    """Outputs of a forecaster for all rows from zero state, float32[n_series, rows, outputs]."""
    state = np.zeros((len(features), shape.layers * shape.units), np.float32)
    # Eager execution takes several times as long.
    run = tf.function(lambda *inputs: model(inputs, training=False)[0], autograph=False)
    return np.asarray(run(features, state, state))


def keras_forecast(
    model: Any, features: Float32Array, shape: ForecasterShape, band: Float32Array | None = None
) -> Float32Array:
    """Forecasts of all rows from zero state as in the exported file, float32[n_series, rows, 3 * n_channels]."""
    n_series, rows, _ = features.shape
    raw = keras_outputs(model, features, shape)
    flat = np.asarray(quantiles(shape, raw.reshape(n_series * rows, -1), band))
    return flat.reshape(n_series, rows, -1)


def keras_reconstruction(model: Any, windows: Float32Array) -> Float32Array:
    """Reconstruct flattened windows, float32[n_windows, window * lanes]."""
    shape = model.input_shape[1:]
    redraw = tf.function(lambda part: model(part, training=False), autograph=False, reduce_retracing=True)
    redrawn = np.concatenate(
        [np.asarray(redraw(part.reshape(-1, *shape))) for part in np.array_split(windows, -(-len(windows) // 512))]
    )
    flat: Float32Array = redrawn.reshape(windows.shape)
    return flat


def deviation(found: Float32Array, expected: Float32Array) -> dict[str, float]:
    """Mean and largest absolute difference, for the manifest."""
    difference = np.abs(found - expected)
    return {
        "mean_deviation": round(float(difference.mean()), 6),
        "max_deviation": round(float(difference.max()), 6),
    }


def _accepted(name: str, found: Float32Array, expected: Float32Array) -> dict[str, float]:
    deviates = deviation(found, expected)
    mean, largest = deviates["mean_deviation"], deviates["max_deviation"]
    if not (mean <= MEAN_TOLERANCE and largest <= MAX_TOLERANCE):  # NaN must fail too
        raise EdgewatchError(
            f"the exported {name} deviates from Keras by {mean:.3g} on average and {largest:.3g} at most "
            f"(tolerance {MEAN_TOLERANCE} and {MAX_TOLERANCE})",
            remedy="nothing was written; use --form float16, or the TensorFlow version named in docs/training.md",
        )
    return deviates
