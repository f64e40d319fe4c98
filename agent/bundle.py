"""A model bundle: a folder with a manifest and two networks, verified before the first inference.

A TFLite file with a flipped byte usually still loads and runs, so everything is checked: hashes, sizes, tensor names,
shapes and types, and the networks' answers on recorded golden inputs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from agent.errors import UserError
from agent.features import FEATURES, NORMALISATION_ROWS
from agent.inference import StepNetwork, WindowNetwork

__all__ = [
    "FORMAT",
    "AutoencoderSpec",
    "Bundle",
    "FileEntry",
    "ForecasterSpec",
    "Golden",
    "Manifest",
    "builtin_directory",
    "golden_answers",
    "load",
    "load_builtin",
]

FORMAT = 1
_MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_MODEL_BYTES = 64 << 20
_QUANTILES = (0.05, 0.5, 0.95)
# Both runtimes and all processors round differently; a wrong weight is off by far more.
GOLDEN_TOLERANCE = 0.02


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle and what it must be."""

    file: str
    sha256: str
    size: int


class ForecasterSpec(FileEntry, frozen=True, forbid_unknown_fields=True):
    """The step network.

    Inputs ``features`` float32[batch, n_features], ``state_h`` and ``state_c`` float32[batch, units]; outputs
    ``forecast`` float32[batch, 3], ``next_h``, ``next_c``. The forecast, on the squashed normalised scale: the median
    less the present ``level``, and the distances (≥ 0) from the median down to the 5 % and up to the 95 % quantile.
    """

    units: int
    quantiles: tuple[float, ...] = _QUANTILES


class AutoencoderSpec(FileEntry, frozen=True, forbid_unknown_fields=True):
    """The window network.

    Input ``window`` float32[batch, window, 1], squashed values normalised by the window's closing statistics; output
    ``reconstruction`` of the same shape. Each channel's window is reconstructed every ``stride`` rows and judged on
    its newest ``stride`` points.
    """

    window: int
    stride: int
    state_tensors: tuple[int, ...]


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Recorded inputs and answers: the forecaster from zero state over successive rows, the autoencoder on windows."""

    features: list[list[list[float]]]
    forecast: list[list[list[float]]]
    windows: list[list[float]]
    reconstruction: list[list[float]]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``manifest.json``.

    Parameters
    ----------
    channels, interval_s
        What the models were trained for; ``any`` for a universal bundle.
    calibration
        Quantiles of the errors on held-back normal series, relative to the running deviation.
    verification
        How far the quantised networks are from Keras.
    provenance
        Seed, library versions and a hash of the training data.
    """

    format: int
    name: str
    version: str
    created: str
    channels: Literal["any"] | list[str]
    interval_s: Literal["any"] | float
    features: list[str]
    normalisation_rows: int
    quantisation: str
    forecaster: ForecasterSpec
    autoencoder: AutoencoderSpec
    golden: Golden
    calibration: dict[str, Any]
    verification: dict[str, Any]
    provenance: dict[str, Any]


class Bundle:
    """A verified bundle, ready to make networks of any batch size.

    Parameters
    ----------
    directory
        Where it came from, for messages.
    manifest
        What it says of itself.
    forecaster, autoencoder
        Contents of the two files.
    """

    def __init__(self, directory: Path, manifest: Manifest, forecaster: bytes, autoencoder: bytes) -> None:
        self.directory = directory
        self.manifest = manifest
        self._forecaster = forecaster
        self._autoencoder = autoencoder

    @property
    def label(self) -> str:
        """Name and version, as alerts carry them: ``default@1.0.0``."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def forecaster(self, batch: int) -> StepNetwork:
        """Make the step network for a batch of channels."""
        spec = self.manifest.forecaster
        place = str(self.directory / spec.file)
        return StepNetwork(self._forecaster, batch, len(FEATURES), spec.units, len(spec.quantiles), place)

    def autoencoder(self, batch: int) -> WindowNetwork:
        """Make the window network for a batch of windows."""
        spec = self.manifest.autoencoder
        place = str(self.directory / spec.file)
        return WindowNetwork(self._autoencoder, batch, spec.window, spec.state_tensors, place)


def builtin_directory() -> Path:
    """Where the bundle that ships lies."""
    return Path(__file__).parent / "models" / "default"


def load_builtin() -> Bundle:
    """Load the bundle that ships."""
    return load(builtin_directory())


def load(directory: Path) -> Bundle:
    """Read a bundle and verify it.

    Raises
    ------
    UserError
        Anything is missing, altered, of another format or answers wrongly; says which file and what to do.
    EnvironmentFault
        No TFLite runtime is installed.
    """
    path = directory / _MANIFEST
    manifest = _read_manifest(path)
    forecaster = _read(directory, manifest.forecaster)
    autoencoder = _read(directory, manifest.autoencoder)
    bundle = Bundle(directory, manifest, forecaster, autoencoder)
    _check_golden(bundle)
    return bundle


def golden_answers(bundle: Bundle, golden: Golden) -> tuple[list[list[list[float]]], list[list[float]]]:
    """Run the recorded inputs: forecasts of every row in turn, reconstructions of every window.

    The windows run through one network one after the other, so that a state left over from the one before shows.
    """
    features = np.array(golden.features, np.float32)
    network = bundle.forecaster(features.shape[1])
    forecasts = []
    for row in features:
        forecast, network.h, network.c = network.step(row)
        forecasts.append(forecast.tolist())
    autoencoder = bundle.autoencoder(1)
    windows = np.array(golden.windows, np.float32)
    reconstructions = [autoencoder.reconstruct(window[None, :])[0].tolist() for window in windows]
    return forecasts, reconstructions


def _read_manifest(path: Path) -> Manifest:
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise UserError("the manifest is larger than 1 MiB", place=str(path), remedy="this is no bundle of ours")
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the bundle's manifest: {error.strerror or error}",
            place=str(path),
            remedy="name a folder that holds manifest.json, or `builtin`",
        ) from error
    try:
        version = msgspec.json.decode(raw, type=dict[str, Any]).get("format")
        if version != FORMAT:
            raise UserError(
                f"bundle format {version!r}, this agent reads {FORMAT}",
                place=str(path),
                remedy="export the bundle with a matching version of edgewatch",
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise UserError(
            f"the manifest is damaged: {error}", place=str(path), remedy="copy or export the bundle again"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            "the manifest is damaged: it is no UTF-8 text", place=str(path), remedy="copy or export the bundle again"
        ) from error
    _check_meaning(manifest, path)
    return manifest


def _check_meaning(manifest: Manifest, path: Path) -> None:
    """Refuse a bundle whose numbers this agent would misread."""
    golden = manifest.golden
    expectations: tuple[tuple[str, bool], ...] = (
        ("features", manifest.features == list(FEATURES)),
        ("normalisation_rows", manifest.normalisation_rows == NORMALISATION_ROWS),
        ("forecaster.quantiles", manifest.forecaster.quantiles == _QUANTILES),
        ("forecaster.units", 1 <= manifest.forecaster.units <= 1024),
        ("autoencoder.window", 2 <= manifest.autoencoder.window <= 4096),
        ("autoencoder.stride", 1 <= manifest.autoencoder.stride <= manifest.autoencoder.window),
        ("golden.features", _is_block(golden.features, len(FEATURES))),
        ("golden.forecast", _is_block(golden.forecast, len(_QUANTILES)) and _same_rows(golden)),
        ("golden.windows", bool(golden.windows) and {len(w) for w in golden.windows} == {manifest.autoencoder.window}),
        ("golden.reconstruction", [len(w) for w in golden.reconstruction] == [len(w) for w in golden.windows]),
    )
    for name, holds in expectations:
        if not holds:
            raise UserError(
                "not what this agent works with",
                place=f"{path}: $.{name}",
                remedy="export the bundle with a matching version of edgewatch",
            )


def _is_block(block: list[list[list[float]]], width: int) -> bool:
    """Whether nested lists form a non-empty array [rows, batch, width]."""
    batches = {len(row) for row in block}
    return len(batches) == 1 and batches != {0} and {len(cell) for row in block for cell in row} == {width}


def _same_rows(golden: Golden) -> bool:
    return [len(row) for row in golden.features] == [len(row) for row in golden.forecast]


def _read(directory: Path, entry: FileEntry) -> bytes:
    path = directory / entry.file
    if Path(entry.file).name != entry.file or entry.size > _MAX_MODEL_BYTES:
        raise UserError(
            f"refused file entry {entry.file!r} of {entry.size} bytes",
            place=str(directory / _MANIFEST),
            remedy="model files lie beside the manifest and stay under 64 MiB",
        )
    try:
        if path.stat().st_size != entry.size:
            raise UserError(
                f"{path.stat().st_size} bytes, the manifest says {entry.size}: the file is truncated or altered",
                place=str(path),
                remedy="copy the bundle again",
            )
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the model: {error.strerror or error}", place=str(path), remedy="copy the bundle again"
        ) from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise UserError(
            "SHA-256 differs from the manifest's: the file is damaged or altered",
            place=str(path),
            remedy="copy the bundle again",
        )
    return content


def _check_golden(bundle: Bundle) -> None:
    golden = bundle.manifest.golden
    forecast, reconstruction = golden_answers(bundle, golden)
    pairs = (
        (bundle.manifest.forecaster.file, forecast, golden.forecast),
        (bundle.manifest.autoencoder.file, reconstruction, golden.reconstruction),
    )
    for file, found, recorded in pairs:
        deviation = float(np.max(np.abs(np.array(found) - np.array(recorded))))
        if not deviation <= GOLDEN_TOLERANCE:  # NaN must fail too
            raise UserError(
                f"answers deviate by {deviation:.3g} from the recorded ones (tolerance {GOLDEN_TOLERANCE})",
                place=str(bundle.directory / file),
                remedy="the model or the TFLite runtime is not what the bundle was made with; export it again",
            )
