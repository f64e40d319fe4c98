"""Batches from which the two networks of a fitted bundle learn, cut from prepared recordings, and their losses."""

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

_SERIES_A_BATCH = 32
_WINDOWS_A_BATCH = 64
_VALIDATED = 512  # sequences or windows at most
_SETTLING_SHARE = 0.25  # of a sequence, whose errors do not count: the state is still filling


class ForecastTask:
    """Forecast every row of a sequence from those before it, the state beginning at zero.

    A sequence is twice the look-back long; gradients flow through all of it.

    Parameters
    ----------
    model, shape
        `training.networks.architectures.forecaster` and what it was made with.
    prepared
        The data.
    joint
        All channels in one sequence, or each in its own.
    look_back, horizon
        Rows.
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
        #: Sequences there are to learn from.
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
        """See `training.networks.trainer.Task`; missing targets and the first rows do not count."""
        features, target, weight = batch
        state = tf.zeros((tf.shape(features)[0], self.shape.layers * self.shape.units))
        forecast = self.model([features, state, state], training=training)[0]
        losses = architectures.forecaster_loss(self.shape.head, target, forecast)
        return ops.sum(losses * weight) / ops.maximum(ops.sum(weight), 1.0), ()

    def carry(self, state: tuple[Any, ...]) -> None:
        """Every sequence begins at zero."""

    @property
    def _prepared_channels(self) -> int:
        return len(self._prepared.channels)

    def _cut(self, which: IntArray, ends: IntArray, channels: IntArray) -> tuple[Float32Array, ...]:
        """Features, targets (offsets from the present level) and their weights, float32[batch, length, …] each."""
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
    """Redraw windows.

    Parameters
    ----------
    model, shape
        `training.networks.architectures.autoencoder` and what it was made with.
    prepared
        The data.
    joint
        All channels in one window, or each in its own.
    block
        Rows a point.
    centred
        Whether each channel's window goes in less its own mean.
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
        #: Windows there are to learn from.
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
        """Windows do not hang together."""

    def windows(self, part: Part, ends: IntArray) -> Float32Array:
        """Windows of one recording as the network sees them, float32[n, window, lanes].

        In the shared layout every channel has its own; those of one place follow each other.
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
    """Draw windows from all recordings alike: which recording, and the last row, int64[count] each."""
    starts = np.cumsum([0, *(len(e) for e in ends)])
    drawn = rng.integers(starts[-1], size=count)
    which = np.searchsorted(starts, drawn, side="right") - 1
    return which, np.array([ends[k][i - starts[k]] for k, i in zip(which, drawn, strict=True)])


def _batches(ends: list[IntArray], size: int, most: int) -> list[tuple[IntArray, IntArray]]:
    """All windows of all recordings, at most ``most`` evenly chosen, in batches."""
    which = np.concatenate([np.full(len(e), k) for k, e in enumerate(ends)])
    at = np.concatenate(ends)
    chosen = np.linspace(0, len(at) - 1, min(most, len(at))).round().astype(np.int64) if len(at) else at
    return [(which[chosen[i : i + size]], at[chosen[i : i + size]]) for i in range(0, len(chosen), size)]


def _look(part: Part, rows: IntArray, horizon: int, clock: tuple[str, ...]) -> tuple[Any, ...]:
    """Levels now and later, whether the later ones are known, and features of the time."""
    return part.z[rows], part.z[rows + horizon], part.present[rows + horizon], part.clock(rows, clock)
