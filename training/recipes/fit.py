"""Recipe of a fitted bundle from recordings: prepare, train, export, verify, calibrate, write."""

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

# Chosen by hand.
_VERIFIED = 1024  # rows and windows compared with Keras
_TYPICAL_BATCHES = 4  # batches of sequences on which int8 rounding errors cancel; four times as many of windows
_SHIFT_ROWS = 4096  # rows over which the scores of two number formats are compared
_WORTH_COMPILING = 400  # steps; a shorter training ends before compilation does
_FORECASTER_RATE = 3e-3  # highest learning rates
_AUTOENCODER_RATE = 6e-3


class Progress(Protocol):
    """Receiver of the progress of a fit."""

    def stage(self, name: str, total: int) -> Callable[[int, str], None]:
        """Begin a stage of ``total`` steps; returns a function to call with the number of steps done and a remark."""


@dataclass(frozen=True)
class Fit:
    """A finished fit with the data of its report.

    Parameters
    ----------
    bundle
        Bundle as loaded by the agent.
    prepared, windows
        Prepared recordings, and windows of the autoencoder.
    curves
        Learning curves by network.
    errors
        float32[2, rows, n_channels], errors of forecast and reconstruction on the calibration parts.
    quiet
        Result on the test parts.
    shown, redrawn
        float32[n, points, lanes], scaled windows not used for training, and their reconstructions.
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

    An interrupted fit keeps its checkpoints in a hidden folder beside ``output``. The same call then continues from
    there and gives the same bundle.

    Parameters
    ----------
    recordings
        Recordings with the same channels and interval.
    plan
        Options.
    output
        Target folder; an existing bundle is replaced only after the new one is complete and verified.
    name
        Name of the bundle, as stated in alerts.
    progress
        Receiver of the progress.
    other_python
        Python with tflite-runtime, to verify the bundle there too; None: no second runtime.
    finish
        Called with the result and the temporary folder before it replaces ``output``, to add files such as a report.

    Raises
    ------
    UserError
        The data is too short or unusable, or the folder cannot be written.
    EdgewatchError
        The training diverged, or the exported networks deviate too much from the trained ones.
    EnvironmentFault
        The disk is full, or the second runtime cannot run the bundle.
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
                f"the networks cannot be exported as {plan.form}: {forms['forecaster'][plan.form]['unavailable']}",
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
    """Random sequences and windows of the training parts, see `ExportedNetworks.typical`."""
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
            f"{rows} rows are too few: the training part has no {wanted} consecutive usable rows",
            location=prepared.place,
            remedy=f"record at least {round(wanted / 0.16)} rows, better ten times as many, or choose a smaller "
            "--window and --look-back",
        )
    refuse_too_little(prepared, windows.rows, windows.stride)


def _saying(advance: Callable[[int, str], None]) -> Callable[[int, float, float], None]:
    """Report losses as the remark of a stage."""

    def report(done: int, loss: float, validation: float) -> None:
        advance(done, f"loss {loss:.4f}" + ("" if np.isnan(validation) else f", validation {validation:.4f}"))

    return report


def _counting(done: Callable[[int, str], None]) -> Callable[[int], None]:
    """Convert increments to a total."""
    count = 0

    def advance(more: int) -> None:
        nonlocal count
        count += more
        done(count, "")

    return advance


def _sequence(
    task: ForecastTask, prepared: Prepared, plan: FitOptions, *, joint: bool
) -> tuple[Float32Array, Float32Array | None]:
    """Inputs of the forecaster from rows not used for training; for a ``point`` head, the band of its errors."""
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
    """Flattened windows from rows not used for training; if these are too few, from the training part too."""
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
    location: Path,
) -> dict[str, Any]:
    """Deviation of the scores from those of the float32 networks, over rows after the training parts."""
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
        exact = Bundle(location, msgspec.structs.replace(manifest, autoencoder=spec), step_file, window_file)
        monitor = Ensemble(prepared.channels, exact, DetectionConfig(), AlertsConfig(), prepared.interval_s)
        scores.append([float(monitor.step(frame).score().max()) for frame in frames(part.recording, rows)])
    shift = np.abs(np.array(scores[0]) - np.array(scores[1]))
    return {"rows": len(rows), "mean": round(float(shift.mean()), 6), "max": round(float(shift.max()), 6)}


def _drafted(bundle: Bundle, work: Path) -> Bundle:
    """Write an unverified bundle to the temporary folder, for the second runtime."""
    return writer.write(bundle, work / "draft")


def _examples(networks: ExportedNetworks, redrawn: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Six windows not used for training and their reconstructions, float32[6, points, lanes] each."""
    shape = (-1, networks.autoencoder_shape.window, networks.autoencoder_shape.n_channels)
    chosen = np.linspace(0, len(redrawn) - 1, 6).round().astype(np.int64)
    return networks.windows[chosen].reshape(shape), redrawn[chosen].reshape(shape)
