"""Batches from which the two universal networks learn, and their losses."""

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

_TRUNCATION = 256  # rows through which gradients flow back; the state is carried on
_SERIES_A_STEP = 64
_WINDOWS_A_STEP = 128


class UniversalForecastTask:
    """Minimise the pinball loss by truncated back-propagation through time.

    Series run from start to end in random batches, the state carried from piece to piece, as on the device.

    Parameters
    ----------
    model
        `training.networks.architectures.forecaster`.
    data
        Features and targets; rows beyond a multiple of 256 are left out (all, if there are fewer, are one piece).
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
        """See `training.networks.trainer.Task`; the state behind the piece is carried."""
        features, target, state_h, state_c = batch
        forecast, *state = self.model([features, state_h, state_c], training=training)
        return tf.reduce_mean(forecaster_loss("quantile", target[..., None], forecast)), tuple(state)

    def carry(self, state: tuple[Any, ...]) -> None:
        """See `training.networks.trainer.Task`."""
        self._state = state

    def validation(self) -> list[tuple[Float32Array, ...]]:
        """See `training.networks.trainer.Task`; there is enough data to see most of it once."""
        return []


class UniversalReconstructionTask:
    """Minimise the mean absolute reconstruction error of windows drawn anywhere in the series.

    All points weigh the same, though the agent judges the newest: a network trained to get those right copies them, and
    what is anomalous with them.

    Parameters
    ----------
    model
        `training.networks.architectures.autoencoder`.
    series, data
        The series and what the normaliser made of them.
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
        """Windows do not hang together."""

    def validation(self) -> list[tuple[Float32Array, ...]]:
        """See `training.networks.trainer.Task`; there is enough data to see most of it once."""
        return []
