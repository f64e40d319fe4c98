"""Makes a bundle of one's own recordings: prepare, train, export, verify, calibrate, write."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import keras
import msgspec
import numpy as np
import tensorflow as tf

from agent.alerting.settings import AlertsConfig
from agent.core.errors import UserError
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from agent.models.bundle import Bundle
from training.bundle import writer
from training.bundle.error_quantiles import errors_of, frames, quiet, refuse_too_little, start_of
from training.export.keras_comparison import keras_forecast, keras_outputs, keras_reconstruction, verify
from training.export.number_formats import ExportedNetworks, compare
from training.export.tflite import state_tensors
from training.files.atomic_folder import refuse_foreign_folder
from training.networks import architectures
from training.networks.architectures import AutoencoderShape, ForecasterShape
from training.networks.batches import ForecastTask, ReconstructionTask
from training.networks.dataset import prepare
from training.networks.seeding import Seeds
from training.networks.trainer import TrainingPlan, train
from training.recipes.fit_manifest import data_digest, fit_manifest, in_words, provenance
from training.recipes.fit_options import choose_windows
from training.recipes.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from agent.core.arrays import Float32Array
    from agent.models.manifest import Manifest
    from training.bundle.error_quantiles import Quiet
    from training.data.recording import Recording
    from training.export.tflite import Form
    from training.networks.dataset import Prepared
    from training.networks.trainer import Curves
    from training.recipes.fit_options import FitOptions, Windows


__all__ = ["Fit", "Progress", "fit"]

_VERIFIED = 1024  # rows and windows in sequence
_TYPICAL_BATCHES = 4  # of what was learned, on which int8 rounding errors shall cancel
_SHIFT_ROWS = 4096  # over which scores of two forms are compared
_WORTH_COMPILING = 400  # steps; a shorter training is over before the first compiled step
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
    plan: FitOptions,
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
    data = data_digest(recordings)
    done(1, "")

    with workspace(output, data, plan) as work:
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
                location="--form",
                remedy="choose another number format; int8 is the usual one",
            )
        done = progress.stage("calibrate and verify", 4)
        manifest = fit_manifest(plan, prepared, windows, networks, files[plan.form], name)
        bare = Bundle(output, manifest, *files[plan.form])
        errors = errors_of(bare, prepared, learned=False)
        start = start_of(bare, prepared, errors, errors_of(bare, prepared, learned=True))
        done(1, "")
        manifest = msgspec.structs.replace(
            manifest,
            start=start,
            golden=writer.recorded(bare),
            provenance=provenance(plan, recordings, data, curves),
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
            calibration={"test": judged.summary(), "errors": in_words(start, prepared)},
        )
        finished = _with(bare, manifest)
        shown, redrawn = _examples(networks, expected[1])
        result = Fit(finished, prepared, windows, curves, errors, judged, shown, redrawn)

        written = writer.write(finished, output, (lambda folder: finish(result, folder)) if finish else None)
        done(4, "")
    return Fit(written, prepared, windows, curves, errors, judged, shown, redrawn)


def _train(
    plan: FitOptions, prepared: Prepared, windows: Windows, work: Path, progress: Progress
) -> tuple[ExportedNetworks, dict[str, Curves]]:
    joint = plan.layout == "joint"
    lanes = len(prepared.channels) if joint else 1
    common: dict[str, Any] = {"units": plan.units, "layers": plan.layers, "dropout": plan.dropout, "n_channels": lanes}
    forecaster_shape = ForecasterShape(n_features=lanes + len(prepared.clock), head=plan.head, **common)
    autoencoder_shape = AutoencoderShape(window=windows.points, latent=plan.latent, placed=True, **common)
    keras.utils.set_random_seed(plan.seed)
    seeds = Seeds(plan.seed)
    forecaster = architectures.forecaster(forecaster_shape, seeds)
    autoencoder = architectures.autoencoder(autoencoder_shape, seeds)
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
        compiled = plan.epochs * steps >= _WORTH_COMPILING
        schedule = TrainingPlan(plan.epochs, steps, plan.patience, rate, compiled)
        network = task.model.name
        advance = progress.stage(f"train {network}", plan.epochs * steps)
        curves[network] = train(
            task,
            schedule,
            seed=2 * plan.seed + seed,
            checkpoint=work / f"{network}.npz",
            report=_saying(advance),
        )
        advance(plan.epochs * steps, f"best epoch {curves[network].best + 1} of {len(curves[network].training)}")
    features, band = _sequence(forecast, prepared, plan, joint=joint)
    cut = _held_back_windows(redraw, prepared, windows)
    networks = ExportedNetworks(
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
    sequences = [batch[0] for batch in islice(forecast.batches(rng), _TYPICAL_BATCHES)]
    return np.concatenate(sequences), np.concatenate(
        [batch[0] for batch in islice(redraw.batches(rng), 4 * _TYPICAL_BATCHES)]
    )


def _refuse_too_little(
    forecast: ForecastTask, redraw: ReconstructionTask, plan: FitOptions, windows: Windows, prepared: Prepared
) -> None:
    rows = sum(part.recording.rows for part in prepared.parts)
    wanted = max(2 * plan.look_back + plan.horizon, windows.rows)
    if not forecast.available or not redraw.available:
        raise UserError(
            f"{rows} rows are too few: not one whole stretch of {wanted} good rows in the part that is learned from",
            location=prepared.place,
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
    task: ForecastTask, prepared: Prepared, plan: FitOptions, *, joint: bool
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
    low, high = np.quantile(later - median, [architectures.QUANTILES[0], architectures.QUANTILES[2]], axis=(0, 1))
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


def _with(bundle: Bundle, manifest: Manifest) -> Bundle:
    return Bundle(bundle.directory, manifest, bundle.forecaster_file, bundle.autoencoder_file)


def _score_shift(
    form: Form,
    files: dict[Form, tuple[bytes, bytes]],
    manifest: Manifest,
    networks: ExportedNetworks,
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
        monitor = Ensemble(prepared.channels, exact, DetectionConfig(), AlertsConfig(), prepared.interval_s)
        scores.append([float(monitor.step(frame).score().max()) for frame in frames(part.recording, rows)])
    shift = np.abs(np.array(scores[0]) - np.array(scores[1]))
    return {"rows": len(rows), "mean": round(float(shift.mean()), 6), "max": round(float(shift.max()), 6)}


def _drafted(bundle: Bundle, work: Path) -> Bundle:
    """Write a bundle that is not yet verified where another process can read it."""
    return writer.write(bundle, work / "draft")


def _examples(networks: ExportedNetworks, redrawn: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Some held-back windows and their reconstructions, float32[n, points, lanes] each."""
    shape = (-1, networks.autoencoder_shape.window, networks.autoencoder_shape.n_channels)
    chosen = np.linspace(0, len(redrawn) - 1, 6).round().astype(np.int64)
    return networks.windows[chosen].reshape(shape), redrawn[chosen].reshape(shape)
