"""Gradient descent for the two networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from training.networks.architectures import UNITS, WINDOW, forecaster_loss
from training.networks.universal_dataset import windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.arrays import Float64Array
    from training.networks.universal_dataset import Trace

    #: Told after every step how many were done.
    Advance: TypeAlias = Callable[[int], None]

__all__ = ["train_autoencoder", "train_forecaster"]

_TRUNCATION = 256  # rows through which gradients flow back; the state is carried on
_SERIES_A_STEP = 64
_WINDOWS_A_STEP = 128
_WARM_UP_SHARE = 0.04  # of the steps, in which the rate rises from a tenth
_FORECASTER_RATE = 3e-3
_AUTOENCODER_RATE = 6e-3


def train_forecaster(model: Any, data: Trace, *, steps: int, seed: int, advance: Advance) -> None:
    """Minimise the pinball loss by truncated back-propagation through time.

    Series run from start to end in random batches, the state carried from piece to piece, as on the device.

    Parameters
    ----------
    model
        `training.networks.architectures.forecaster`, trained in place.
    data
        Features and targets; rows beyond a multiple of 256 are left out (all, if there are fewer, are one piece).
    steps
        Optimiser steps, one a piece.
    """
    optimiser = _optimiser(model, _FORECASTER_RATE, steps)

    def descend(features: Any, target: Any, state_h: Any, state_c: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            forecast, next_h, next_c = model([features, state_h, state_c], training=True)
            loss = tf.reduce_mean(forecaster_loss("quantile", target[..., None], forecast))
        optimiser.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return next_h, next_c

    step = tf.function(descend)
    rng = np.random.default_rng(seed)
    n_series, rows = data.target.shape
    batch = min(_SERIES_A_STEP, n_series)
    piece = min(_TRUNCATION, rows)
    done = 0
    while True:
        order = rng.permutation(n_series)
        for first in range(0, n_series - batch + 1, batch):
            chosen = order[first : first + batch]
            state_h = state_c = tf.zeros((batch, UNITS))
            for start in range(0, rows - piece + 1, piece):
                if done == steps:
                    return
                span = slice(start, start + piece)
                features, target = tf.constant(data.features[chosen, span]), tf.constant(data.target[chosen, span])
                state_h, state_c = step(features, target, state_h, state_c)
                done += 1
                advance(1)


def train_autoencoder(
    model: Any, series: Float64Array, data: Trace, *, steps: int, seed: int, advance: Advance
) -> None:
    """Minimise the mean absolute reconstruction error of windows drawn anywhere in the series.

    All points weigh the same, though the agent judges the newest: a network trained to get those right copies them, and
    what is anomalous with them.

    Parameters
    ----------
    model
        `training.networks.architectures.autoencoder`, trained in place.
    series, data
        The series and what the normaliser made of them.
    steps
        Optimiser steps.
    """
    optimiser = _optimiser(model, _AUTOENCODER_RATE, steps)

    def descend(window: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.abs(window - model(window, training=True)))
        optimiser.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    step = tf.function(descend)
    rng = np.random.default_rng(seed)
    n_series, rows = data.target.shape
    for _ in range(steps):
        which, ends = rng.integers(n_series, size=_WINDOWS_A_STEP), rng.integers(rows, size=_WINDOWS_A_STEP)
        step(tf.constant(windows(series, data, which, ends, WINDOW)[:, :, None]))
        advance(1)


def _optimiser(model: Any, rate: float, steps: int) -> Any:
    """Adam whose rate rises to ``rate`` and then falls as a cosine to 0 at the last step."""
    rising = max(1, round(_WARM_UP_SHARE * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, max(1, steps - rising), warmup_target=rate, warmup_steps=rising
    )
    optimiser = keras.optimizers.Adam(schedule, global_clipnorm=1.0)
    optimiser.build(model.trainable_variables)
    return optimiser
