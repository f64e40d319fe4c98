"""Architectures and loss functions of the forecaster and the autoencoder, in Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
from keras import ops

from agent.models.features import FEATURES, SEASON_FEATURES
from training.networks.seeding import Seeds

__all__ = [
    "COMPONENTS",
    "LATENT",
    "QUANTILES",
    "UNITS",
    "UNIVERSAL_AUTOENCODER",
    "WINDOW",
    "AutoencoderShape",
    "ForecasterShape",
    "Head",
    "autoencoder",
    "forecaster",
    "forecaster_loss",
    "mixture_loss",
    "mixture_parts",
    "pinball_loss",
]

#: Output of the forecaster. ``quantile``: three quantiles. ``point``: the median; its band comes from held-back errors.
#: ``mixture``: a mixture of logistic distributions.
Head: TypeAlias = Literal["quantile", "point", "mixture"]
#: Levels of the forecast quantiles: lower bound, median, upper bound.
QUANTILES = (0.05, 0.5, 0.95)
#: Components of the mixture head.
COMPONENTS = 3
#: LSTM units, latent size and window (rows) of the networks of the universal bundle; chosen by hand.
UNITS = 32
LATENT = 8
WINDOW = 64


@dataclass(frozen=True)
class ForecasterShape:
    """Architecture of a forecaster; the defaults are those of the universal bundle.

    Parameters
    ----------
    n_features
        Inputs per row: features of the channels, then of the time.
    n_channels
        Number of forecast channels; the first features are their levels.
    units, layers
        Units per LSTM layer, and number of layers.
    dropout
        Share of the inputs of each layer dropped in training.
    head
        Kind of forecast, see `Head`.
    """

    n_features: int = len(FEATURES) + len(SEASON_FEATURES)
    n_channels: int = 1
    units: int = UNITS
    layers: int = 1
    dropout: float = 0.0
    head: Head = "quantile"

    @property
    def outputs(self) -> int:
        """Number of outputs per row."""
        return self.n_channels * {"quantile": len(QUANTILES), "point": 1, "mixture": 3 * COMPONENTS}[self.head]


@dataclass(frozen=True)
class AutoencoderShape:
    """Architecture of an autoencoder; the defaults are those of the universal bundle, except ``placed``.

    Parameters
    ----------
    window
        Points per window.
    n_channels
        Channels per point.
    units, layers
        Units per LSTM layer, and number of layers, of encoder and of decoder.
    latent
        Length of the latent vector; 0 passes on the last output of the encoder unchanged.
    dropout
        Share of the inputs of each layer dropped in training.
    placed
        Whether a learned position embedding is added to the input of the decoder, one vector per point. The decoder
        then does not have to count and learns about twice as fast.
    """

    window: int = WINDOW
    n_channels: int = 1
    units: int = UNITS
    layers: int = 1
    latent: int = LATENT
    dropout: float = 0.0
    placed: bool = False


_UNIVERSAL_FORECASTER = ForecasterShape()
#: Architecture of the autoencoder in the universal bundle.
UNIVERSAL_AUTOENCODER = AutoencoderShape(placed=True)


def forecaster(shape: ForecasterShape = _UNIVERSAL_FORECASTER, seeds: Seeds | None = None) -> Any:
    """Build an LSTM forecaster of the next values with explicit state.

    The model has the inputs ``features``, float32[batch, rows, n_features], and ``state_h`` and ``state_c``,
    float32[batch, layers * units]. It returns the forecast, float32[batch, rows, outputs], and both states after the
    last row. For n channels, the forecast depends on the head:

    ``point``
        n offsets of the median from the present level.
    ``quantile``
        The same; then n distances to the lower and n distances to the upper quantile. Distances are ≥ 0, so quantiles
        cannot cross.
    ``mixture``
        [n, 3, components]: logits of the weights, offsets of the centres from the present level, and logarithms of the
        scales of a logistic mixture.
    """
    seeds = seeds or Seeds()
    features = keras.Input((None, shape.n_features), name="features")
    state_h = keras.Input((shape.layers * shape.units,), name="state_h")
    state_c = keras.Input((shape.layers * shape.units,), name="state_c")
    hidden, states_h, states_c = features, [], []
    for layer in range(shape.layers):
        part = slice(layer * shape.units, (layer + 1) * shape.units)
        recurrent = seeds.lstm(
            shape.units, return_sequences=True, return_state=True, dropout=shape.dropout, name=_name("recurrent", layer)
        )
        hidden, next_h, next_c = recurrent(hidden, initial_state=[state_h[:, part], state_c[:, part]])
        states_h.append(next_h)
        states_c.append(next_c)
    raw = seeds.dense(shape.outputs, name="head")(hidden)
    forecast = raw
    if shape.head == "quantile":
        n = shape.n_channels
        forecast = keras.layers.Concatenate(name="forecast")([raw[..., :n], ops.softplus(raw[..., n:])])
    return keras.Model(
        [features, state_h, state_c], [forecast, _joined(states_h), _joined(states_c)], name="forecaster"
    )


def autoencoder(shape: AutoencoderShape = UNIVERSAL_AUTOENCODER, seeds: Seeds | None = None) -> Any:
    """Build an LSTM autoencoder: float32[batch, window, n_channels] to a reconstruction of the same shape.

    The short latent vector cannot encode patterns that are absent in training, so their reconstruction error is large
    (EncDec-AD, Malhotra et al. 2016, arXiv:1607.00148). Unlike there, the decoder gets the latent vector at every point
    instead of its own outputs, and reconstructs in forward order.
    """
    seeds = seeds or Seeds()
    window = keras.Input((shape.window, shape.n_channels), name="window")
    encoded = window
    for layer in range(shape.layers):
        last = layer == shape.layers - 1
        encoded = seeds.lstm(
            shape.units, return_sequences=not last, dropout=shape.dropout, name=_name("encoder", layer)
        )(encoded)
    if shape.latent:
        encoded = seeds.dense(shape.latent, name="latent")(encoded)
    decoded = keras.layers.RepeatVector(shape.window)(encoded)
    if shape.placed:
        decoded = _Places(seeds.next(), name="places")(decoded)
    for layer in range(shape.layers):
        decoded = seeds.lstm(shape.units, return_sequences=True, dropout=shape.dropout, name=_name("decoder", layer))(
            decoded
        )
    reconstruction = seeds.dense(shape.n_channels, name="points")(decoded)
    return keras.Model(window, reconstruction, name="autoencoder")


class _Places(keras.layers.Layer):  # type: ignore[misc] # Keras has no type information
    """Learned position embedding: adds one vector per point of a window."""

    def __init__(self, seed: int | None, **options: Any) -> None:
        super().__init__(**options)
        self._seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create one vector per point."""
        start = keras.initializers.RandomNormal(stddev=0.5, seed=self._seed)
        self.vectors = self.add_weight(shape=input_shape[1:], initializer=start, name="vectors")

    def call(self, inputs: Any) -> Any:
        """Add the vectors to the inputs, float32[batch, window, n]."""
        return inputs + self.vectors


def forecaster_loss(head: Head, target: Any, forecast: Any) -> Any:
    """Loss of a forecaster, one number per target.

    Parameters
    ----------
    target
        float32[..., n_channels], next value minus present level.
    forecast
        float32[..., outputs], see `forecaster`.

    Returns
    -------
    float32[..., n_channels]
    """
    n = target.shape[-1]
    if head == "point":
        return ops.abs(target - forecast)
    if head == "mixture":
        return mixture_loss(target, forecast)
    return pinball_loss(target, ops.reshape(forecast, (*ops.shape(forecast)[:-1], len(QUANTILES), n)))


def pinball_loss(target: Any, forecast: Any) -> Any:
    """Mean pinball loss over the three quantiles (Koenker and Bassett 1978).

    Parameters
    ----------
    target
        float32[..., n], next value minus present level.
    forecast
        float32[..., 3, n]: offset of the median, distances to the lower and the upper quantile.

    Returns
    -------
    float32[..., n]
    """
    median = forecast[..., 0, :]
    quantiles = (median - forecast[..., 1, :], median, median + forecast[..., 2, :])
    loss = 0.0
    for level, quantile in zip(QUANTILES, quantiles, strict=True):
        error = target - quantile
        loss += ops.maximum(level * error, (level - 1.0) * error)
    return loss / len(QUANTILES)


def mixture_loss(target: Any, forecast: Any) -> Any:
    """Negative log-likelihood under a mixture of logistic distributions.

    Parameters
    ----------
    target
        float32[..., n], next value minus present level.
    forecast
        float32[..., n * 3 * components], see `forecaster`.

    Returns
    -------
    float32[..., n]
    """
    weights, centres, log_scales = mixture_parts(forecast, target.shape[-1])
    z = (target[..., None] - centres) * ops.exp(-log_scales)
    log_density = -ops.abs(z) - 2.0 * ops.softplus(-ops.abs(z)) - log_scales
    return -ops.logsumexp(ops.log_softmax(weights) + log_density, axis=-1)


def mixture_parts(forecast: Any, n: int) -> tuple[Any, Any, Any]:
    """Split a mixture forecast into logits of weights, centres and log scales, float32[..., n, components] each."""
    parts = ops.reshape(forecast, (*ops.shape(forecast)[:-1], n, 3, COMPONENTS))
    # Without a lower bound, the scale of a constant channel would go to 0 and its likelihood to infinity.
    return parts[..., 0, :], parts[..., 1, :], ops.clip(parts[..., 2, :], np.log(1e-3), 4.0)


def _name(part: str, layer: int) -> str:
    return part if layer == 0 else f"{part}_{layer + 1}"


def _joined(states: list[Any]) -> Any:
    return states[0] if len(states) == 1 else keras.layers.Concatenate()(states)
