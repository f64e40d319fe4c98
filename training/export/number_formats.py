"""Comparison of number formats: size, deviation from Keras, and inference time of the same networks."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.core.errors import EdgewatchError
from agent.models.tflite import StepNetwork, WindowNetwork
from training.export.inference_time import microseconds
from training.export.keras_comparison import deviation
from training.export.processor import processor
from training.export.tflite import FORMS, Form, export_autoencoder, export_forecaster, state_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.arrays import Float32Array
    from training.networks.architectures import AutoencoderShape, ForecasterShape

__all__ = ["ExportedNetworks", "compare"]

# Chosen by hand.
_EXAMPLES = 128  # size of the representative data set for full-integer quantisation
_COMPARED = 256  # rows and windows compared with Keras; the chosen form is verified on more


class ExportedNetworks:
    """The trained networks with all inputs of their export.

    Parameters
    ----------
    forecaster, autoencoder
        Keras models.
    forecaster_shape, autoencoder_shape
        Architectures.
    band
        Band of a ``point`` head, see `training.export.tflite.export_forecaster`.
    seed
        Seed for the names of the fused functions.
    features
        float32[n_series, rows, n_features], consecutive rows not used for training.
    windows
        float32[n_windows, window * lanes], windows not used for training.
    typical
        float32[n, rows, n_features] and float32[n, window, lanes], training data as representative data set.
    """

    def __init__(
        self,
        forecaster: Any,
        autoencoder: Any,
        forecaster_shape: ForecasterShape,
        autoencoder_shape: AutoencoderShape,
        *,
        band: Float32Array | None,
        seed: int,
        features: Float32Array,
        windows: Float32Array,
        typical: tuple[Float32Array, Float32Array],
    ) -> None:
        self.forecaster = forecaster
        self.autoencoder = autoencoder
        self.forecaster_shape = forecaster_shape
        self.autoencoder_shape = autoencoder_shape
        self.band = band
        self.seed = seed
        self.features = features
        self.windows = windows
        self.typical = typical

    def export(self, form: Form) -> tuple[bytes, bytes]:
        """Export forecaster and autoencoder as TFLite files."""
        shape = self.autoencoder_shape
        sequences, windows = self.typical
        full = form == "full-int8"
        return (
            export_forecaster(
                self.forecaster,
                self.forecaster_shape,
                form=form,
                band=self.band,
                typical=sequences,
                examples=self._steps() if full else None,
            ),
            export_autoencoder(
                self.autoencoder,
                self.seed,
                shape,
                form=form,
                typical=windows,
                examples={"window": windows[:_EXAMPLES]} if full else None,
            ),
        )

    def step_network(self, content: bytes, batch: int = 1) -> StepNetwork:
        """Load a forecaster file with the agent's loader."""
        shape = self.forecaster_shape
        return StepNetwork(
            content, batch, shape.n_features, shape.layers * shape.units, 3 * shape.n_channels, "forecaster"
        )

    def window_network(self, content: bytes) -> WindowNetwork:
        """Load an autoencoder file with the agent's loader."""
        shape = self.autoencoder_shape
        variables = state_tensors(content, shape.layers)
        return WindowNetwork(content, 1, (shape.window, shape.n_channels), variables, "autoencoder")

    def _steps(self) -> dict[str, Float32Array]:
        """Representative inputs of the step network: features and the states that precede them."""
        shape = self.forecaster_shape
        features = self.typical[0][0, :_EXAMPLES]
        network = self.step_network(export_forecaster(self.forecaster, shape, form="float32", band=self.band))
        states_h, states_c = [], []
        for row in features:
            states_h.append(network.h[0])
            states_c.append(network.c[0])
            network.advance(row[None])
        return {"features": features, "state_h": np.stack(states_h), "state_c": np.stack(states_c)}


def compare(
    networks: ExportedNetworks, forecast: Float32Array, reconstruction: Float32Array, advance: Callable[[int], None]
) -> tuple[dict[str, Any], dict[str, Any], dict[Form, tuple[bytes, bytes]]]:
    """Export all number formats and compare them with Keras.

    Parameters
    ----------
    networks
        Networks to export.
    forecast, reconstruction
        Outputs of Keras for ``networks.features`` and ``networks.windows``.
    advance
        Called with 1 after each format.

    Returns
    -------
    Two entries for the manifest and the files by format. The first entry has the size and deviation by network and
    format, or the reason why a format is unavailable. The second has the microseconds per inference.
    """
    files: dict[Form, tuple[bytes, bytes]] = {}
    table: dict[str, Any] = {"forecaster": {}, "autoencoder": {}}
    for form in FORMS:
        try:
            files[form] = networks.export(form)
        except Exception as error:  # noqa: BLE001 - the converter raises anything
            reason = (error.message if isinstance(error, EdgewatchError) else str(error)).strip().splitlines()
            for entries in table.values():
                entries[form] = {"unavailable": (reason or [type(error).__name__])[0][:200]}
        else:
            step_file, window_file = files[form]
            answers = _forecast(networks, step_file), _reconstruct(networks, window_file)
            table["forecaster"][form] = {"size": len(step_file), **deviation(answers[0], forecast[0, :_COMPARED])}
            table["autoencoder"][form] = {"size": len(window_file), **deviation(answers[1], reconstruction[:_COMPARED])}
        advance(1)
    times = microseconds(
        {
            f"{network} {form}": content
            for form, pair in files.items()
            for network, content in zip(table, pair, strict=True)
        }
    )
    measured = {
        "machine": f"{platform.machine()}, {processor()}",
        "microseconds": {network: {form: times[f"{network} {form}"] for form in files} for network in table},
    }
    return table, measured, files


def _forecast(networks: ExportedNetworks, content: bytes) -> Float32Array:
    network = networks.step_network(content)
    return np.stack([network.advance(row[None])[0] for row in networks.features[0, :_COMPARED]])


def _reconstruct(networks: ExportedNetworks, content: bytes) -> Float32Array:
    network = networks.window_network(content)
    return np.concatenate([network.reconstruct(window[None]) for window in networks.windows[:_COMPARED]])
