"""Training batches and losses of the two networks of the universal bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from training.networks.architectures import UNITS, WINDOW, forecaster_loss
from training.networks.universal_dataset import windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from agent.core.arrays import Float32Array, Float64Array
    from training.networks.universal_dataset import Trace

__all__ = ["UniversalForecastTask", "UniversalReconstructionTask"]

# Chosen by hand.
_TRUNCATION = 256  # rows of back-propagation; the state continues beyond them
_SERIES_A_STEP = 64  # series per batch of the forecaster
_WINDOWS_A_STEP = 128  # windows per batch of the autoencoder


class UniversalForecastTask:
    """Training task of the forecaster: pinball loss, truncated back-propagation through time.

    Each batch of series runs from start to end in pieces of 256 rows; the state continues, as on the device.

    Parameters
    ----------
    model
        Model of `training.networks.architectures.forecaster`.
    data
        Features and targets. Rows after the last complete piece are not used; shorter series are a single piece.
    """

    def __init__(self, model: Any, data: Trace) -> None:
        self.model = model
        self._data = data
        self._state: tuple[Any, ...] = ()

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """See `training.networks.trainer.Task`."""
        data = self._data
        n_series, rows = data.target.shape
        batch = min(_SERIES_A_STEP, n_series)
        piece = min(_TRUNCATION, rows)
        while True:
            order = rng.permutation(n_series)
            for first in range(0, n_series - batch + 1, batch):
                chosen = order[first : first + batch]
                self._state = (tf.zeros((batch, UNITS)),) * 2
                for start in range(0, rows - piece + 1, piece):
                    span = slice(start, start + piece)
                    yield data.features[chosen, span], data.target[chosen, span], *self._state

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        """See `training.networks.trainer.Task`; the state after the piece is passed to `carry`."""
        features, target, state_h, state_c = batch
        forecast, *state = self.model([features, state_h, state_c], training=training)
        return tf.reduce_mean(forecaster_loss("quantile", target[..., None], forecast)), tuple(state)

    def carry(self, state: tuple[Any, ...]) -> None:
        """See `training.networks.trainer.Task`."""
        self._state = state

    def validation(self) -> list[tuple[Float32Array, ...]]:
        """No validation data: each series is seen about once, so early stopping is not needed."""
        return []


class UniversalReconstructionTask:
    """Training task of the autoencoder: mean absolute reconstruction error of random windows.

    All points have the same weight although the agent judges only the newest. With more weight on these, the network
    would copy them, including anomalies.

    Parameters
    ----------
    model
        Model of `training.networks.architectures.autoencoder`.
    series, data
        float64[n_series, length], and `training.networks.universal_dataset.trace` of them.
    """

    def __init__(self, model: Any, series: Float64Array, data: Trace) -> None:
        self.model = model
        self._series = series
        self._data = data

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """See `training.networks.trainer.Task`."""
        n_series, rows = self._data.target.shape
        while True:
            which, ends = rng.integers(n_series, size=_WINDOWS_A_STEP), rng.integers(rows, size=_WINDOWS_A_STEP)
            yield (windows(self._series, self._data, which, ends, WINDOW)[:, :, None],)

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        """See `training.networks.trainer.Task`."""
        (window,) = batch
        return tf.reduce_mean(tf.abs(window - self.model(window, training=training))), ()

    def carry(self, state: tuple[Any, ...]) -> None:
        """Do nothing: windows are independent."""

    def validation(self) -> list[tuple[Float32Array, ...]]:
        """No validation data: each series is seen about once, so early stopping is not needed."""
        return []
