"""Makes a bundle of one's own recordings: prepare, train, export, verify, calibrate, write."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

import keras
import msgspec
import numpy as np
import tensorflow as tf

from agent import bundle as agent_bundle
from agent.bundle import AutoencoderSpec, Bundle, ForecasterSpec, Golden, Manifest
from agent.config import AlertsConfig, DetectionConfig
from agent.errors import UserError
from agent.features import LEVEL
from agent.monitor import Monitor
from training import bundling, models
from training.bundling import rounded
from training.descent import Plan, descend
from training.export import QUANTISATION, state_tensors
from training.forms import Networks, compare
from training.models import AutoencoderShape, ForecasterShape
from training.plan import choose_windows
from training.prepare import prepare
from training.seeded import seeded
from training.staging import refuse_foreign_folder
from training.start import Quiet, errors_of, frames, quiet, refuse_too_little, start_of
from training.tasks import ForecastTask, ReconstructionTask
from training.verify import keras_forecast, keras_outputs, keras_reconstruction, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from agent.bundle import Start
    from agent.types import Float32Array
    from training.descent import Curves
    from training.export import Form
    from training.plan import FitPlan, Windows
    from training.prepare import Prepared
    from training.recording import Recording

__all__ = ["Fit", "Progress", "fit"]

_VERSION = "1.0.0"
_VERIFIED = 1024  # rows and windows in sequence
_TYPICAL_BATCHES = 4  # of what was learned, on which int8 rounding errors shall cancel
_SHIFT_ROWS = 4096  # over which scores of two forms are compared
_FORECASTER_RATE = 3e-3
_AUTOENCODER_RATE = 6e-3


class Progress(Protocol):
    """Where a fit says how far it is."""

    def stage(self, name: str, total: int) -> Callable[[int, str], None]:
        """Begin a stage of so many steps; gives what to call with the number done and a remark."""


@dataclass(frozen=True)
class Fit:
    """A finished fit, and what a report shows of it.

    Parameters
    ----------
    bundle
        As the agent loaded it.
    prepared, windows
        What it was learned from.
    curves
        How the trainings went, by network.
    errors
        float32[2, rows, n_channels], held-back.
    quiet
        What the bundle makes of the test part.
    shown, redrawn
        float32[n, points, n_channels], held-back windows and their reconstructions, scaled.
    """

    bundle: Bundle
    prepared: Prepared
    windows: Windows
    curves: dict[str, Curves]
    errors: Float32Array
    quiet: Quiet
    shown: Float32Array
    redrawn: Float32Array


def fit(
    recordings: Sequence[Recording],
    plan: FitPlan,
    output: Path,
    *,
    name: str,
    progress: Progress,
    other_python: Path | None = None,
    finish: Callable[[Fit, Path], None] | None = None,
) -> Fit:
    """Train a bundle and write it.

    A fit that is interrupted leaves its checkpoints in a hidden folder beside ``output``; the same call goes on from
    there and ends with the same bundle.

    Parameters
    ----------
    recordings
        Of the same channels and interval.
    plan
        What to do.
    output
        Folder to write; an existing bundle there is replaced when the new one is complete and verified.
    name
        Of the bundle, as alerts will carry it.
    progress
        Where progress is shown.
    other_python
        A Python with tflite-runtime, by which the bundle is verified too.
    finish
        Puts more into the folder before it takes its place, such as a report.

    Raises
    ------
    UserError
        The data is too little or unusable, or the folder cannot be written.
    EdgewatchError
        The training failed, or the exported networks are not what was trained.
    """
    refuse_foreign_folder(output)
    tf.config.experimental.enable_op_determinism()
    done = progress.stage("prepare", 1)
    prepared = prepare(recordings, method=plan.scaling, clock=plan.clock)
    windows = choose_windows(plan, prepared)
    data = _digest(recordings)
    done(1, "")

    with _workspace(output, data, plan) as work:
        networks, curves = _train(plan, prepared, windows, work, progress)
        done = progress.stage("export and compare number formats", 4)
        expected = (
            keras_forecast(networks.forecaster, networks.features, networks.forecaster_shape, networks.band),
            keras_reconstruction(networks.autoencoder, networks.windows),
        )
        forms, measured, files = compare(networks, *expected, _counting(done))
        if plan.form not in files:
            raise UserError(
                f"the networks cannot be had as {plan.form}: {forms['forecaster'][plan.form]['unavailable']}",
                place="--form",
                remedy="choose another number format; int8 is the usual one",
            )
        done = progress.stage("calibrate and verify", 4)
        manifest = _manifest(plan, prepared, windows, networks, files[plan.form], name)
        bare = Bundle(output, manifest, *files[plan.form])
        errors = errors_of(bare, prepared, learned=False)
        start = start_of(bare, prepared, errors, errors_of(bare, prepared, learned=True))
        done(1, "")
        forecast, reconstruction = agent_bundle.golden_answers(bare, manifest.golden)
        manifest = msgspec.structs.replace(
            manifest,
            start=start,
            golden=msgspec.structs.replace(
                manifest.golden, forecast=rounded(forecast), reconstruction=rounded(reconstruction)
            ),
            provenance=_provenance(plan, recordings, data, curves),
            measured=measured,
        )
        judged = quiet(_with(bare, manifest), prepared)
        done(2, "")
        verification = {
            **verify(
                _drafted(_with(bare, manifest), work),
                networks.forecaster,
                networks.autoencoder,
                networks.features,
                networks.windows,
                shape=networks.forecaster_shape,
                band=networks.band,
                other_python=other_python,
            ),
            "operators": "all known to tflite-runtime 2.14",
            "forms": forms,
            "score_shift": _score_shift(plan.form, files, manifest, networks, prepared, output),
        }
        done(3, "")
        manifest = msgspec.structs.replace(
            manifest,
            verification=verification,
            calibration={"test": judged.summary(), "errors": _in_words(start, prepared)},
        )
        finished = _with(bare, manifest)
        shown, redrawn = _examples(networks, expected[1])
        result = Fit(finished, prepared, windows, curves, errors, judged, shown, redrawn)

        written = bundling.write(finished, output, (lambda folder: finish(result, folder)) if finish else None)
        done(4, "")
    return Fit(written, prepared, windows, curves, errors, judged, shown, redrawn)


def _train(
    plan: FitPlan, prepared: Prepared, windows: Windows, work: Path, progress: Progress
) -> tuple[Networks, dict[str, Curves]]:
    joint = plan.layout == "joint"
    lanes = len(prepared.channels) if joint else 1
    common: dict[str, Any] = {"units": plan.units, "layers": plan.layers, "dropout": plan.dropout, "n_channels": lanes}
    forecaster_shape = ForecasterShape(n_features=lanes + len(prepared.clock), head=plan.head, **common)
    autoencoder_shape = AutoencoderShape(window=windows.points, latent=plan.latent, placed=True, **common)
    with seeded(plan.seed):
        forecaster, autoencoder = models.forecaster(forecaster_shape), models.autoencoder(autoencoder_shape)
    forecast = ForecastTask(
        forecaster,
        forecaster_shape,
        prepared,
        joint=joint,
        look_back=plan.look_back,
        horizon=plan.horizon,
    )
    redraw = ReconstructionTask(
        autoencoder,
        autoencoder_shape,
        prepared,
        joint=joint,
        block=windows.block,
        centred=windows.centred,
    )
    _refuse_too_little(forecast, redraw, plan, windows, prepared)
    curves = {}
    lessons: tuple[tuple[ForecastTask | ReconstructionTask, float], ...] = (
        (forecast, _FORECASTER_RATE),
        (redraw, _AUTOENCODER_RATE),
    )
    for seed, (task, rate) in enumerate(lessons):
        steps = min(plan.steps, max(8, task.available // 16))
        schedule = Plan(plan.epochs, steps, plan.patience, rate)
        network = task.model.name
        advance = progress.stage(f"train {network}", plan.epochs * steps)
        curves[network] = descend(
            task,
            schedule,
            seed=2 * plan.seed + seed,
            checkpoint=work / f"{network}.npz",
            report=_saying(advance),
        )
        advance(plan.epochs * steps, f"best epoch {curves[network].best + 1} of {len(curves[network].training)}")
    features, band = _sequence(forecast, prepared, plan, joint=joint)
    cut = _held_back_windows(redraw, prepared, windows)
    networks = Networks(
        forecast.model,
        redraw.model,
        forecaster_shape,
        autoencoder_shape,
        band=band,
        seed=plan.seed,
        features=features,
        windows=cut,
        typical=_typical(forecast, redraw, plan.seed),
    )
    return networks, curves


def _typical(forecast: ForecastTask, redraw: ReconstructionTask, seed: int) -> tuple[Float32Array, Float32Array]:
    """Sequences and windows that were learned from, drawn from the seed."""
    rng = np.random.default_rng([seed, 2])
    sequences = np.concatenate([forecast.batch(rng)[0] for _ in range(_TYPICAL_BATCHES)])
    return sequences, np.concatenate([redraw.batch(rng)[0] for _ in range(4 * _TYPICAL_BATCHES)])


def _refuse_too_little(
    forecast: ForecastTask, redraw: ReconstructionTask, plan: FitPlan, windows: Windows, prepared: Prepared
) -> None:
    rows = sum(part.recording.rows for part in prepared.parts)
    wanted = max(2 * plan.look_back + plan.horizon, windows.rows)
    if not forecast.available or not redraw.available:
        raise UserError(
            f"{rows} rows are too few: not one whole stretch of {wanted} good rows in the part that is learned from",
            place=prepared.place,
            remedy=f"at least {round(wanted / 0.16)} rows are needed, better ten times as many; record for longer, or "
            "choose a smaller --window and --look-back",
        )
    refuse_too_little(prepared, windows.rows, windows.stride)


def _saying(advance: Callable[[int, str], None]) -> Callable[[int, float, float], None]:
    """Put losses into words."""

    def report(done: int, loss: float, held_back: float) -> None:
        advance(done, f"loss {loss:.4f}" + ("" if np.isnan(held_back) else f", held back {held_back:.4f}"))

    return report


def _counting(done: Callable[[int, str], None]) -> Callable[[int], None]:
    """Turn increments into a count."""
    count = 0

    def advance(more: int) -> None:
        nonlocal count
        count += more
        done(count, "")

    return advance


def _sequence(
    task: ForecastTask, prepared: Prepared, plan: FitPlan, *, joint: bool
) -> tuple[Float32Array, Float32Array | None]:
    """Held-back rows in sequence as the forecaster sees them; the band of a point forecast, from its errors there."""
    part = max(prepared.parts, key=lambda p: p.split.test.start - p.split.validation.start)
    rows = np.arange(part.split.validation.start, part.split.test.start)[: max(_VERIFIED, 2 * plan.look_back)]
    level, clock = part.z[rows], part.clock(rows, prepared.clock)
    if joint:
        features = np.concatenate((level, clock), axis=1)[None]
    else:
        everywhere = np.broadcast_to(clock, (level.shape[1], *clock.shape))
        features = np.concatenate((level.T[:, :, None], everywhere), axis=2)
    features = np.ascontiguousarray(features, np.float32)
    if plan.head != "point":
        return features, None
    median = keras_outputs(task.model, features, task.shape)[:, : -plan.horizon]
    later = features[:, plan.horizon :, : median.shape[2]] - features[:, : -plan.horizon, : median.shape[2]]
    low, high = np.quantile(later - median, [models.QUANTILES[0], models.QUANTILES[2]], axis=(0, 1))
    return features, np.maximum(np.stack((-low, high)), 1e-6).astype(np.float32)


def _held_back_windows(task: ReconstructionTask, prepared: Prepared, windows: Windows) -> Float32Array:
    """Flat windows in sequence from what was not learned; from the training part too where that is too short."""
    part = max(prepared.parts, key=lambda p: p.split.test.start - p.split.validation.start)
    for first in (part.split.validation.start, part.split.train.start):
        ends = part.ends(slice(first, part.split.test.start), windows.rows)
        if len(ends):
            break
    chosen = ends[np.linspace(0, len(ends) - 1, _VERIFIED).round().astype(np.int64)]
    cut = task.windows(part, chosen)
    return cut.reshape(len(cut), -1)[:_VERIFIED]


def _manifest(
    plan: FitPlan, prepared: Prepared, windows: Windows, networks: Networks, files: tuple[bytes, bytes], name: str
) -> Manifest:
    """Everything but answers, calibration and verification."""
    step_file, window_file = files
    return Manifest(
        format=agent_bundle.FORMAT,
        name=name,
        version=_VERSION,
        created=bundling.created(),
        channels=[channel.name for channel in prepared.channels],
        interval_s=prepared.interval_s,
        layout=plan.layout,
        features=[LEVEL, *prepared.clock],
        scaling=prepared.scaling,
        quantisation=QUANTISATION[plan.form],
        forecaster=ForecasterSpec(
            **bundling.file_entry("forecaster.tflite", step_file),
            units=plan.layers * plan.units,
            quantiles=models.QUANTILES,
            horizon=plan.horizon,
        ),
        autoencoder=AutoencoderSpec(
            **bundling.file_entry("autoencoder.tflite", window_file),
            window=windows.points,
            stride=windows.stride,
            judged=max(1, windows.points // 2),
            state_tensors=state_tensors(window_file, plan.layers),
            block=windows.block,
            centred=windows.centred,
        ),
        golden=Golden(
            features=rounded(networks.features[:1, :24].transpose(1, 0, 2).tolist()),
            forecast=[],
            windows=rounded(networks.windows[:3].tolist()),
            reconstruction=[],
        ),
        calibration={},
        verification={},
        provenance={},
    )


def _with(bundle: Bundle, manifest: Manifest) -> Bundle:
    return Bundle(bundle.directory, manifest, bundle.forecaster_file, bundle.autoencoder_file)


def _score_shift(
    form: Form,
    files: dict[Form, tuple[bytes, bytes]],
    manifest: Manifest,
    networks: Networks,
    prepared: Prepared,
    place: Path,
) -> dict[str, Any]:
    """How far the chosen form's scores are from float32's, over held-back rows."""
    scores = []
    part = max(prepared.parts, key=lambda p: p.recording.rows - p.split.calibration.start)
    first = part.split.calibration.start
    rows = range(first, min(part.recording.rows, first + _SHIFT_ROWS))
    compared: tuple[Form, Form] = (form, "float32")
    for chosen in compared:
        step_file, window_file = files[chosen]
        spec = msgspec.structs.replace(
            manifest.autoencoder, state_tensors=state_tensors(window_file, networks.autoencoder_shape.layers)
        )
        exact = Bundle(place, msgspec.structs.replace(manifest, autoencoder=spec), step_file, window_file)
        monitor = Monitor(prepared.channels, exact, DetectionConfig(), AlertsConfig(), prepared.interval_s)
        scores.append([float(monitor.step(frame).score().max()) for frame in frames(part.recording, rows)])
    shift = np.abs(np.array(scores[0]) - np.array(scores[1]))
    return {"rows": len(rows), "mean": round(float(shift.mean()), 6), "max": round(float(shift.max()), 6)}


def _drafted(bundle: Bundle, work: Path) -> Bundle:
    """Write a bundle that is not yet verified where another process can read it."""
    return bundling.write(bundle, work / "draft")


def _examples(networks: Networks, redrawn: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Some held-back windows and their reconstructions, float32[n, points, lanes] each."""
    shape = (-1, networks.autoencoder_shape.window, networks.autoencoder_shape.n_channels)
    chosen = np.linspace(0, len(redrawn) - 1, 6).round().astype(np.int64)
    return networks.windows[chosen].reshape(shape), redrawn[chosen].reshape(shape)


def _in_words(start: Start, prepared: Prepared) -> dict[str, Any]:
    """Median, 99 % quantile and maximum of the held-back absolute errors, by channel."""
    levels = np.array(start.levels)
    table = {}
    for k, channel in enumerate(prepared.channels):
        forecast = np.sort(np.abs(start.forecast_error[k]))
        redrawn = np.array(start.reconstruction_error[k])
        table[channel.name] = {
            "forecast_largest": float(f"{forecast[-1]:.6g}"),
            "reconstruction_median": float(f"{np.interp(0.5, levels, redrawn):.6g}"),
            "reconstruction_largest": float(f"{redrawn[-1]:.6g}"),
        }
    return table


def _provenance(plan: FitPlan, recordings: Sequence[Recording], data: str, curves: dict[str, Curves]) -> dict[str, Any]:
    return {
        "data": [recording.name for recording in recordings][:20],
        "recordings": len(recordings),
        "rows": sum(recording.rows for recording in recordings),
        "data_sha256": data,
        "plan": msgspec.to_builtins(plan),
        "epochs": {network: len(curve.training) for network, curve in curves.items()},
        "best_validation_loss": {network: round(curve.validation[curve.best], 6) for network, curve in curves.items()},
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "ai-edge-litert": version("ai-edge-litert"),
    }


def _digest(recordings: Sequence[Recording]) -> str:
    """SHA-256 of names, times, readings and labels."""
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update("\0".join(channel.name for channel in recording.channels).encode())
        digest.update(np.ascontiguousarray(recording.time, "<f8").data)
        digest.update(np.ascontiguousarray(recording.values, "<f4").data)
        if recording.labels is not None:
            digest.update(np.ascontiguousarray(recording.labels).data)
    return digest.hexdigest()


@contextlib.contextmanager
def _workspace(output: Path, data: str, plan: FitPlan) -> Iterator[Path]:
    """Give a hidden folder for checkpoints: that of an interrupted fit of the same data and plan, if there is one.

    It is removed when the fit ends, well or not; only an interruption leaves it.
    """
    work = output.parent / f".{output.name}.fit"
    key = hashlib.sha256(data.encode() + msgspec.json.encode(plan, order="sorted")).hexdigest()
    try:
        if not (work / key).exists():
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            (work / key).touch()
    except OSError as error:
        raise UserError(
            f"cannot write here: {error.strerror or error}",
            place=str(output.parent),
            remedy="name a folder that you may write to",
        ) from error
    try:
        yield work
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on from the last whole epoch") from None
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
