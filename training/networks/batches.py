"""Training batches and losses of the two networks of a fitted bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from keras import ops

from training.networks import architectures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import Float32Array, IntArray
    from training.networks.architectures import AutoencoderShape, ForecasterShape
    from training.networks.dataset import Part, Prepared

__all__ = ["ForecastTask", "ReconstructionTask"]

# Chosen by hand.
_SERIES_A_BATCH = 32  # sequences per batch of the forecaster
_WINDOWS_A_BATCH = 64  # windows per batch of the autoencoder
_VALIDATED = 512  # largest number of sequences or windows for validation
_SETTLING_SHARE = 0.25  # initial share of a sequence without loss, in which the state settles from zero


class ForecastTask:
    """Training task of the forecaster: forecast every row of a sequence from the rows before it.

    A sequence has twice the length of the look-back and starts from zero state; gradients flow through all of it.

    Parameters
    ----------
    model, shape
        Model of `training.networks.architectures.forecaster`, and its architecture.
    prepared
        Scaled and split recordings.
    joint
        Whether a sequence holds all channels, or a single one.
    look_back, horizon
        In rows.
    """

    def __init__(
        self, model: Any, shape: ForecasterShape, prepared: Prepared, *, joint: bool, look_back: int, horizon: int
    ) -> None:
        self.model = model
        self.shape = shape
        self._prepared = prepared
        self._joint = joint
        self._length = 2 * look_back
        self._horizon = horizon
        self._ends = [part.ends(part.split.train, self._length + horizon) for part in prepared.parts]
        #: Number of sequences in the training parts.
        self.available = sum(len(ends) for ends in self._ends)

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Float32Array, ...]]:
        """See `training.networks.trainer.Task`."""
        while True:
            which, ends = _draw(rng, self._ends, _SERIES_A_BATCH)
            yield self._cut(which, ends, rng.integers(self._prepared_channels, size=_SERIES_A_BATCH))

    def validation(self) -> list[tuple[Float32Array, ...]]:
        """See `training.networks.trainer.Task`."""
        length = self._length + self._horizon
        ends = [part.ends(part.split.validation, length, max(1, length // 2)) for part in self._prepared.parts]
        return [
            self._cut(which, at, np.arange(len(at)) % self._prepared_channels)
            for which, at in _batches(ends, _SERIES_A_BATCH, _VALIDATED)
        ]

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        """See `training.networks.trainer.Task`; missing targets and the settling rows have no weight."""
        features, target, weight = batch
        state = tf.zeros((tf.shape(features)[0], self.shape.layers * self.shape.units))
        forecast = self.model([features, state, state], training=training)[0]
        losses = architectures.forecaster_loss(self.shape.head, target, forecast)
        return ops.sum(losses * weight) / ops.maximum(ops.sum(weight), 1.0), ()

    def carry(self, state: tuple[Any, ...]) -> None:
        """Do nothing: every sequence starts from zero state."""

    @property
    def _prepared_channels(self) -> int:
        return len(self._prepared.channels)

    def _cut(self, which: IntArray, ends: IntArray, channels: IntArray) -> tuple[Float32Array, ...]:
        """Features, targets (offsets from the present level) and weights of targets, float32[batch, length, n] each."""
        length, horizon = self._length, self._horizon
        rows = ends[:, None] - horizon + np.arange(1 - length, 1)
        parts = self._prepared.parts
        level, later, known, clock = (
            np.stack(arrays)
            for arrays in zip(
                *(_look(parts[k], row, horizon, self._prepared.clock) for k, row in zip(which, rows, strict=True)),
                strict=True,
            )
        )
        if not self._joint:
            level, later, known = (
                np.take_along_axis(a, channels[:, None, None], axis=2) for a in (level, later, known)
            )
        weight = known.astype(np.float32)
        weight[:, : round(_SETTLING_SHARE * length)] = 0.0
        return np.concatenate((level, clock), axis=2), later - level, weight


class ReconstructionTask:
    """Training task of the autoencoder: reconstruct windows.

    Parameters
    ----------
    model, shape
        Model of `training.networks.architectures.autoencoder`, and its architecture.
    prepared
        Scaled and split recordings.
    joint
        Whether a window holds all channels, or a single one.
    block
        Rows averaged into a point.
    centred
        Whether the mean of a window is subtracted from each channel.
    """

    def __init__(
        self, model: Any, shape: AutoencoderShape, prepared: Prepared, *, joint: bool, block: int, centred: bool
    ) -> None:
        self.model = model
        self._shape = shape
        self._prepared = prepared
        self._joint = joint
        self._block = block
        self._centred = centred
        self._rows = shape.window * block
        self._ends = [part.ends(part.split.train, self._rows) for part in prepared.parts]
        #: Number of windows in the training parts.
        self.available = sum(len(ends) for ends in self._ends)

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Float32Array, ...]]:
        """See `training.networks.trainer.Task`."""
        while True:
            which, ends = _draw(rng, self._ends, _WINDOWS_A_BATCH)
            yield (self._cut(which, ends, rng.integers(len(self._prepared.channels), size=len(ends))),)

    def validation(self) -> list[tuple[Float32Array, ...]]:
        """See `training.networks.trainer.Task`."""
        n = len(self._prepared.channels)
        ends = [p.ends(p.split.validation, self._rows, max(1, self._rows // 8)) for p in self._prepared.parts]
        return [
            (self._cut(which, at, np.arange(len(at)) % n),)
            for which, at in _batches(ends, _WINDOWS_A_BATCH, _VALIDATED)
        ]

    def loss(self, batch: tuple[Any, ...], *, training: bool) -> tuple[Any, tuple[Any, ...]]:
        """See `training.networks.trainer.Task`: mean absolute error."""
        (window,) = batch
        return ops.mean(ops.abs(window - self.model(window, training=training))), ()

    def carry(self, state: tuple[Any, ...]) -> None:
        """Do nothing: windows are independent."""

    def windows(self, part: Part, ends: IntArray) -> Float32Array:
        """Inputs of the network from one recording, float32[n, window, lanes].

        In the shared layout, ``lanes`` is 1 and the windows of all channels with the same end are consecutive.

        Parameters
        ----------
        part
            Prepared recording.
        ends
            int64[n_ends], last row of each window.
        """
        points = part.points(ends, self._shape.window, self._block)
        if self._centred:
            points -= points.mean(axis=1, keepdims=True)
        if self._joint:
            return points
        return np.ascontiguousarray(points.transpose(0, 2, 1).reshape(-1, self._shape.window, 1))

    def _cut(self, which: IntArray, ends: IntArray, channels: IntArray) -> Float32Array:
        points = np.empty((len(ends), self._shape.window, len(self._prepared.channels)), np.float32)
        for k in np.unique(which):
            points[which == k] = self._prepared.parts[k].points(ends[which == k], self._shape.window, self._block)
        if not self._joint:
            points = np.take_along_axis(points, channels[:, None, None], axis=2)
        if self._centred:
            points -= points.mean(axis=1, keepdims=True)
        return points


def _draw(rng: np.random.Generator, ends: list[IntArray], count: int) -> tuple[IntArray, IntArray]:
    """Draw windows uniformly over all recordings: index of the recording and last row, int64[count] each."""
    starts = np.cumsum([0, *(len(e) for e in ends)])
    drawn = rng.integers(starts[-1], size=count)
    which = np.searchsorted(starts, drawn, side="right") - 1
    return which, np.array([ends[k][i - starts[k]] for k, i in zip(which, drawn, strict=True)])


def _batches(ends: list[IntArray], size: int, most: int) -> list[tuple[IntArray, IntArray]]:
    """Batches of all windows, or of ``most`` evenly chosen ones: index of the recording and last row."""
    which = np.concatenate([np.full(len(e), k) for k, e in enumerate(ends)])
    at = np.concatenate(ends)
    chosen = np.linspace(0, len(at) - 1, min(most, len(at))).round().astype(np.int64) if len(at) else at
    return [(which[chosen[i : i + size]], at[chosen[i : i + size]]) for i in range(0, len(chosen), size)]


def _look(part: Part, rows: IntArray, horizon: int, clock: tuple[str, ...]) -> tuple[Any, ...]:
    """Levels at rows and ``horizon`` rows later, whether the later readings are present, and features of the time."""
    return part.z[rows], part.z[rows + horizon], part.present[rows + horizon], part.clock(rows, clock)
