"""From Keras to dynamic-range int8 TFLite, in the two shapes that `agent.inference` runs.

The converter is steered with two switches, found by measurement with TensorFlow 2.21: its new dynamic-range quantiser
leaves LSTM weights in float, and per-channel scales in dense layers raise FULLY_CONNECTED to version 12, which
tflite-runtime 2.14 (all that 32-bit ARM has) refuses to load.
"""

from __future__ import annotations

import tempfile
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from agent.errors import EdgewatchError
from agent.features import FEATURES
from agent.inference import WindowNetwork
from training.canonical import canonical
from training.models import UNITS, WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.types import Float32Array

__all__ = ["QUANTISATION", "export_autoencoder", "export_forecaster", "state_tensors"]

QUANTISATION = "dynamic-range int8"
_FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_VARIABLES = slice(18, 20)  # where that op takes its output state and its cell state
_BATCH_TOLERANCE = 1e-4  # summation order


def export_forecaster(model: Any) -> bytes:
    """Export one step of the forecaster with its state as explicit tensors; the batch size stays free.

    Features and state are multiplied apart: int8 activations share one scale a row, and a feature of 12 beside a
    state within ±1 would leave the state three bits.
    """
    layer = model.get_layer("recurrent").cell
    kernel, recurrent, bias = (tf.constant(_array(v)) for v in (layer.kernel, layer.recurrent_kernel, layer.bias))
    head, head_bias = (tf.constant(_array(v)) for v in model.get_layer("head").weights)

    def serve(features: Any, state_h: Any, state_c: Any) -> dict[str, Any]:
        gates = tf.matmul(features, kernel) + tf.matmul(state_h, recurrent) + bias
        next_h, next_c = _cell(gates, state_c)
        raw = tf.matmul(next_h, head) + head_bias
        forecast = tf.concat([raw[:, :1], tf.nn.softplus(raw[:, 1:])], axis=1)
        return {"forecast": forecast, "next_h": next_h, "next_c": next_c}

    return _convert(
        serve,
        tf.TensorSpec((None, len(FEATURES)), tf.float32, name="features"),
        tf.TensorSpec((None, UNITS), tf.float32, name="state_h"),
        tf.TensorSpec((None, UNITS), tf.float32, name="state_c"),
    )


def export_autoencoder(model: Any, seed: int) -> bytes:
    """Export the autoencoder on two fused LSTM ops.

    The signature has a batch of one, for the fused op takes no other; nothing in the graph holds the batch size, so
    that `WindowNetwork` can resize it.

    Parameters
    ----------
    seed
        Names the fused functions, so that the same training gives the same file.

    Raises
    ------
    EdgewatchError
        The converter did not fuse both LSTMs, or a larger batch gives other answers.
    """
    encoder = _fused(model.get_layer("encoder").cell, uuid.UUID(int=2 * seed))
    decoder = _fused(model.get_layer("decoder").cell, uuid.UUID(int=2 * seed + 1))
    latent, latent_bias = (tf.constant(_array(v)) for v in model.get_layer("latent").weights)
    points, points_bias = (tf.constant(_array(v)) for v in model.get_layer("points").weights)

    def serve(window: Any) -> dict[str, Any]:
        encoded = encoder(window)[:, -1:, :]
        repeated = tf.tile(tf.matmul(encoded, latent) + latent_bias, [1, WINDOW, 1])
        return {"reconstruction": tf.matmul(decoder(repeated), points) + points_bias}

    content = _convert(serve, tf.TensorSpec((1, WINDOW, 1), tf.float32, name="window"))
    _check_batch(content)
    return content


def state_tensors(content: bytes) -> tuple[int, ...]:
    """Give the indices of the fused ops' variable tensors, for the manifest.

    Raises
    ------
    EdgewatchError
        There are not two fused LSTM ops.
    """
    # Without delegates, which would hide the ops they take over.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    operations = interpreter._get_ops_details()  # noqa: SLF001 - no public way to an op's inputs
    fused = [operation for operation in operations if operation["op_name"] == _FUSED]
    if len(fused) != 2:
        raise EdgewatchError(
            f"the converter made {len(fused)} fused LSTM ops of the autoencoder, expected 2",
            remedy="train with the TensorFlow version that docs/training.md names",
        )
    return tuple(int(index) for operation in fused for index in operation["inputs"][_VARIABLES])


def _cell(gates: Any, state_c: Any) -> tuple[Any, Any]:
    """Output and cell state of an LSTM from its gates' inputs, in Keras' order: input, forget, candidate, output."""
    admit, forget, candidate, emit = tf.split(gates, 4, axis=1)
    next_c = tf.sigmoid(forget) * state_c + tf.sigmoid(admit) * tf.tanh(candidate)
    return tf.sigmoid(emit) * tf.tanh(next_c), next_c


def _fused(cell: Any, name: uuid.UUID) -> Callable[[Any], Any]:
    """Give a Keras LSTM as a function from [1, rows, n] to [1, rows, units] that the converter fuses into one op.

    The converter recognises a function by its attributes and by the order of its arguments and results, which are
    those of Keras' own LSTM, and replaces it whole; the body says what it computes.
    """
    weights = tuple(tf.constant(_array(v)) for v in (cell.kernel, cell.recurrent_kernel, cell.bias))

    def lstm(inputs: Any, init_h: Any, init_c: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> tuple[Any, ...]:
        def step(state: tuple[Any, Any], row: Any) -> tuple[Any, Any]:
            state_h, state_c = state
            return _cell(tf.matmul(row, kernel) + tf.matmul(state_h, recurrent_kernel) + bias, state_c)

        hidden, cells = tf.scan(step, tf.transpose(inputs, [1, 0, 2]), (init_h, init_c))
        outputs = tf.transpose(hidden, [1, 0, 2])
        return outputs[:, -1], outputs, hidden[-1], cells[-1], tf.constant(1.0)

    attributes = {
        "api_implements": f"lstm_{name}",
        "api_preferred_device": "CPU",
        "go_backwards": False,
        "time_major": False,
    }
    function = tf.function(lstm, autograph=False, experimental_attributes=attributes)
    zero = tf.zeros((1, UNITS))
    return lambda inputs: function(inputs, zero, zero, *weights)[1]


def _convert(serve: Callable[..., dict[str, Any]], *signature: Any) -> bytes:
    """Convert by way of a SavedModel: from a concrete function, the converter inlines what it should fuse."""
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=signature)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.serve)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.experimental_new_dynamic_range_quantizer = False
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001 - no public one
        return canonical(converter.convert())


def _check_batch(content: bytes) -> None:
    """Refuse a graph that answers otherwise for a larger batch."""
    variables = state_tensors(content)
    windows = np.random.default_rng(0).normal(size=(4, WINDOW)).astype(np.float32)
    together = WindowNetwork(content, 4, (WINDOW, 1), variables, "autoencoder").reconstruct(windows)
    single = WindowNetwork(content, 1, (WINDOW, 1), variables, "autoencoder")
    for window, answer in zip(windows, together, strict=True):
        deviation = float(np.max(np.abs(single.reconstruct(window[None])[0] - answer)))
        if not deviation <= _BATCH_TOLERANCE:  # NaN must fail too
            raise EdgewatchError(
                f"the converted autoencoder answers a batch of 4 otherwise than single windows, by {deviation:.3g}",
                remedy="train with the TensorFlow version that docs/training.md names",
            )


def _array(variable: Any) -> Float32Array:
    return np.asarray(variable, np.float32)
