"""Manifest and provenance of a fitted bundle."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import keras
import msgspec
import numpy as np
import tensorflow as tf

from agent.models.features import LEVEL
from agent.models.manifest import FORMAT, AutoencoderSpec, ForecasterSpec, Golden, Manifest
from training.bundle import writer
from training.bundle.writer import rounded
from training.export.tflite import QUANTISATION, state_tensors
from training.networks import architectures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from agent.models.manifest import Start
    from training.data.recording import Recording
    from training.export.number_formats import ExportedNetworks
    from training.networks.dataset import Prepared
    from training.networks.trainer import Curves
    from training.recipes.fit_options import FitOptions, Windows


__all__ = ["data_digest", "fit_manifest", "in_words", "provenance"]

_VERSION = "1.0.0"


def fit_manifest(
    plan: FitOptions,
    prepared: Prepared,
    windows: Windows,
    networks: ExportedNetworks,
    files: tuple[bytes, bytes],
    name: str,
) -> Manifest:
    """Manifest without golden outputs, calibration, verification and provenance."""
    step_file, window_file = files
    return Manifest(
        format=FORMAT,
        name=name,
        version=_VERSION,
        created=writer.created(),
        channels=[channel.name for channel in prepared.channels],
        interval_s=prepared.interval_s,
        layout=plan.layout,
        features=[LEVEL, *prepared.clock],
        scaling=prepared.scaling,
        quantisation=QUANTISATION[plan.form],
        forecaster=ForecasterSpec(
            **writer.file_entry("forecaster.tflite", step_file),
            units=plan.layers * plan.units,
            quantiles=architectures.QUANTILES,
            horizon=plan.horizon,
        ),
        autoencoder=AutoencoderSpec(
            **writer.file_entry("autoencoder.tflite", window_file),
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


def in_words(start: Start, prepared: Prepared) -> dict[str, Any]:
    """Largest forecast error, and median and largest reconstruction error, by channel."""
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


def provenance(
    plan: FitOptions, recordings: Sequence[Recording], data: str, curves: dict[str, Curves]
) -> dict[str, Any]:
    """Provenance for the manifest: options, data with its hash, learning curves in brief, and library versions."""
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


def data_digest(recordings: Sequence[Recording]) -> str:
    """SHA-256 of channel names, times, readings and labels."""
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update("\0".join(channel.name for channel in recording.channels).encode())
        digest.update(np.ascontiguousarray(recording.time, "<f8").data)
        digest.update(np.ascontiguousarray(recording.values, "<f4").data)
        if recording.labels is not None:
            digest.update(np.ascontiguousarray(recording.labels).data)
    return digest.hexdigest()
