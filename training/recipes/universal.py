"""Recipe of the universal bundle: simulate, train, export, verify, calibrate, write."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import msgspec
import numpy as np
import tensorflow as tf

from agent.models.bundle import Bundle
from agent.models.features import FEATURES, NORMALISATION_ROWS, SEASON_FEATURES
from agent.models.manifest import FORMAT, AutoencoderSpec, ForecasterSpec, Golden, Manifest, RunningScaling
from training.bundle import writer
from training.bundle.universal_errors import calibrate
from training.bundle.universal_quality import measure
from training.bundle.writer import rounded
from training.export.keras_comparison import verify
from training.export.tflite import QUANTISATION, export_autoencoder, export_forecaster, state_tensors
from training.files.atomic_folder import refuse_foreign_folder
from training.networks import architectures
from training.networks.seeding import Seeds
from training.networks.trainer import TrainingPlan, train
from training.networks.universal_batches import UniversalForecastTask, UniversalReconstructionTask
from training.networks.universal_dataset import WARM_UP, Trace, draw_floors, trace, windows
from training.synthetic.series import days, digest, simulate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.arrays import Float64Array, IntArray
    from training.export.tflite import Form
    from training.networks.trainer import Task

    #: Called with the number of steps done since the last call.
    Advance: TypeAlias = Callable[[int], None]
    #: Called with the name and number of steps of a stage; returns an `Advance`.
    Stage: TypeAlias = Callable[[str, int], Advance]

__all__ = ["FULL", "QUICK", "TrainingBudget", "build"]

_NAME = "default"
_VERSION = "1.0.0"
# Chosen by hand.
_STRIDE = 4  # rows from one window of the autoencoder to the next
_FORECASTER_RATE = 3e-3  # highest learning rates
_AUTOENCODER_RATE = 6e-3
_VERIFIED_ROWS = 1024  # rows of each series compared with Keras
_VERIFIED_SERIES = 32
_TYPICAL_SERIES = 64  # training series and windows on which int8 rounding errors cancel
_TYPICAL_WINDOWS = 4096


@dataclass(frozen=True)
class TrainingBudget:
    """Amount of training.

    Parameters
    ----------
    n_series, rows
        Number of training series, and rows of each; at least 384, which the quality measurement needs.
    forecaster_steps, autoencoder_steps
        Optimiser steps.
    held_back
        Number of series for calibration, not used for training.
    """

    n_series: int
    rows: int
    forecaster_steps: int
    autoencoder_steps: int
    held_back: int


#: Budget of the shipped bundle, chosen by hand.
FULL = TrainingBudget(n_series=4096, rows=2048, forecaster_steps=4000, autoencoder_steps=6000, held_back=512)
#: Budget of a trial run in well under a minute; the networks are poor.
QUICK = TrainingBudget(n_series=128, rows=512, forecaster_steps=40, autoencoder_steps=60, held_back=32)


@dataclass(frozen=True)
class _Material:
    """Series, float64[n_series, length], their trace, and rows per day, int64[n_series]."""

    series: Float64Array
    traced: Trace
    day: IntArray


def build(output: Path, *, seed: int, budget: TrainingBudget, stage: Stage, reference: Path | None = None) -> Bundle:
    """Train the universal bundle and write it.

    Parameters
    ----------
    output
        Target folder; an existing bundle is replaced only after the new one is complete and verified.
    seed
        The same seed gives the same bundle on the same kind of processor with the same library versions.
    budget
        Amount of training.
    stage
        Receiver of the progress.
    reference
        Folder for the same networks as float32, for comparison; None: not written.

    Returns
    -------
    The bundle as loaded by the agent from ``output``.

    Raises
    ------
    UserError
        The folder cannot be written or has other content.
    EdgewatchError
        The training diverged, or the exported networks deviate too much from the trained ones.
    """
    for folder in filter(None, (output, reference)):
        refuse_foreign_folder(folder)
    tf.config.experimental.enable_op_determinism()

    # Different seeds: training, verification and calibration use different series.
    learned = _material(4 * seed, budget.n_series, budget.rows, stage("simulate", 1))
    held_back = _material(4 * seed + 1, _VERIFIED_SERIES, _VERIFIED_ROWS, stage("simulate held-back series", 1))
    normal = _material(4 * seed + 2, budget.held_back, budget.rows, stage("simulate normal series", 1), disturbed=False)
    provenance = _provenance(seed, budget, learned.series)

    keras.utils.set_random_seed(seed)
    seeds = Seeds(seed)
    forecaster, autoencoder = architectures.forecaster(seeds=seeds), architectures.autoencoder(seeds=seeds)
    lessons: tuple[tuple[str, Task, int, float], ...] = (
        ("forecaster", UniversalForecastTask(forecaster, learned.traced), budget.forecaster_steps, _FORECASTER_RATE),
        (
            "autoencoder",
            UniversalReconstructionTask(autoencoder, learned.series, learned.traced),
            budget.autoencoder_steps,
            _AUTOENCODER_RATE,
        ),
    )
    for network, task, steps, rate in lessons:
        # A single epoch without early stopping, because each series is seen only about once. Not compiled, because
        # other rounding would give other networks than in the shipped bundle.
        plan, advance = TrainingPlan(1, steps, 0, rate), stage(f"train {network}", steps)
        train(task, plan, seed=seed, report=lambda *_, advance=advance: advance(1))

    typical = _some_windows(learned, _TYPICAL_WINDOWS, seed)[:, :, None]
    wanted: list[tuple[Path, Form]] = [(output, "int8")]
    if reference is not None:
        wanted.append((reference, "float32"))
    checking = stage("export, verify, calibrate", 2 * len(wanted))
    written = []
    for folder, form in wanted:
        step_file = export_forecaster(forecaster, form=form, typical=learned.traced.features[:_TYPICAL_SERIES])
        window_file = export_autoencoder(
            autoencoder, seed, architectures.UNIVERSAL_AUTOENCODER, form=form, typical=typical
        )
        manifest = _manifest(step_file, window_file, _golden_inputs(held_back), provenance, form)
        exported = Bundle(folder, manifest, step_file, window_file)
        verification = verify(
            exported, forecaster, autoencoder, held_back.traced.features, _some_windows(held_back, 2048, seed)
        )
        checking(1)
        manifest = msgspec.structs.replace(
            manifest,
            golden=writer.recorded(exported),
            calibration=calibrate(exported, normal.series, normal.traced, seed),
            verification={**verification, "quality": measure(exported, normal.series, normal.traced, normal.day, seed)},
        )
        written.append(writer.write(Bundle(folder, manifest, step_file, window_file), folder))
        checking(1)
    return written[0]


def _material(seed: int, n_series: int, rows: int, advance: Advance, *, disturbed: bool = True) -> _Material:
    series, day = simulate(seed, n_series, rows + WARM_UP + 1, disturbed=disturbed), days(seed, n_series)
    floors = draw_floors(seed, series) if disturbed else np.zeros(n_series)
    material = _Material(series, trace(series, floors, day), day)
    advance(1)
    return material


def _some_windows(material: _Material, n_windows: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    n_series, rows = material.traced.target.shape
    which, ends = rng.integers(n_series, size=n_windows), rng.integers(rows, size=n_windows)
    return windows(material.series, material.traced, which, ends, architectures.WINDOW)


def _golden_inputs(material: _Material) -> Golden:
    """Golden inputs: 24 rows of two series, and three windows; the outputs are recorded later."""
    features = material.traced.features[:2, :24].transpose(1, 0, 2)
    return Golden(
        features=rounded(features.tolist()),
        forecast=[],
        windows=rounded(_some_windows(material, 3, 0).tolist()),
        reconstruction=[],
    )


def _manifest(step_file: bytes, window_file: bytes, golden: Golden, provenance: dict[str, Any], form: Form) -> Manifest:
    return Manifest(
        format=FORMAT,
        name=_NAME,
        version=_VERSION,
        created=writer.created(),
        channels="any",
        interval_s="any",
        layout="shared",
        features=[*FEATURES, *SEASON_FEATURES],
        scaling=RunningScaling(NORMALISATION_ROWS),
        quantisation=QUANTISATION[form],
        forecaster=ForecasterSpec(
            **writer.file_entry("forecaster.tflite", step_file),
            units=architectures.UNITS,
            quantiles=architectures.QUANTILES,
        ),
        autoencoder=AutoencoderSpec(
            **writer.file_entry("autoencoder.tflite", window_file),
            window=architectures.WINDOW,
            stride=_STRIDE,
            judged=_STRIDE,
            state_tensors=state_tensors(window_file),
        ),
        golden=golden,
        calibration={},
        verification={},
        provenance=provenance,
    )


def _provenance(seed: int, budget: TrainingBudget, series: Float64Array) -> dict[str, Any]:
    return {
        "data": "simulated",
        "seed": seed,
        "budget": msgspec.to_builtins(budget),
        "data_sha256": digest(series),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "ai-edge-litert": version("ai-edge-litert"),
    }
