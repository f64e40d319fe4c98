"""A model bundle: a folder with a manifest and two networks, verified before the first inference.

A TFLite file with a flipped byte usually still loads and runs, so everything is checked: hashes, sizes, tensor names,
shapes and types, and the networks' answers on recorded golden inputs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from agent.errors import UNREADABLE, UserError
from agent.features import FEATURES, LEVEL, NORMALISATION_ROWS, SEASON_FEATURES, TIME_FEATURES
from agent.inference import StepNetwork, WindowNetwork
from agent.mismatch import mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "FORMAT",
    "MAX_INTERVAL_S",
    "AutoencoderSpec",
    "Bundle",
    "FileEntry",
    "FixedScaling",
    "ForecasterSpec",
    "Golden",
    "Manifest",
    "RunningScaling",
    "Start",
    "builtin_directory",
    "golden_answers",
    "labels",
    "load",
    "load_builtin",
]

FORMAT = 2
#: Longest sampling interval that networks are trained for.
MAX_INTERVAL_S = 86_400.0
_MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 16 << 20
_MAX_MODEL_BYTES = 64 << 20
_QUANTILES = (0.05, 0.5, 0.95)
# Both runtimes and all processors round differently; a wrong weight is off by far more.
GOLDEN_TOLERANCE = 0.02


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle and what it must be."""

    file: str
    sha256: str
    size: int


class RunningScaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="running"):
    """Values are normalised by running statistics of the device itself, with a memory of ``rows``."""

    rows: int


class FixedScaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fixed"):
    """Values are normalised by what training found, one number a channel in the manifest's order.

    Parameters
    ----------
    method
        ``robust`` (median and scaled interquartile range), ``standard`` (mean and standard deviation) or ``minmax``
        (middle and half of the range).
    log_reference, effect
        Each channel's scale and smallest effect, see `agent.types.Channel`; they replace the source's own.
    centre, spread
        On the channel's scale; what the networks see is ``compress((value - centre) / spread)``, see `agent.features`.
    """

    method: Literal["robust", "standard", "minmax"]
    log_reference: list[float]
    effect: list[float]
    centre: list[float]
    spread: list[float]


class ForecasterSpec(FileEntry, frozen=True, forbid_unknown_fields=True):
    """The step network.

    Inputs ``features`` float32[batch, n_features], ``state_h`` and ``state_c`` float32[batch, units]; outputs
    ``forecast`` float32[batch, 3 n], ``next_h``, ``next_c``, with n the channels of one row of the batch (1 in the
    shared layout). The forecast, on the squashed normalised scale: n times the median less the present ``level``, n
    distances (≥ 0) from the median down to the 5 % quantile, n up to the 95 % one.

    Parameters
    ----------
    units
        Width of the state, over all layers.
    horizon
        How many rows ahead the forecast is.
    """

    units: int
    quantiles: tuple[float, ...] = _QUANTILES
    horizon: int = 1


class AutoencoderSpec(FileEntry, frozen=True, forbid_unknown_fields=True):
    """The window network.

    Input ``window`` float32[batch, window, n], squashed normalised values; output ``reconstruction`` of the same shape.

    Parameters
    ----------
    window
        Points.
    stride
        Rows from one reconstruction to the next.
    state_tensors
        The fused op's variable tensors, to be resized with the batch.
    judged
        Newest points of a window whose error counts.
    block
        Rows whose mean is one point.
    centred
        Whether each channel's window goes in less its own mean: shapes are judged, not levels.
    """

    window: int
    stride: int
    judged: int
    state_tensors: tuple[int, ...]
    block: int = 1
    centred: bool = False

    @property
    def rows(self) -> int:
        """Rows it sees at once."""
        return self.window * self.block


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Recorded inputs and answers: the forecaster from zero state over successive rows, the autoencoder on windows.

    A window is flat: its oldest point first, the channels of a point side by side.
    """

    features: list[list[list[float]]]
    forecast: list[list[list[float]]]
    windows: list[list[float]]
    reconstruction: list[list[float]]


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What thresholds begin with, so that a fresh device does not start blind.

    Parameters
    ----------
    rows
        Readings of each channel that training saw.
    levels
        Increasing, 0 to 1.
    forecast_error, reconstruction_error
        For every channel, the quantiles at these levels of its errors on held-back normal data, on its own scale; the
        outermost are of all normal data.
    """

    rows: int
    levels: list[float]
    forecast_error: list[list[float]]
    reconstruction_error: list[list[float]]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``manifest.json``.

    Parameters
    ----------
    channels, interval_s
        What the models were trained for; ``any`` for a universal bundle.
    layout
        ``shared``: one row of the networks' batch a channel. ``joint``: all channels in one row.
    features
        What the forecaster sees of a channel, and after it features of the time, see `agent.features`.
    scaling
        How readings become what the networks see.
    calibration
        The errors on held-back normal series, in figures for people.
    verification
        How far the quantised networks are from Keras.
    provenance
        Seed, library versions and a hash of the training data.
    start
        What thresholds begin with; None for a universal bundle.
    digest
        SHA-256 of all the rest but ``created`` and ``measured``: the same training gives the same.
    measured
        What depends on the moment: how long an inference took where the bundle was made.
    """

    format: int
    name: str
    version: str
    created: str
    channels: Literal["any"] | list[str]
    interval_s: Literal["any"] | float
    layout: Literal["shared", "joint"]
    features: list[str]
    scaling: RunningScaling | FixedScaling
    quantisation: str
    forecaster: ForecasterSpec
    autoencoder: AutoencoderSpec
    golden: Golden
    calibration: dict[str, Any]
    verification: dict[str, Any]
    provenance: dict[str, Any]
    start: Start | None = None
    digest: str = ""
    measured: dict[str, Any] = {}

    @property
    def lanes(self) -> int:
        """Channels in one row of the networks' batch."""
        return len(self.channels) if self.layout == "joint" else 1

    @property
    def width(self) -> int:
        """Numbers in one row of the forecaster's input: features of each channel, then of the time."""
        timed = sum(name in TIME_FEATURES for name in self.features)
        return self.lanes * (len(self.features) - timed) + timed


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
        self.forecaster_file = forecaster
        self.autoencoder_file = autoencoder

    @property
    def label(self) -> str:
        """Name and version, as alerts carry them: ``default@1.0.0``."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def forecaster(self, batch: int) -> StepNetwork:
        """Make the step network for a batch of rows."""
        manifest, spec = self.manifest, self.manifest.forecaster
        place = str(self.directory / spec.file)
        n_outputs = len(spec.quantiles) * manifest.lanes
        return StepNetwork(self.forecaster_file, batch, manifest.width, spec.units, n_outputs, place)

    def autoencoder(self, batch: int) -> WindowNetwork:
        """Make the window network for a batch of windows."""
        spec = self.manifest.autoencoder
        place = str(self.directory / spec.file)
        shape = (spec.window, self.manifest.lanes)
        return WindowNetwork(self.autoencoder_file, batch, shape, spec.state_tensors, place)


def labels(bundles: Sequence[Bundle]) -> str:
    """Labels of bundles that run side by side: ``default@1.0.0+pump@1.2.0``."""
    return "+".join(bundle.label for bundle in bundles)


def builtin_directory() -> Path:
    """Where the bundle that ships lies."""
    return Path(__file__).parent / "models" / "default"


def load_builtin(known: Sequence[Bundle] = ()) -> Bundle:
    """Load the bundle that ships; see `load`."""
    return load(builtin_directory(), known=known)


def load(directory: Path, trust: Callable[[bytes], None] | None = None, known: Sequence[Bundle] = ()) -> Bundle:
    """Read a bundle and verify it.

    Parameters
    ----------
    directory
        Where it lies.
    trust
        Raises where the manifest, which it is given as it was read, is not to be trusted.
    known
        Bundles that were verified before: one that is still the same is given again.

    Raises
    ------
    UserError
        Anything is missing, altered, of another format or answers wrongly; says which file and what to do.
    EnvironmentFault
        No TFLite runtime is installed.
    """
    path = directory / _MANIFEST
    manifest = _read_manifest(path, trust)
    forecaster = _read(directory, manifest.forecaster)
    autoencoder = _read(directory, manifest.autoencoder)
    for one in known:
        if (one.directory, one.manifest, one.forecaster_file, one.autoencoder_file) == (
            directory,
            manifest,
            forecaster,
            autoencoder,
        ):
            return one
    bundle = Bundle(directory, manifest, forecaster, autoencoder)
    _check_golden(bundle)
    return bundle


def golden_answers(bundle: Bundle, golden: Golden) -> tuple[list[list[list[float]]], list[list[float]]]:
    """Run the recorded inputs: forecasts of every row in turn, reconstructions of every window.

    The windows run through one network one after the other, so that a state left over from the one before shows.
    """
    features = np.array(golden.features, np.float32)
    network = bundle.forecaster(features.shape[1])
    forecasts = [network.advance(row).tolist() for row in features]
    autoencoder = bundle.autoencoder(1)
    windows = np.array(golden.windows, np.float32)
    reconstructions = [autoencoder.reconstruct(window[None, :])[0].tolist() for window in windows]
    return forecasts, reconstructions


def _read_manifest(path: Path, trust: Callable[[bytes], None] | None) -> Manifest:
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise UserError("the manifest is larger than 16 MiB", place=str(path), remedy="this is no bundle of ours")
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the bundle's manifest: {error.strerror or error}",
            place=str(path),
            remedy="name a folder that holds manifest.json, or `builtin`",
        ) from error
    if trust is not None:
        trust(raw)
    try:
        version = msgspec.json.decode(raw, type=dict[str, Any]).get("format")
        if version != FORMAT:
            raise UserError(
                f"bundle format {version!r}, this agent reads {FORMAT}",
                place=str(path),
                remedy="export the bundle with a matching version of edgewatch",
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except UNREADABLE as error:
        raise UserError(
            f"the manifest is damaged: {_damage(raw)}", place=str(path), remedy="copy or export the bundle again"
        ) from error
    _check_meaning(manifest, path)
    return manifest


def _damage(raw: bytes) -> str:
    """Say where a manifest is not as it must be."""
    try:
        found = mismatch(msgspec.json.decode(raw), Manifest)
    except UNREADABLE:
        return "not JSON"
    return str(found) if found else "its format is missing"


def _check_meaning(manifest: Manifest, path: Path) -> None:
    """Refuse a bundle whose numbers this agent would misread."""
    golden, spec = manifest.golden, manifest.autoencoder
    points = spec.window * manifest.lanes
    expectations: tuple[tuple[str, bool], ...] = (
        *_check_scaling(manifest),
        ("forecaster.quantiles", manifest.forecaster.quantiles == _QUANTILES),
        ("forecaster.units", 1 <= manifest.forecaster.units <= 4096),
        ("forecaster.horizon", 1 <= manifest.forecaster.horizon <= 4096),
        ("autoencoder.window", 2 <= spec.window <= 4096),
        ("autoencoder.block", 1 <= spec.block <= 1 << 16),
        ("autoencoder.stride", 1 <= spec.stride <= spec.window * spec.block),
        ("autoencoder.judged", 1 <= spec.judged <= spec.window),
        ("golden.features", _is_block(golden.features, manifest.width)),
        ("golden.forecast", _is_block(golden.forecast, len(_QUANTILES) * manifest.lanes) and _same_rows(golden)),
        ("golden.windows", bool(golden.windows) and {len(w) for w in golden.windows} == {points}),
        ("golden.reconstruction", [len(w) for w in golden.reconstruction] == [len(w) for w in golden.windows]),
    )
    for name, holds in expectations:
        if not holds:
            raise UserError(
                "not what this agent works with",
                place=f"{path}: $.{name}",
                remedy="export the bundle with a matching version of edgewatch",
            )


def _check_scaling(manifest: Manifest) -> tuple[tuple[str, bool], ...]:
    """What must hold of the manifest's own kind: universal, or trained for certain channels."""
    scaling, channels = manifest.scaling, manifest.channels
    if isinstance(scaling, RunningScaling):
        return (
            ("scaling.rows", scaling.rows == NORMALISATION_ROWS),
            ("features", manifest.features == [*FEATURES, *SEASON_FEATURES]),
            ("layout", manifest.layout == "shared"),
            ("channels", channels == "any"),
            ("start", manifest.start is None),
        )
    n = len(channels)
    named = channels != "any" and n == len(set(channels))
    lists = (scaling.log_reference, scaling.effect, scaling.centre, scaling.spread)
    start = manifest.start
    interval_s = manifest.interval_s
    return (
        ("channels", named and 1 <= n <= 4096),
        ("interval_s", interval_s != "any" and 0 < interval_s <= MAX_INTERVAL_S),
        ("features", manifest.features[:1] == [LEVEL] and set(manifest.features[1:]) <= set(TIME_FEATURES)),
        ("scaling", all(len(numbers) == n and np.isfinite(numbers).all() for numbers in lists)),
        ("scaling.spread", min(scaling.spread, default=0.0) > 0),
        ("start", start is not None and _is_start(start, n)),
    )


def _is_start(start: Start, n_channels: int) -> bool:
    levels = np.array(start.levels)
    if start.rows < 1 or levels.size < 2 or levels[0] < 0 or levels[-1] > 1 or not (np.diff(levels) > 0).all():
        return False
    tables = (start.forecast_error, start.reconstruction_error)
    return all(len(table) == n_channels and {len(row) for row in table} == {levels.size} for table in tables)


def _is_block(block: list[list[list[float]]], width: int) -> bool:
    """Whether nested lists form a non-empty array [rows, batch, width]."""
    batches = {len(row) for row in block}
    return len(batches) == 1 and batches != {0} and {len(cell) for row in block for cell in row} == {width}


def _same_rows(golden: Golden) -> bool:
    return [len(row) for row in golden.features] == [len(row) for row in golden.forecast]


def _read(directory: Path, entry: FileEntry) -> bytes:
    path = directory / entry.file
    if Path(entry.file).name != entry.file or not entry.file.isprintable() or entry.size > _MAX_MODEL_BYTES:
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
    try:
        with np.errstate(all="ignore"):  # what is no number in the end is refused
            forecast, reconstruction = golden_answers(bundle, golden)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the models cannot be run: {' '.join(str(error).split())[:300]}",
            place=str(bundle.directory),
            remedy="export the bundle again",
        ) from error
    pairs = (
        (bundle.manifest.forecaster.file, forecast, golden.forecast),
        (bundle.manifest.autoencoder.file, reconstruction, golden.reconstruction),
    )
    for file, found, recorded in pairs:
        given, expected = np.array(found), np.array(recorded)
        with np.errstate(all="ignore"):
            deviation = float(np.max(np.abs(given - expected))) if given.shape == expected.shape else np.inf
        if not deviation <= GOLDEN_TOLERANCE:  # NaN must fail too
            raise UserError(
                f"answers deviate by {deviation:.3g} from the recorded ones (tolerance {GOLDEN_TOLERANCE})",
                place=str(bundle.directory / file),
                remedy="the model or the TFLite runtime is not what the bundle was made with; export it again",
            )
