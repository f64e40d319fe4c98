"""Holds the exported networks, as the agent runs them, against the Keras models they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.errors import EdgewatchError
from training import device
from training.models import UNITS

if TYPE_CHECKING:
    from agent.bundle import Bundle
    from agent.types import Float32Array

__all__ = ["MAX_TOLERANCE", "MEAN_TOLERANCE", "verify"]

# On the squashed scale, where a channel's usual deviation is about 1. Int8 weights cost 0.013 on average and, in two
# trainings, 0.43 and 0.65 at the worst of 65,000 points; a fused state that is not cleared costs 0.53 and 5.8.
MEAN_TOLERANCE = 0.02
MAX_TOLERANCE = 1.0


def verify(
    bundle: Bundle, forecaster: Any, autoencoder: Any, features: Float32Array, windows: Float32Array
) -> dict[str, Any]:
    """Compare answers and refuse a bundle that deviates too far.

    Parameters
    ----------
    bundle
        The exported networks.
    forecaster, autoencoder
        The Keras models.
    features
        float32[n_series, rows, 3]: all rows run in sequence with the state carried.
    windows
        float32[n_windows, window]: all run in sequence through one network.

    Returns
    -------
    The manifest's entry: for either network how much was compared, and the mean and largest deviation.

    Raises
    ------
    EdgewatchError
        A mean above `MEAN_TOLERANCE` or a maximum above `MAX_TOLERANCE`.
    """
    n_series, rows, _ = features.shape
    state = np.zeros((n_series, UNITS), np.float32)
    expected = np.asarray(forecaster([features, state, state], training=False)[0])
    forecast = _compare("forecaster", device.forecast(bundle, features), expected)
    expected = np.asarray(autoencoder(windows[:, :, None], training=False))[:, :, 0]
    reconstruction = _compare("autoencoder", device.reconstruct(bundle, windows), expected)
    return {
        "mean_tolerance": MEAN_TOLERANCE,
        "max_tolerance": MAX_TOLERANCE,
        "forecaster": {"series": n_series, "steps": rows, **forecast},
        "autoencoder": {"windows": len(windows), **reconstruction},
    }


def _compare(name: str, found: Float32Array, expected: Float32Array) -> dict[str, float]:
    deviation = np.abs(found - expected)
    mean, largest = float(deviation.mean()), float(deviation.max())
    if not (mean <= MEAN_TOLERANCE and largest <= MAX_TOLERANCE):  # NaN must fail too
        raise EdgewatchError(
            f"the exported {name} deviates from Keras by {mean:.3g} on average and {largest:.3g} at most "
            f"(tolerance {MEAN_TOLERANCE} and {MAX_TOLERANCE})",
            remedy="nothing was written; train longer, or with the TensorFlow version that docs/training.md names",
        )
    return {"mean_deviation": round(mean, 6), "max_deviation": round(largest, 6)}
