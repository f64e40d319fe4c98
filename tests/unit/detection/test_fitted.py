from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting needs the training extra")

import keras

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.core.frame import Frame
from agent.core.persistent_state import capture
from agent.detection.ensemble import Ensemble
from agent.detection.fitted import FittedDetector
from agent.detection.fitted_networks import FittedNetworks
from agent.detection.scaling import compress, expand
from agent.detection.seasonality import time_features
from agent.detection.settings import DetectionConfig
from agent.models import manifest as agent_bundle
from agent.models.bundle import Bundle
from agent.models.manifest import AutoencoderSpec, FixedScaling, ForecasterSpec, Golden, Manifest, Start
from tests.support.restart import carry_over
from training.bundle import writer
from training.bundle.error_quantiles import errors_of, refuse_too_little, start_of
from training.data.recording import Recording
from training.export import tflite
from training.networks import architectures
from training.networks.architectures import AutoencoderShape, ForecasterShape
from training.networks.dataset import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import Float32Array, Float64Array

pytestmark = pytest.mark.training

MONDAY = 345_600.0
NAMES = ("temperature", "flow", "rate")
CHANNELS = (Channel("temperature", "°C"), Channel("flow"), Channel("rate", log_reference=2.0, effect=1.5))
CENTRE = np.array([50.0, -3.0, 1.5])
SPREAD = np.array([4.0, 0.5, 0.4])
CLOCK = ("hour_sin", "hour_cos")
POINTS, BLOCK, STRIDE = 6, 2, 4


class Trained(NamedTuple):
    """Networks with weights as large as trained ones, and the bundle made of them."""

    forecaster: Any
    autoencoder: Any
    bundle: Bundle


def made(*, joint: bool, horizon: int, block: int, centred: bool) -> Trained:
    keras.utils.set_random_seed(11)
    rng = np.random.default_rng(11)
    lanes = 3 if joint else 1
    step = ForecasterShape(n_features=lanes + len(CLOCK), n_channels=lanes, units=5)
    window = AutoencoderShape(window=POINTS, n_channels=lanes, units=5, latent=2, placed=True)
    forecaster, autoencoder = architectures.forecaster(step), architectures.autoencoder(window)
    for weight in (*forecaster.weights, *autoencoder.weights):
        weight.assign(weight + 0.2 * rng.normal(size=weight.shape))
    step_file = tflite.export_forecaster(forecaster, step, form="float32")
    window_file = tflite.export_autoencoder(autoencoder, 1, window, form="float32")
    manifest = Manifest(
        format=agent_bundle.FORMAT,
        name="plant",
        version="1.0.0",
        created="2026-01-01",
        channels=list(NAMES),
        interval_s=60.0,
        layout="joint" if joint else "shared",
        features=["level", *CLOCK],
        scaling=FixedScaling(
            method="robust",
            log_reference=[0.0, 0.0, 2.0],
            effect=[0.0, 0.0, 1.5],
            centre=CENTRE.tolist(),
            spread=SPREAD.tolist(),
        ),
        quantisation="float32",
        forecaster=ForecasterSpec(**writer.file_entry("f.tflite", step_file), units=5, horizon=horizon),
        autoencoder=AutoencoderSpec(
            **writer.file_entry("a.tflite", window_file),
            window=POINTS,
            stride=STRIDE,
            judged=3,
            state_tensors=tflite.state_tensors(window_file),
            block=block,
            centred=centred,
        ),
        golden=Golden(features=[], forecast=[], windows=[], reconstruction=[]),
        calibration={},
        verification={},
        provenance={},
        start=Start(
            rows=2000,
            levels=[0.0, 0.5, 1.0],
            forecast_error=[[-1.0, 0.0, 2.0], [-3.0, 0.0, 3.0], [-0.1, 0.0, 0.2]],
            reconstruction_error=[[0.1, 0.5, 1.0], [0.2, 0.6, 2.0], [0.0, 0.1, 0.3]],
        ),
    )
    return Trained(forecaster, autoencoder, Bundle(Path("plant"), manifest, step_file, window_file))


@pytest.fixture(scope="module", name="joint")
def _joint() -> Trained:
    return made(joint=True, horizon=3, block=BLOCK, centred=True)


@pytest.fixture(scope="module", name="shared")
def _shared() -> Trained:
    return made(joint=False, horizon=1, block=1, centred=False)


@pytest.fixture(params=["joint", "shared"])
def trained(request: pytest.FixtureRequest) -> Trained:
    either: Trained = request.getfixturevalue(request.param)
    return either


def readings(rows: int = 80, seed: int = 0) -> Float32Array:
    """Readings around the centre on each channel's scale, with one extreme row."""
    scaled = CENTRE + SPREAD * np.random.default_rng(seed).normal(size=(rows, 3))
    scaled[40, 0] += 100 * SPREAD[0]
    return in_units(scaled)


def in_units(scaled: Float64Array) -> Float32Array:
    values = scaled.copy()
    values[:, 2] = 2.0 * np.expm1(scaled[:, 2])
    return values.astype(np.float32)


def on_scale(values: Float32Array) -> Float64Array:
    scaled = values.astype(np.float64)
    scaled[:, 2] = np.log1p(np.maximum(scaled[:, 2], 0) / 2.0)
    return scaled


def frames(values: Float32Array) -> list[Frame]:
    return [Frame(row, 0, MONDAY + 60.0 * row, cells) for row, cells in enumerate(values)]


def run(detector: FittedNetworks, values: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Outlooks and errors, float64[rows, 3, n_channels] and float64[rows, 2, n_channels]."""
    everyone = np.ones(values.shape[1], bool)
    outlooks, errors = [], []
    for frame in frames(values):
        scores = detector.score(frame)
        outlooks.append(scores.outlook.copy())
        errors.append(scores.errors.copy())
        detector.learn(everyone)
    return np.stack(outlooks), np.stack(errors)


def of(trained: Trained, channels: Sequence[Channel] = CHANNELS) -> FittedNetworks:
    return FittedNetworks(channels, trained.bundle, 60.0)


def expected_outlook(trained: Trained, scaled: Float64Array) -> Float64Array:
    """Keras' forecast of each row from earlier rows, float64[rows, 3, 3]; NaN before the first."""
    manifest = trained.bundle.manifest
    rows, horizon = len(scaled), manifest.forecaster.horizon
    z = compress((scaled - CENTRE) / SPREAD)
    clock = time_features(MONDAY + 60.0 * np.arange(rows), CLOCK)
    if manifest.layout == "joint":
        features = np.concatenate((z, clock), axis=1)[None]
    else:
        features = np.concatenate((z.T[:, :, None], np.broadcast_to(clock, (3, *clock.shape))), axis=2)
    state = np.zeros((len(features), 5), np.float32)
    raw = np.asarray(trained.forecaster([features.astype(np.float32), state, state])[0], np.float64)
    offsets = raw[0].reshape(rows, 3, 3) if manifest.layout == "joint" else raw.transpose(1, 2, 0)
    median = z + offsets[:, 0]
    bounds = np.stack((median, median - offsets[:, 1], median + offsets[:, 2]), axis=1)
    outlook = np.full((rows, 3, 3), np.nan)
    outlook[horizon:] = (CENTRE + SPREAD * expand(bounds))[:-horizon]
    return outlook


def expected_reconstruction(trained: Trained, scaled: Float64Array) -> Float64Array:
    """Keras' reconstruction error at each row with a window, float64[rows, 3]; else NaN."""
    spec = trained.bundle.manifest.autoencoder
    length = spec.window * spec.block
    errors = np.full(scaled.shape, np.nan)
    for row in range(length - 1, len(scaled)):
        if (row + 1) % spec.stride:
            continue
        points = scaled[row + 1 - length : row + 1].reshape(spec.window, spec.block, 3).mean(axis=1)
        z = compress((points - CENTRE) / SPREAD)
        offset = z.mean(axis=0) if spec.centred else 0.0
        shown = (z - offset).astype(np.float32)
        if trained.bundle.manifest.layout == "joint":
            redrawn = np.asarray(trained.autoencoder(shown[None]))[0]
        else:
            redrawn = np.asarray(trained.autoencoder(shown.T[:, :, None]))[:, :, 0].T
        error = np.abs(expand(z) - expand(redrawn + offset))[-spec.judged :]
        errors[row] = SPREAD * (np.median(error, axis=0) if spec.centred else np.mean(error, axis=0))
    return errors


def test_the_outlook_is_what_keras_forecasts(trained: Trained) -> None:
    values = readings()
    outlooks, errors = run(of(trained), values)
    expected = expected_outlook(trained, on_scale(values))
    horizon = trained.bundle.manifest.forecaster.horizon
    assert np.isnan(outlooks[:horizon]).all()
    np.testing.assert_allclose((outlooks - CENTRE) / SPREAD, (expected - CENTRE) / SPREAD, atol=2e-3, rtol=1e-3)
    np.testing.assert_allclose(errors[:, 0], on_scale(values) - outlooks[:, 0], atol=1e-9)


def test_the_reconstruction_error_is_that_of_keras(trained: Trained) -> None:
    values = readings()
    _, errors = run(of(trained), values)
    expected = expected_reconstruction(trained, on_scale(values))
    spec = trained.bundle.manifest.autoencoder
    due = np.flatnonzero(np.isfinite(expected[:, 0])) + 1
    assert due.tolist() == [row for row in range(spec.window * spec.block, 81) if row % spec.stride == 0]
    np.testing.assert_allclose(errors[:, 1] / SPREAD, expected / SPREAD, atol=2e-3, rtol=1e-3)


def test_windows_are_those_that_training_cut(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    values = readings()
    values[20:23, 1] = np.nan
    detector, seen = of(trained), []
    redraw = detector._autoencoder.reconstruct

    def watched(windows: Float64Array) -> Float32Array:
        seen.append(windows.copy())
        return redraw(windows)

    monkeypatch.setattr(detector._autoencoder, "reconstruct", watched)
    run(detector, values)

    made_of = prepare([Recording("plant", CHANNELS, 60.0, MONDAY + 60.0 * np.arange(80), values)], method="robust")
    scaling, spec = made_of.scaling, trained.bundle.manifest.autoencoder
    length = spec.window * spec.block
    ends = np.array([row for row in range(length - 1, 80) if (row + 1) % spec.stride == 0])
    points = expand(made_of.parts[0].points(ends, spec.window, spec.block))
    # From the scale that these rows have to that of the bundle.
    windows = compress((np.array(scaling.centre) + np.array(scaling.spread) * points - CENTRE) / SPREAD)
    if spec.centred:
        windows -= windows.mean(axis=1, keepdims=True)
    joint = trained.bundle.manifest.layout == "joint"
    for window, shown in zip(windows, seen, strict=True):
        np.testing.assert_allclose(shown, window.reshape(1, -1) if joint else window.T, atol=2e-3)


def test_channels_in_another_order_get_the_same_answers(trained: Trained) -> None:
    values, order = readings(), [2, 0, 1]
    outlooks, errors = run(of(trained), values)
    other = run(of(trained, [CHANNELS[k] for k in order]), values[:, order])
    np.testing.assert_allclose(other[0], outlooks[:, :, order], rtol=1e-5)
    np.testing.assert_allclose(other[1], errors[:, :, order], rtol=1e-4, atol=1e-5)


def test_the_order_of_channels_changes_no_threshold(trained: Trained) -> None:
    order = [2, 0, 1]
    settings = (DetectionConfig(), AlertsConfig(), 60.0)
    one = FittedDetector(CHANNELS, trained.bundle, *settings)
    other = FittedDetector([CHANNELS[k] for k in order], trained.bundle, *settings)
    mine, others = capture(one), capture(other)
    both = [k + head for head in (0, 3) for k in order]
    np.testing.assert_array_equal(others["threshold"]["ends"], mine["threshold"]["ends"][:, both])
    usual = [record["networks"]["usual_residual"] for record in (mine, others)]
    np.testing.assert_array_equal(usual[1], usual[0][order])


def test_the_hour_of_the_day_matters(trained: Trained) -> None:
    values = readings()
    detector = of(trained)
    everyone = np.ones(3, bool)
    for frame in frames(values):
        detector.score(msgspec.structs.replace(frame, wall=frame.wall + 43_200.0))
        detector.learn(everyone)
    at_noon, at_midnight = (capture(each)[""]["outlook"] for each in (detector, run_on(of(trained), values)))
    assert (np.abs(at_noon - at_midnight) / SPREAD > 1e-3).any()


def run_on(detector: FittedNetworks, values: Float32Array) -> FittedNetworks:
    run(detector, values)
    return detector


def test_the_bundles_scale_replaces_that_of_the_source(trained: Trained) -> None:
    values = readings()
    plain = [Channel(name) for name in NAMES]
    np.testing.assert_array_equal(run(of(trained), values)[1], run(of(trained, plain), values)[1])


class TestMissing:
    def test_the_last_reading_stands_in_and_has_no_error(self, trained: Trained) -> None:
        values = readings()
        values[30:36, 1] = np.nan
        values[36, 1] = np.float32(3e38)
        held = values.copy()
        held[30:37, 1] = values[29, 1]
        outlooks, errors = run(of(trained), values)
        expected, _ = run(of(trained), held)
        np.testing.assert_array_equal(outlooks, expected)
        assert np.isnan(errors[30:37, 0, 1]).all()
        assert np.isfinite(errors[30:37, 0, [0, 2]]).all()

    def test_before_the_first_reading_the_middle_stands_in(self, trained: Trained) -> None:
        values = readings()
        values[:10, 0] = np.nan
        middle = values.copy()
        middle[:10, 0] = CENTRE[0]
        np.testing.assert_allclose(run(of(trained), values)[0], run(of(trained), middle)[0], rtol=1e-6)

    def test_a_window_that_mostly_is_says_nothing_of_that_channel(self, trained: Trained) -> None:
        spec = trained.bundle.manifest.autoencoder
        length = spec.window * spec.block
        values = readings()
        gone = slice(20, 20 + length // 2 + 1)
        values[gone, 1] = np.nan
        _, errors = run(of(trained), values)
        due = np.isfinite(errors[:, 1, 0])
        assert due[length:].any()
        for row in np.flatnonzero(due):
            missing = np.isnan(values[row + 1 - length : row + 1, 1]).mean()
            assert np.isnan(errors[row, 1, 1]) == (missing > 0.5), row


def test_a_trained_watch_goes_on_from_a_snapshot(trained: Trained) -> None:
    settings = (DetectionConfig(), AlertsConfig(), 60.0)
    one = FittedDetector(CHANNELS, trained.bundle, *settings)
    frames = [Frame(row, 0, MONDAY + 60.0 * row, values) for row, values in enumerate(readings())]
    for frame in frames[:45]:
        one.step(frame)
    other = FittedDetector(CHANNELS, trained.bundle, *settings)
    carry_over(one, other)
    for frame in frames[45:]:
        expected, same = one.step(frame), other.step(frame)
        for name in ("strength", "state", "errors"):
            assert getattr(same, name).tobytes() == getattr(expected, name).tobytes()


class TestRefused:
    def test_other_channels_name_what_is_missing_and_what_is_unknown(self, joint: Trained) -> None:
        with pytest.raises(UserError, match="it needs flow, rate; it knows no pressure") as refused:
            of(joint, [Channel("temperature"), Channel("pressure")])
        assert refused.value.location == "plant: plant@1.0.0"
        assert "`builtin`" in refused.value.remedy

    @pytest.mark.parametrize("interval_s", [1.0, 56.0, 64.0])
    def test_another_sampling_interval_says_which_to_set(self, joint: Trained, interval_s: float) -> None:
        with pytest.raises(
            UserError, match=f"a reading every 60 s, here it would get one every {interval_s:g} s"
        ) as no:
            FittedNetworks(CHANNELS, joint.bundle, interval_s)
        assert "interval_s: 60" in no.value.remedy

    @pytest.mark.parametrize("interval_s", [58.0, 60.0, 62.0])
    def test_a_clock_that_is_a_little_off_is_not(self, joint: Trained, interval_s: float) -> None:
        FittedNetworks(CHANNELS, joint.bundle, interval_s)


class TestRestart:
    WHICH = np.array([False, True, False])

    def test_the_chosen_channels_centre_on_their_newest_window(self, trained: Trained) -> None:
        values = readings()
        values[40:, 1] += 20.0
        detector = run_on(of(trained), values)
        detector.restart(self.WHICH)
        spec = trained.bundle.manifest.autoencoder
        newest = on_scale(values)[-spec.window * spec.block :, 1]
        np.testing.assert_allclose(
            capture(detector)[""]["centre"], [CENTRE[0], np.median(newest), CENTRE[2]], rtol=1e-6
        )

    def test_before_a_window_is_full_only_what_was_read_counts(self, trained: Trained) -> None:
        values = readings()[:4]
        values[:, 1] += 20.0
        detector = run_on(of(trained), values)
        detector.restart(self.WHICH)
        assert capture(detector)[""]["centre"][1] == pytest.approx(np.median(values[:, 1]), rel=1e-6)


class TestStart:
    """A bundle with error quantiles from training, which detects without a learning time."""

    ALERTS = AlertsConfig(confirm_s=60.0, cooldown_s=3600.0, budget_per_day=1e9)

    def calibrated(self, shared: Trained) -> Bundle:
        """Short form of `training.bundle.error_quantiles`: errors of the agent's step on normal readings."""
        _, errors = run(of(shared), quiet_readings(1500, seed=1))
        levels = [0.0, *np.linspace(0.01, 0.99, 31).round(4).tolist(), 1.0]
        tables = [np.nanquantile(errors[:, head], levels, axis=0).T.tolist() for head in (0, 1)]
        start = Start(rows=1500, levels=levels, forecast_error=tables[0], reconstruction_error=tables[1])
        bundle = shared.bundle
        manifest = msgspec.structs.replace(bundle.manifest, start=start)
        return Bundle(bundle.directory, manifest, bundle.forecaster_file, bundle.autoencoder_file)

    def alerts(self, bundle: Bundle, values: Float32Array) -> list[tuple[int, str]]:
        """Row and first channel of every incident opened."""
        monitor = Ensemble(CHANNELS, bundle, DetectionConfig(), self.ALERTS, 60.0)
        ledger = Incidents(CHANNELS, self.ALERTS, 60.0, node="n", model=bundle.label, instance="i")
        opened = []
        for frame in frames(values):
            opened += [
                (frame.seq, alert.contributors[0].channel)
                for alert in ledger.step(frame, monitor.step(frame))
                if alert.phase == "open"
            ]
        return opened

    def test_it_is_watching_from_the_first_row_on(self, shared: Trained) -> None:
        monitor = Ensemble(CHANNELS, self.calibrated(shared), DetectionConfig(), AlertsConfig(), 60.0)
        verdicts = [monitor.step(frame) for frame in frames(quiet_readings(8))]
        assert all((verdict.progress() == 1.0).all() for verdict in verdicts)
        assert np.isfinite(verdicts[1].bounds()).all()

    def test_its_limits_are_those_of_the_errors_it_was_given(self, shared: Trained) -> None:
        bundle = self.calibrated(shared)
        watch = FittedDetector(CHANNELS, bundle, DetectionConfig(), AlertsConfig(), 60.0)
        lower, upper = watch._threshold.limits()
        start = bundle.manifest.start
        assert start is not None
        table = np.concatenate((start.forecast_error, start.reconstruction_error))
        width = table[:, -1] - table[:, 0]
        assert (upper > table[:, -1]).all()
        assert (upper < table[:, -1] + width).all()
        assert (lower[:3] < table[:3, 0]).all()
        assert (lower[:3] > table[:3, 0] - width[:3]).all()

    def test_normal_readings_raise_nothing(self, shared: Trained) -> None:
        assert self.alerts(self.calibrated(shared), quiet_readings(600, seed=2)) == []

    @pytest.mark.parametrize("row", [1, POINTS + 1])
    def test_a_burst_right_at_the_beginning_raises_an_alert(self, shared: Trained, row: int) -> None:
        values = quiet_readings(40, seed=3)
        values[row : row + 3, 0] += np.float32(20 * SPREAD[0])
        (alert,) = self.alerts(self.calibrated(shared), values)
        assert alert == (row, "temperature")


class TestCalibration:
    """Error quantiles that training stores in such a bundle."""

    ROWS = 4000

    def prepared(self, **given: Any) -> Prepared:
        time = MONDAY + 60.0 * np.arange(self.ROWS)
        values = given.pop("values", quiet_readings(self.ROWS))
        return prepare([Recording("plant", CHANNELS, 60.0, time, values, **given)], method="robust")

    def test_only_rows_held_back_for_it_count(self, shared: Trained) -> None:
        prepared = self.prepared()
        split = prepared.parts[0].split
        held_back = errors_of(shared.bundle, prepared, learned=False)
        learned = errors_of(shared.bundle, prepared, learned=True)
        assert held_back.shape == (2, split.calibration.stop - split.calibration.start, 3)
        assert learned.shape == (2, split.validation.stop, 3)
        assert np.isfinite(held_back[0]).all()  # states and windows were filled by the rows before

    def test_rows_on_and_after_a_label_do_not_count_and_change_no_other(self, shared: Trained) -> None:
        labels = np.zeros(self.ROWS, bool)
        first = self.prepared().parts[0].split.calibration.start
        labels[first + 100 : first + 103] = True
        errors = errors_of(shared.bundle, self.prepared(labels=labels), learned=False)
        without = errors_of(shared.bundle, self.prepared(), learned=False)
        counted = np.isfinite(errors[0]).all(axis=1)
        assert (~counted).nonzero()[0].tolist() == list(range(100, 103 + 256))
        np.testing.assert_array_equal(errors[:, counted], without[:, counted])

    def test_a_label_just_before_it_is_remembered_too(self, shared: Trained) -> None:
        labels = np.zeros(self.ROWS, bool)
        labels[self.prepared().parts[0].split.calibration.start - 1] = True
        errors = errors_of(shared.bundle, self.prepared(labels=labels), learned=False)
        assert np.isnan(errors[:, :256]).all()
        assert np.isfinite(errors[0, 256:]).all()

    def test_quantiles_are_of_held_back_rows_and_the_outermost_of_all(self, shared: Trained) -> None:
        held_back = np.tile(np.linspace(-1, 1, 401, dtype=np.float32)[:, None], (2, 1, 3))
        learned = held_back[:, :10] * 0
        learned[0, 3, 1], learned[1, 4, 2] = -9.0, 7.0
        start = start_of(shared.bundle, self.prepared(), held_back, learned)
        forecast, redrawn = np.array(start.forecast_error), np.array(start.reconstruction_error)
        assert start.rows == 3600
        assert (start.levels[0], start.levels[-1]) == (0.0, 1.0)
        assert forecast[:, 0].tolist() == [-1, -9, -1]
        assert redrawn[:, -1].tolist() == [1, 1, 7]
        middle = np.array(start.levels[1:-1])
        np.testing.assert_allclose(forecast[:, 1:-1], np.tile(2 * middle - 1, (3, 1)), atol=1e-5)

    def test_a_channel_that_has_no_error_to_start_from_is_named(self, shared: Trained) -> None:
        values = quiet_readings(self.ROWS)
        values[2600:, 1] = np.nan
        prepared = self.prepared(values=values)
        held_back = errors_of(shared.bundle, prepared, learned=False)
        with pytest.raises(UserError, match="too little data of flow for calibration: 0 windows of") as refused:
            start_of(shared.bundle, prepared, held_back, held_back)
        assert refused.value.location == "plant"
        assert "record about" in refused.value.remedy
        with pytest.raises(UserError, match="too little data of flow"):
            refuse_too_little(prepared, POINTS, STRIDE)

    @pytest.mark.parametrize("labelled", [False, True])
    @pytest.mark.parametrize("rows", [282, 290, 294, 330])
    def test_what_training_will_find_is_foretold_to_one_look(self, shared: Trained, rows: int, labelled: bool) -> None:
        labels = np.zeros(rows, bool)
        labels[10] = labelled
        given = Recording("plant", CHANNELS, 60.0, MONDAY + 60.0 * np.arange(rows), quiet_readings(rows), labels)
        prepared = prepare([given], method="robust")
        errors = errors_of(shared.bundle, prepared, learned=False)
        found = int(np.isfinite(errors[1]).sum(axis=0).min())
        if found > 12:
            refuse_too_little(prepared, POINTS, STRIDE)
        if found < 12:
            with pytest.raises(UserError, match="too little data for calibration"):
                refuse_too_little(prepared, POINTS, STRIDE)


def quiet_readings(rows: int, seed: int = 0) -> Float32Array:
    return in_units(CENTRE + SPREAD * np.random.default_rng(seed).normal(size=(rows, 3)).clip(-2.5, 2.5))
