from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting needs the training extra")

import keras
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tensorflow.lite.python import schema_py_generated as schema

from agent.core.errors import EdgewatchError
from training.export import tflite
from training.export.keras_comparison import deviation, keras_forecast, keras_reconstruction
from training.export.number_formats import ExportedNetworks, compare
from training.export.tflite import FORMS, Form
from training.networks import architectures
from training.networks.architectures import COMPONENTS, QUANTILES, AutoencoderShape, ForecasterShape

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array

pytestmark = pytest.mark.training

RNG = np.random.default_rng(3)
STEP = ForecasterShape(n_features=3, n_channels=2, units=16, head="point")
BAND = np.array([[0.4, 0.6], [0.5, 0.7]], np.float32)
WINDOW = AutoencoderShape(window=8, n_channels=2, units=32, latent=3, placed=True)


@pytest.fixture(scope="module", name="networks")
def _networks() -> ExportedNetworks:
    keras.utils.set_random_seed(5)
    return ExportedNetworks(
        architectures.forecaster(STEP),
        architectures.autoencoder(WINDOW),
        STEP,
        WINDOW,
        band=BAND,
        seed=1,
        features=RNG.normal(size=(1, 300, 3)).astype(np.float32),
        windows=RNG.normal(size=(300, 16)).astype(np.float32),
        typical=(
            RNG.normal(size=(8, 40, 3)).astype(np.float32),
            RNG.normal(size=(200, WINDOW.window, WINDOW.n_channels)).astype(np.float32),
        ),
    )


@pytest.fixture(scope="module", name="compared")
def _compared(
    networks: ExportedNetworks,
) -> tuple[dict[str, Any], dict[str, Any], dict[Form, tuple[bytes, bytes]], int]:
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more

    forecast = keras_forecast(networks.forecaster, networks.features, STEP, BAND)
    redrawn = keras_reconstruction(networks.autoencoder, networks.windows)
    return (*compare(networks, forecast, redrawn, advance), done)


def test_every_form_is_had_or_has_a_reason(compared: Any) -> None:
    table, measured, files, done = compared
    assert done == len(FORMS)
    for network, entries in table.items():
        assert tuple(entries) == FORMS
        for form, entry in entries.items():
            assert ("unavailable" in entry) == (form not in files)
            assert (form in measured["microseconds"][network]) == (form in files)
    assert tuple(files) == FORMS


def test_the_table_gives_size_and_deviation_of_each_file(compared: Any) -> None:
    table, _, files, _ = compared
    for place, network in enumerate(("forecaster", "autoencoder")):
        for form, pair in files.items():
            assert table[network][form]["size"] == len(pair[place])
        assert table[network]["float32"]["mean_deviation"] < 1e-5
        assert table[network]["float16"]["mean_deviation"] < 1e-3
        assert 0 < table[network]["int8"]["mean_deviation"] < 0.02
        assert table[network]["int8"]["size"] < table[network]["float32"]["size"]

        assert 0 < table[network]["full-int8"]["mean_deviation"] < 0.15


@pytest.mark.parametrize("form", FORMS)
def test_no_operation_comes_before_what_it_needs(compared: Any, form: Form) -> None:
    for content in compared[2][form]:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
        (graph,) = model.subgraphs
        made = {int(tensor) for operation in graph.operators for tensor in operation.outputs}
        known = set(map(int, graph.inputs))
        for operation in graph.operators:
            assert not made & {int(tensor) for tensor in operation.inputs} - known
            known |= {int(tensor) for tensor in operation.outputs}


@pytest.mark.parametrize("form", FORMS)
def test_a_runtime_without_delegates_answers_the_same(networks: ExportedNetworks, compared: Any, form: Form) -> None:
    interpreter = Interpreter(
        model_content=compared[2][form][0],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    run = interpreter.get_signature_runner("serving_default")
    expected = keras_forecast(networks.forecaster, networks.features, STEP, BAND)[0]
    state_h = state_c = np.zeros((1, 16), np.float32)
    for features, forecast in zip(networks.features[0, :100], expected, strict=False):
        answers = run(features=features[None], state_h=state_h, state_c=state_c)
        state_h, state_c = answers["next_h"], answers["next_c"]
        np.testing.assert_allclose(answers["forecast"][0], forecast, atol=0.15)


def test_every_inference_takes_time(compared: Any) -> None:
    _, measured, _, _ = compared
    assert measured["machine"]
    for times in measured["microseconds"].values():
        assert all(0 < time < 1e5 for time in times.values())


def test_a_form_that_cannot_be_had_is_left_out_with_the_first_line_of_why(
    networks: ExportedNetworks, compared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = compared[2]

    def exported(_networks: ExportedNetworks, form: Form) -> tuple[bytes, bytes]:
        if form == "full-int8":
            raise RuntimeError("it has\nno such kernel")
        if form == "float16":
            raise ValueError
        if form == "float32":
            raise EdgewatchError("it used LOG version 2", remedy="train otherwise")
        pair: tuple[bytes, bytes] = ready[form]
        return pair

    monkeypatch.setattr(ExportedNetworks, "export", exported)
    answers = np.zeros((1, 256, 6), np.float32), np.zeros((300, 16), np.float32)
    table, _, files = compare(networks, *answers, lambda _: None)
    assert set(files) == {"int8"}
    for network in ("forecaster", "autoencoder"):
        assert table[network]["full-int8"] == {"unavailable": "it has"}
        assert table[network]["float16"] == {"unavailable": "ValueError"}
        assert table[network]["float32"] == {"unavailable": "it used LOG version 2"}


def test_deviation_is_mean_and_largest_difference() -> None:
    found = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)
    assert deviation(found, np.zeros((2, 2), np.float32)) == {"mean_deviation": 2.5, "max_deviation": 4.0}


class TestHeads:
    def of(self, shape: ForecasterShape, raw: Float32Array, band: Float32Array | None = None) -> Float32Array:
        return np.asarray(tflite.quantiles(shape, raw, band)).reshape(len(raw), 3, shape.n_channels)

    def test_a_point_has_the_band_of_its_errors(self) -> None:
        raw = RNG.normal(size=(4, 2)).astype(np.float32)
        band = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
        found = self.of(ForecasterShape(n_channels=2, head="point"), raw, band)
        np.testing.assert_array_equal(found[:, 0], raw)
        np.testing.assert_array_equal(found[:, 1:], np.broadcast_to(band, (4, 2, 2)))

    def test_a_mixture_is_cut_at_its_quantiles(self) -> None:
        shape = ForecasterShape(n_channels=2, head="mixture")
        raw = (2 * RNG.normal(size=(50, shape.outputs))).astype(np.float32)
        median, below, above = self.of(shape, raw).transpose(1, 0, 2)
        assert (below >= 0).all()
        assert (above >= 0).all()
        weights, centres, log_scales = np.moveaxis(raw.reshape(50, 2, 3, COMPONENTS).astype(np.float64), 2, 0)
        weights = np.exp(weights) / np.exp(weights).sum(axis=-1, keepdims=True)
        for level, cut in zip(QUANTILES, (median - below, median, median + above), strict=True):
            z = (cut[..., None] - centres) / np.exp(np.clip(log_scales, np.log(1e-3), 4.0))
            share = (weights * 0.5 * (1 + np.tanh(z / 2))).sum(axis=-1)
            np.testing.assert_allclose(share, level, atol=2e-3)

    def test_a_mixture_loss_is_the_negative_logarithm_of_the_density(self) -> None:
        raw = np.zeros((1, 3 * COMPONENTS), np.float32)
        loss = float(np.asarray(architectures.mixture_loss(np.zeros((1, 1), np.float32), raw))[0, 0])
        assert loss == pytest.approx(np.log(4.0))  # the logistic density at its centre is a quarter

    def test_the_true_quantiles_have_the_smallest_pinball_loss(self) -> None:
        targets = RNG.normal(size=(20_000, 1)).astype(np.float32)

        def loss(low: float, middle: float, high: float) -> float:
            forecast = np.broadcast_to(np.float32([[middle], [middle - low], [high - middle]]), (20_000, 3, 1))
            return float(np.mean(np.asarray(architectures.pinball_loss(targets, forecast))))

        least = loss(-1.645, 0.0, 1.645)
        assert all(least < loss(*other) for other in ((-1.2, 0, 1.645), (-1.645, 0.3, 1.645), (-1.645, 0, 2.2)))
