from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting needs the training extra")

import keras

from agent.core.errors import EdgewatchError
from agent.models import bundle as models_bundle
from agent.models.bundle import Bundle
from agent.models.features import FEATURES, NORMALISATION_ROWS, SEASON_FEATURES
from agent.models.manifest import FORMAT, AutoencoderSpec, ForecasterSpec, Golden, Manifest, RunningScaling
from agent.models.tflite import StepNetwork, WindowNetwork
from training.export import device_run, tflite
from training.export.keras_comparison import verify
from training.networks import architectures

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array

N_FEATURES = len(FEATURES) + len(SEASON_FEATURES)
RNG = np.random.default_rng(0)
FEATURE_ROWS = RNG.normal(size=(6, 1000, N_FEATURES)).astype(np.float32)
WINDOWS = RNG.normal(size=(1000, architectures.WINDOW)).astype(np.float32)


def _lively(model: Any) -> Any:
    """Random weights as large as trained ones: with the initial ones, states have hardly any effect."""
    for weight in model.weights:
        weight.assign(weight + 0.2 * RNG.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module", name="forecaster")
def _forecaster() -> Any:
    keras.utils.set_random_seed(5)
    return _lively(architectures.forecaster())


@pytest.fixture(scope="module", name="autoencoder")
def _autoencoder() -> Any:
    keras.utils.set_random_seed(6)
    return _lively(architectures.autoencoder())


@pytest.fixture(scope="module", name="step_file")
def _step_file(forecaster: Any) -> bytes:
    return tflite.export_forecaster(forecaster)


@pytest.fixture(scope="module", name="window_file")
def _window_file(autoencoder: Any) -> bytes:
    return tflite.export_autoencoder(autoencoder, 1, architectures.UNIVERSAL_AUTOENCODER)


def _bundle(step_file: bytes, window_file: bytes) -> Bundle:
    def entry(name: str, content: bytes) -> dict[str, Any]:
        return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

    manifest = Manifest(
        format=FORMAT,
        name="test",
        version="0",
        created="2024-01-01",
        channels="any",
        interval_s="any",
        features=[*FEATURES, *SEASON_FEATURES],
        layout="shared",
        scaling=RunningScaling(NORMALISATION_ROWS),
        quantisation=tflite.QUANTISATION["int8"],
        forecaster=ForecasterSpec(**entry("forecaster.tflite", step_file), units=architectures.UNITS),
        autoencoder=AutoencoderSpec(
            **entry("autoencoder.tflite", window_file),
            window=architectures.WINDOW,
            stride=16,
            judged=16,
            state_tensors=tflite.state_tensors(window_file),
        ),
        golden=Golden(features=[], forecast=[], windows=[], reconstruction=[]),
        calibration={},
        verification={},
        provenance={},
    )
    return Bundle(Path("nowhere"), manifest, step_file, window_file)


@pytest.fixture(name="bundle")
def _a_bundle(step_file: bytes, window_file: bytes) -> Bundle:
    return _bundle(step_file, window_file)


def test_exported_networks_answer_as_keras_does_over_a_thousand_steps(
    bundle: Bundle, forecaster: Any, autoencoder: Any
) -> None:
    found = verify(bundle, forecaster, autoencoder, FEATURE_ROWS, WINDOWS)
    assert found["forecaster"]["steps"] == 1000
    assert found["autoencoder"]["windows"] == 1000
    for network in ("forecaster", "autoencoder"):
        assert 0 < found[network]["mean_deviation"] < 0.02


def test_a_batch_of_channels_answers_as_each_alone(step_file: bytes) -> None:
    together = StepNetwork(step_file, 6, N_FEATURES, architectures.UNITS, 3, "")
    alone = StepNetwork(step_file, 1, N_FEATURES, architectures.UNITS, 3, "")
    for t in range(50):
        batch = together.advance(np.ascontiguousarray(FEATURE_ROWS[:, t]))
        single = alone.advance(FEATURE_ROWS[2:3, t])
        np.testing.assert_allclose(batch[2], single[0], atol=1e-4)


def test_distances_to_the_outer_quantiles_are_never_negative(bundle: Bundle) -> None:
    assert (device_run.forecast(bundle, 4.0 * FEATURE_ROWS)[..., 1:] >= 0).all()


def test_weights_are_int8(step_file: bytes, window_file: bytes) -> None:
    weights = architectures.UNITS * 4 * architectures.UNITS
    assert len(step_file) < 4 * weights  # less than its recurrent weights alone would take as floats
    assert len(window_file) < 2 * 4 * weights


def test_the_same_model_and_seed_give_the_same_files(
    forecaster: Any, autoencoder: Any, step_file: bytes, window_file: bytes
) -> None:
    assert tflite.export_forecaster(forecaster) == step_file
    assert tflite.export_autoencoder(autoencoder, 1, architectures.UNIVERSAL_AUTOENCODER) == window_file


def test_a_model_without_fused_lstms_is_refused(step_file: bytes) -> None:
    with pytest.raises(EdgewatchError, match="0 fused LSTM ops"):
        tflite.state_tensors(step_file)


def test_a_graph_that_holds_its_batch_size_is_refused(window_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lopsided(WindowNetwork):
        def reconstruct(self, windows: Float32Array) -> Float32Array:
            answer = super().reconstruct(windows)
            return answer if len(windows) == 1 else answer + np.float32(0.01)

    monkeypatch.setattr(tflite, "WindowNetwork", Lopsided)
    with pytest.raises(EdgewatchError, match="batch of 4"):
        tflite._check_batch(window_file, architectures.UNIVERSAL_AUTOENCODER, 1e-4)


class TestVerifyRefuses:
    def test_a_flipped_weight_of_the_forecaster(
        self, step_file: bytes, window_file: bytes, forecaster: Any, autoencoder: Any
    ) -> None:
        bundle = _bundle(_flipped(step_file, forecaster.get_layer("head")), window_file)
        with pytest.raises(EdgewatchError, match="forecaster deviates"):
            verify(bundle, forecaster, autoencoder, FEATURE_ROWS, WINDOWS)

    def test_a_flipped_weight_of_the_autoencoder(
        self, step_file: bytes, window_file: bytes, forecaster: Any, autoencoder: Any
    ) -> None:
        bundle = _bundle(step_file, _flipped(window_file, autoencoder.get_layer("points")))
        with pytest.raises(EdgewatchError, match="autoencoder deviates"):
            verify(bundle, forecaster, autoencoder, FEATURE_ROWS, WINDOWS)

    def test_a_forgotten_reset_of_the_fused_state(
        self, bundle: Bundle, forecaster: Any, autoencoder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Forgetful(WindowNetwork):
            def reconstruct(self, windows: Float32Array) -> Float32Array:
                self._interpreter.set_tensor(self._window, windows[:, :, None])
                self._interpreter.invoke()
                reconstruction: Float32Array = self._interpreter.get_tensor(self._reconstruction)[:, :, 0]
                return reconstruction

        monkeypatch.setattr(models_bundle, "WindowNetwork", Forgetful)
        with pytest.raises(EdgewatchError, match="autoencoder deviates"):
            verify(bundle, forecaster, autoencoder, FEATURE_ROWS, WINDOWS)

    def test_a_state_that_is_not_carried(
        self, bundle: Bundle, forecaster: Any, autoencoder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Stateless(StepNetwork):
            def step(self, features: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
                forecast, next_h, next_c = super().step(features)
                return forecast, 0 * next_h, 0 * next_c

        monkeypatch.setattr(models_bundle, "StepNetwork", Stateless)
        with pytest.raises(EdgewatchError, match="forecaster deviates"):
            verify(bundle, forecaster, autoencoder, FEATURE_ROWS, WINDOWS)

    def test_answers_that_are_no_numbers(
        self, bundle: Bundle, forecaster: Any, autoencoder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Broken(StepNetwork):
            def step(self, features: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
                forecast, next_h, next_c = super().step(features)
                return forecast * np.nan, next_h, next_c

        monkeypatch.setattr(models_bundle, "StepNetwork", Broken)
        with pytest.raises(EdgewatchError, match="deviates from Keras by nan"):
            verify(bundle, forecaster, autoencoder, FEATURE_ROWS, WINDOWS)


def _flipped(content: bytes, layer: Any) -> bytes:
    """Flip the sign of a dense layer's largest weight, which the converter leaves in float."""
    kernel = np.ascontiguousarray(np.asarray(layer.kernel).T)
    weight = int(np.abs(kernel).argmax())
    at = content.find(kernel.tobytes())
    assert at >= 0
    damaged = bytearray(content)
    damaged[at + 4 * weight + 3] ^= 0x80
    return bytes(damaged)
