"""Export of both networks from Keras to TFLite for `agent.models.tflite`, in several number formats.

Two settings of the converter are needed with TensorFlow 2.21. Its new dynamic-range quantiser is off because it leaves
LSTM weights in float. Per-channel scales in dense layers are off because they need FULLY_CONNECTED version 12, which
tflite-runtime 2.14, the newest for 32-bit ARM, does not load.
"""

from __future__ import annotations

import tempfile
import uuid
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from agent.core.errors import EdgewatchError
from agent.models.tflite import WindowNetwork, quiet
from training.export.byte_order import canonical
from training.export.gptq_rounding import settle
from training.export.operator_versions import refuse_newer_operators
from training.networks.architectures import QUANTILES, AutoencoderShape, ForecasterShape, mixture_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent.core.arrays import Float32Array

__all__ = ["FORMS", "QUANTISATION", "Form", "export_autoencoder", "export_forecaster", "quantiles", "state_tensors"]

#: Number format. ``int8``: dynamic-range quantisation, int8 weights with activations quantised at run time.
#: ``full-int8``: int8 activations too, with ranges from a representative data set; inputs and outputs stay float.
Form: TypeAlias = Literal["int8", "float16", "float32", "full-int8"]
FORMS: tuple[Form, ...] = ("int8", "float16", "float32", "full-int8")
#: Name of each number format in the manifest.
QUANTISATION: Mapping[Form, str] = {
    "int8": "dynamic-range int8",
    "float16": "float16",
    "float32": "float32",
    "full-int8": "full-integer int8",
}
_FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_VARIABLES = slice(18, 20)  # inputs of that op that are its output state and cell state
# Largest deviation of a batch of 4 from single windows: for other summation order, and for rounded activations. Both
# chosen by hand.
_BATCH_TOLERANCE = 1e-4
_BATCH_TOLERANCE_INTEGER = 0.1
_LEAST_QUANTISED = 1024  # number of weights below which the converter leaves a tensor in float
_BISECTIONS = 24  # reduce a bracket of some hundred units to about 1e-5, below the resolution of readings


def export_forecaster(
    model: Any,
    shape: ForecasterShape | None = None,
    *,
    form: Form = "int8",
    band: Float32Array | None = None,
    typical: Float32Array | None = None,
    examples: Mapping[str, Float32Array] | None = None,
) -> bytes:
    """Export one step of the forecaster, with explicit state and free batch size.

    For every head, the output is the offsets of the median and the distances to the quantiles. Features and state have
    separate matrix products: int8 activations share one scale per row, and a feature of 12 beside a state within ±1
    would leave about three bits for the state.

    Parameters
    ----------
    model
        Model of `training.networks.architectures.forecaster`.
    shape
        Architecture of the model.
    form
        Number format.
    band
        float32[2, n_channels], for the ``point`` head: distances from the median to the two quantiles.
    typical
        float32[n, rows, n_features], for ``int8``: typical sequences, on which rounding errors cancel, see
        `training.export.gptq_rounding`; None: round to nearest.
    examples
        For ``full-int8``: representative data set, float32[rows, width] by input name.

    Raises
    ------
    EdgewatchError
        The converter used operators that tflite-runtime 2.14 does not support.
    """
    shape = shape or ForecasterShape()
    names = ["recurrent", *(f"recurrent_{layer + 1}" for layer in range(1, shape.layers))]
    # Here the recurrent weights of all gates are a single tensor.
    kernels = _recurrent_kernels(model, names, typical if form == "int8" else None, gates=1)
    cells = [_cell_weights(model.get_layer(name).cell, kernel) for name, kernel in zip(names, kernels, strict=True)]
    head, head_bias = (tf.constant(_array(v)) for v in model.get_layer("head").weights)

    def serve(features: Any, state_h: Any, state_c: Any) -> dict[str, Any]:
        states_h, states_c = _apart(state_h, shape.layers), _apart(state_c, shape.layers)
        hidden, next_h, next_c = features, [], []
        for (kernel, recurrent, bias), h, c in zip(cells, states_h, states_c, strict=True):
            hidden, cell = _cell(tf.matmul(hidden, kernel) + tf.matmul(h, recurrent) + bias, c)
            next_h.append(hidden)
            next_c.append(cell)
        raw = tf.matmul(hidden, head) + head_bias
        if shape.head == "quantile":
            raw = tf.concat([raw[:, : shape.n_channels], tf.nn.softplus(raw[:, shape.n_channels :])], axis=1)
        forecast = quantiles(shape, raw, band)
        return {"forecast": forecast, "next_h": _together(next_h), "next_c": _together(next_c)}

    width = shape.layers * shape.units
    return _convert(
        serve,
        form,
        examples,
        tf.TensorSpec((None, shape.n_features), tf.float32, name="features"),
        tf.TensorSpec((None, width), tf.float32, name="state_h"),
        tf.TensorSpec((None, width), tf.float32, name="state_c"),
    )


def export_autoencoder(
    model: Any,
    seed: int,
    shape: AutoencoderShape | None = None,
    *,
    form: Form = "int8",
    typical: Float32Array | None = None,
    examples: Mapping[str, Float32Array] | None = None,
) -> bytes:
    """Export the autoencoder with fused LSTM ops.

    The signature has a batch size of 1, the only one that the fused op accepts. The graph does not depend on the batch
    size, so that `WindowNetwork` can resize it.

    Parameters
    ----------
    model
        Model of `training.networks.architectures.autoencoder`.
    seed
        Seed for the names of the fused functions, so that the same training gives the same file.
    shape, form
        As for `export_forecaster`.
    typical
        float32[n, window, n_channels], for ``int8``: typical windows, on which rounding errors cancel.
    examples
        For ``full-int8``: representative data set, float32[n, window, n_channels] under the key ``window``.

    Raises
    ------
    EdgewatchError
        The converter did not fuse all LSTMs or used operators that tflite-runtime 2.14 does not support, or a larger
        batch gives other results.
    """
    shape = shape or AutoencoderShape()
    suffixes = ["", *(f"_{layer + 1}" for layer in range(1, shape.layers))]
    ids = iter(range(2 * seed * shape.layers, 2 * (seed + 1) * shape.layers))
    names = [f"{part}{suffix}" for part in ("encoder", "decoder") for suffix in suffixes]
    # The fused op has separate weights for each gate.
    kernels = _recurrent_kernels(model, names, typical if form == "int8" else None, gates=4)
    recurrent = [
        _fused(model.get_layer(name).cell, kernel, shape.units, uuid.UUID(int=next(ids)))
        for name, kernel in zip(names, kernels, strict=True)
    ]
    encoders, decoders = recurrent[: shape.layers], recurrent[shape.layers :]
    code = [tf.constant(_array(v)) for v in model.get_layer("latent").weights] if shape.latent else None
    places = tf.constant(_array(model.get_layer("places").vectors)[None]) if shape.placed else None
    points, points_bias = (tf.constant(_array(v)) for v in model.get_layer("points").weights)

    def serve(window: Any) -> dict[str, Any]:
        encoded = window
        for encoder in encoders:
            encoded = encoder(encoded)
        encoded = encoded[:, -1:, :]
        if code is not None:
            encoded = tf.matmul(encoded, code[0]) + code[1]
        decoded = tf.tile(encoded, [1, shape.window, 1])
        if places is not None:
            decoded = decoded + places
        for decoder in decoders:
            decoded = decoder(decoded)
        return {"reconstruction": tf.matmul(decoded, points) + points_bias}

    signature = tf.TensorSpec((1, shape.window, shape.n_channels), tf.float32, name="window")
    content = _convert(serve, form, examples, signature)
    _check_batch(content, shape, _BATCH_TOLERANCE_INTEGER if form == "full-int8" else _BATCH_TOLERANCE)
    return content


def state_tensors(content: bytes, layers: int = 1) -> tuple[int, ...]:
    """Indices of the state tensors of the fused ops, for the manifest.

    Raises
    ------
    EdgewatchError
        The number of fused LSTM ops is not two per layer.
    """
    # Without delegates, which hide the ops that they execute.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    operations = interpreter._get_ops_details()  # noqa: SLF001 - no public access to inputs of an op
    fused = [operation for operation in operations if operation["op_name"] == _FUSED]
    if len(fused) != 2 * layers:
        raise EdgewatchError(
            f"the converted autoencoder has {len(fused)} fused LSTM ops, expected {2 * layers}",
            remedy="train with the TensorFlow version named in docs/training.md",
        )
    return tuple(int(index) for operation in fused for index in operation["inputs"][_VARIABLES])


def _apart(state: Any, layers: int) -> list[Any]:
    return [state] if layers == 1 else list(tf.split(state, layers, axis=1))


def _together(states: list[Any]) -> Any:
    return states[0] if len(states) == 1 else tf.concat(states, axis=1)


def _cell_weights(cell: Any, recurrent: Float32Array) -> tuple[Any, Any, Any]:
    return tf.constant(_array(cell.kernel)), tf.constant(recurrent), tf.constant(_array(cell.bias))


def _recurrent_kernels(model: Any, names: list[str], typical: Float32Array | None, gates: int) -> list[Float32Array]:
    """Recurrent kernels of LSTM layers, rounded to cancel errors on typical inputs if these are given."""
    kernels = [_array(model.get_layer(name).cell.recurrent_kernel) for name in names]
    if typical is None or kernels[0].size // gates < _LEAST_QUANTISED:
        return kernels
    inputs = [typical]
    if len(model.inputs) > 1:
        inputs += [np.zeros((len(typical), state.shape[1]), np.float32) for state in model.inputs[1:]]
    seen = keras.Model(model.inputs, [_sequence_input(model.get_layer(name)) for name in names])(inputs)
    return [
        settle(kernel, _states_before(model.get_layer(name), np.asarray(sequence)), gates)
        for name, kernel, sequence in zip(names, kernels, seen if len(names) > 1 else [seen], strict=True)
    ]


def _sequence_input(layer: Any) -> Any:
    """Symbolic input of a layer, without states."""
    given = layer.input
    return given[0] if isinstance(given, (list, tuple)) else given


def _states_before(layer: Any, sequence: Float32Array) -> Float32Array:
    """Inputs of the recurrent kernel, float32[n, units]: the output of the layer at each previous row."""
    twin = keras.layers.LSTM(layer.units, return_sequences=True)
    twin.build(sequence.shape)
    twin.set_weights(layer.get_weights())
    return np.asarray(twin(sequence))[:, :-1].reshape(-1, layer.units)


def _cell(gates: Any, state_c: Any) -> tuple[Any, Any]:
    """Output and cell state of an LSTM from its gates' inputs, in Keras' order: input, forget, candidate, output."""
    admit, forget, candidate, emit = tf.split(gates, 4, axis=1)
    next_c = tf.sigmoid(forget) * state_c + tf.sigmoid(admit) * tf.tanh(candidate)
    return tf.sigmoid(emit) * tf.tanh(next_c), next_c


def quantiles(shape: ForecasterShape, forecast: Any, band: Float32Array | None) -> Any:
    """Median and distances to the quantiles, float32[batch, 3 * n_channels], from the output of the Keras model.

    Parameters
    ----------
    forecast
        float32[batch, outputs], see `training.networks.architectures.forecaster`.
    band
        See `export_forecaster`.
    """
    if shape.head == "quantile":
        return forecast
    if shape.head == "point":
        if band is None:
            raise ValueError("a `point` head needs `band`")
        # Adding 0 times the forecast broadcasts the constant to the batch size.
        return tf.concat([forecast, *(tf.constant(distance[None]) + 0.0 * forecast for distance in band)], axis=1)
    low, middle, high = tf.unstack(_mixture_quantiles(forecast, shape.n_channels), axis=1)
    return tf.concat([middle, tf.maximum(middle - low, 0.0), tf.maximum(high - middle, 0.0)], axis=1)


def _mixture_quantiles(raw: Any, n: int) -> Any:
    """Quantiles of a logistic mixture, float32[batch, 3, n], by parallel bisection."""
    weights, centres, log_scales = (part[:, None] for part in mixture_parts(raw, n))
    weights, precision = tf.nn.softmax(weights), tf.exp(-log_scales)
    reach = 12.0 * tf.exp(log_scales)
    levels = tf.constant(QUANTILES)[None, :, None]
    low, high = tf.reduce_min(centres - reach, axis=-1), tf.reduce_max(centres + reach, axis=-1)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        below = tf.reduce_sum(weights * tf.sigmoid((middle[..., None] - centres) * precision), axis=-1)
        above = tf.cast(below < levels, tf.float32)
        low, high = above * middle + (1.0 - above) * low, above * high + (1.0 - above) * middle
    return 0.5 * (low + high)


def _fused(cell: Any, recurrent: Float32Array, units: int, name: uuid.UUID) -> Callable[[Any], Any]:
    """Build an LSTM layer, [1, rows, n] to [1, rows, units], that the converter fuses into one op.

    The converter recognises a function by its attributes and by the order of its arguments and results, which must be
    those of Keras' own LSTM. The fused op then replaces its body.
    """
    weights = _cell_weights(cell, recurrent)

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
    zero = tf.zeros((1, units))
    return lambda inputs: function(inputs, zero, zero, *weights)[1]


def _convert(
    serve: Callable[..., dict[str, Any]], form: Form, examples: Mapping[str, Float32Array] | None, *signature: Any
) -> bytes:
    """Convert through a SavedModel; from a concrete function, the converter inlines the LSTM instead of fusing it."""
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=signature, autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.serve)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if form != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if form == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if form == "full-int8":
            if examples is None:
                raise ValueError("full-integer quantisation needs a representative data set in `examples`")
            converter.representative_dataset = lambda: _one_by_one(examples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.experimental_new_dynamic_range_quantizer = False
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001 - no public setting
        # Calibration for full integers warns of deprecations and prints to the file descriptor.
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = canonical(converter.convert())
    refuse_newer_operators(content)
    return content


def _one_by_one(examples: Mapping[str, Float32Array]) -> Iterator[dict[str, Float32Array]]:
    for rows in zip(*examples.values(), strict=True):
        yield {name: row[None] for name, row in zip(examples, rows, strict=True)}


def _check_batch(content: bytes, shape: AutoencoderShape, tolerance: float) -> None:
    """Refuse a graph whose result depends on the batch size."""
    variables, size = state_tensors(content, shape.layers), (shape.window, shape.n_channels)
    windows = np.random.default_rng(0).normal(size=(4, shape.window * shape.n_channels)).astype(np.float32)
    together = WindowNetwork(content, 4, size, variables, "autoencoder").reconstruct(windows)
    single = WindowNetwork(content, 1, size, variables, "autoencoder")
    for window, answer in zip(windows, together, strict=True):
        deviation = float(np.max(np.abs(single.reconstruct(window[None])[0] - answer)))
        if not deviation <= tolerance:  # NaN must fail too
            raise EdgewatchError(
                f"the converted autoencoder deviates by {deviation:.3g} between a batch of 4 and single windows",
                remedy="train with the TensorFlow version named in docs/training.md",
            )


def _array(variable: Any) -> Float32Array:
    return np.asarray(variable, np.float32)
