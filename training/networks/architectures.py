"""The two networks, as Keras models, and what they are trained to minimise."""

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

#: ``quantile``: three quantiles. ``point``: the median alone, its band from errors. ``mixture``: a whole distribution.
Head: TypeAlias = Literal["quantile", "point", "mixture"]
QUANTILES = (0.05, 0.5, 0.95)
COMPONENTS = 3  # of a mixture
# Of the universal pair.
UNITS = 32
LATENT = 8
WINDOW = 64


@dataclass(frozen=True)
class ForecasterShape:
    """Size and form of a forecaster; the universal one unless said otherwise.

    Parameters
    ----------
    n_features
        Numbers it sees a row: of its channels, then of the time.
    n_channels
        Channels it forecasts; their levels are the first of the features.
    units, layers
        Of the LSTM.
    dropout
        Share of each layer's inputs left out in training.
    head
        What it says of the next value.
    """

    n_features: int = len(FEATURES) + len(SEASON_FEATURES)
    n_channels: int = 1
    units: int = UNITS
    layers: int = 1
    dropout: float = 0.0
    head: Head = "quantile"

    @property
    def outputs(self) -> int:
        """Numbers the last layer gives."""
        return self.n_channels * {"quantile": len(QUANTILES), "point": 1, "mixture": 3 * COMPONENTS}[self.head]


@dataclass(frozen=True)
class AutoencoderShape:
    """Size and form of an autoencoder; the universal one unless said otherwise.

    Parameters
    ----------
    window
        Points.
    n_channels
        Channels a point.
    units, layers
        Of encoder and decoder.
    latent
        Length of the code; 0 hands over the encoder's last output as it is.
    dropout
        Share of each layer's inputs left out in training.
    placed
        Whether the decoder is told where in the window it is, by a learned vector a point: it need not count, and
        learns about twice as fast.
    """

    window: int = WINDOW
    n_channels: int = 1
    units: int = UNITS
    layers: int = 1
    latent: int = LATENT
    dropout: float = 0.0
    placed: bool = False


_UNIVERSAL_FORECASTER = ForecasterShape()
#: Shape of the autoencoder that ships.
UNIVERSAL_AUTOENCODER = AutoencoderShape(placed=True)


def forecaster(shape: ForecasterShape = _UNIVERSAL_FORECASTER, seeds: Seeds | None = None) -> Any:
    """Recurrent forecaster of the next values, its state passed in and out.

    Inputs ``features`` float32[batch, rows, n_features], ``state_h`` and ``state_c`` float32[batch, layers * units].
    Outputs float32[batch, rows, outputs] and the two states after the last row. With n the number of channels, the
    outputs are: n times the median's offset from the present level (``point``); and then n distances, ≥ 0, to the
    lower quantile and n to the upper, which so cannot cross (``quantile``); or, as [n, 3, components], logits of the
    weights, offsets of the centres and logarithms of the scales of a logistic mixture (``mixture``).
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
    """LSTM encoder, narrow latent vector, LSTM decoder: float32[batch, window, n_channels] to its reconstruction.

    The latent vector is small enough that what training never showed cannot pass through it (EncDec-AD, Malhotra et
    al. 2016; here reconstructed in forward order, all at once).
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
    """Adds a learned vector to every point of a window."""

    def __init__(self, seed: int | None, **options: Any) -> None:
        super().__init__(**options)
        self._seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make one vector a point."""
        start = keras.initializers.RandomNormal(stddev=0.5, seed=self._seed)
        self.vectors = self.add_weight(shape=input_shape[1:], initializer=start, name="vectors")

    def call(self, inputs: Any) -> Any:
        """Add them."""
        return inputs + self.vectors


def forecaster_loss(head: Head, target: Any, forecast: Any) -> Any:
    """What a forecaster with this head minimises, a number for every target.

    Parameters
    ----------
    target
        float32[..., n_channels], the value less the present level.
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
        float32[..., n].
    forecast
        float32[..., 3, n], median offsets and distances.

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
        float32[..., n].
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
    """Logits of the weights, centres and logarithms of the scales, float32[..., n, components] each."""
    parts = ops.reshape(forecast, (*ops.shape(forecast)[:-1], n, 3, COMPONENTS))
    # A scale that vanishes would make a value that never changes infinitely likely.
    return parts[..., 0, :], parts[..., 1, :], ops.clip(parts[..., 2, :], np.log(1e-3), 4.0)


def _name(part: str, layer: int) -> str:
    return part if layer == 0 else f"{part}_{layer + 1}"


def _joined(states: list[Any]) -> Any:
    return states[0] if len(states) == 1 else keras.layers.Concatenate()(states)
