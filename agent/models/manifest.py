"""Types of a bundle's ``manifest.json``."""

from __future__ import annotations

from typing import (
    Any,
    Literal,
)

import msgspec

from agent.models.features import TIME_FEATURES

__all__ = [
    "FORMAT",
    "MAX_INTERVAL_S",
    "QUANTILES",
    "AutoencoderSpec",
    "FileEntry",
    "FixedScaling",
    "ForecasterSpec",
    "Golden",
    "Manifest",
    "RunningScaling",
    "Start",
]

#: Version of the manifest's format that this agent reads.
FORMAT = 2
#: Longest sampling interval of a fitted bundle, seconds: a day.
MAX_INTERVAL_S = 86_400.0
#: Levels of the forecast quantiles.
QUANTILES = (0.05, 0.5, 0.95)


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle: name, SHA-256 in hexadecimal, and size in bytes."""

    file: str
    sha256: str
    size: int


class RunningScaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="running"):
    """Normalisation by running statistics learned on the device, with a memory of ``rows`` rows."""

    rows: int


class FixedScaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fixed"):
    """Normalisation by statistics from training, one number per channel in the manifest's order.

    Parameters
    ----------
    method
        ``robust`` (median and scaled interquartile range), ``standard`` (mean and standard deviation) or ``minmax``
        (middle and half of the range).
    log_reference, effect
        See `agent.core.channel.Channel`; they replace the source's values.
    centre, spread
        Centre and spread > 0 on the channel's scale. The networks' input is ``compress((value - centre) / spread)``,
        see `agent.detection.scaling.compress`.
    """

    method: Literal["robust", "standard", "minmax"]
    log_reference: list[float]
    effect: list[float]
    centre: list[float]
    spread: list[float]


class ForecasterSpec(FileEntry, frozen=True, forbid_unknown_fields=True):
    """The forecaster: one step of a recurrent network.

    Inputs: ``features`` float32[batch, n_features], ``state_h`` and ``state_c`` float32[batch, units]. Outputs:
    ``forecast`` float32[batch, 3 n], ``next_h`` and ``next_c``, with n the channels in one row of the batch (1 in the
    shared layout). A row of the forecast, on the compressed normalised scale, holds n medians less the present
    ``level``, n distances ≥ 0 from the median down to the 5 % quantile, and n distances up to the 95 % quantile.

    Parameters
    ----------
    units
        Width of the recurrent state, summed over layers.
    horizon
        Rows from the newest input to the predicted row.
    """

    units: int
    quantiles: tuple[float, ...] = QUANTILES
    horizon: int = 1


class AutoencoderSpec(FileEntry, frozen=True, forbid_unknown_fields=True):
    """The autoencoder over a window.

    Input: ``window`` float32[batch, window, n] of compressed normalised values. Output: ``reconstruction`` of the same
    shape.

    Parameters
    ----------
    window
        Points of a window.
    stride
        Rows between reconstructions.
    state_tensors
        Indices of the fused LSTM op's variable tensors, which are resized with the batch.
    judged
        Number of newest points whose reconstruction error counts.
    block
        Rows averaged into one point.
    centred
        Subtract each channel's mean over the window, so that shapes are judged instead of levels.
    """

    window: int
    stride: int
    judged: int
    state_tensors: tuple[int, ...]
    block: int = 1
    centred: bool = False

    @property
    def rows(self) -> int:
        """Rows covered by a window."""
        return self.window * self.block


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Golden inputs and outputs, recorded at export, for verification.

    ``features`` and ``forecast``, [rows, batch, width], are successive steps of the forecaster from zero state.
    ``windows`` and ``reconstruction`` are flat windows, [n, window · channels]: oldest point first, channels of a
    point adjacent.
    """

    features: list[list[list[float]]]
    forecast: list[list[list[float]]]
    windows: list[list[float]]
    reconstruction: list[list[float]]


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Errors on held-back training data, from which thresholds start instead of from nothing.

    Parameters
    ----------
    rows
        Readings of each channel in the training data.
    levels
        Quantile levels, increasing, within 0 and 1.
    forecast_error, reconstruction_error
        Quantiles of the errors at these levels, [n_channels, n_levels] on the channel's scale. They are of held-back
        normal data, the outermost levels of all normal data.
    """

    rows: int
    levels: list[float]
    forecast_error: list[list[float]]
    reconstruction_error: list[list[float]]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metadata of a bundle (``manifest.json``).

    Parameters
    ----------
    channels, interval_s
        Channels and sampling interval in seconds of the training data; ``any`` for a universal bundle.
    layout
        ``shared``: each channel is a row of the networks' batch. ``joint``: all channels are in one row.
    features
        Inputs of the forecaster per channel, then time features, see `agent.models.features`.
    scaling
        Normalisation of readings for the networks.
    calibration
        Summary of the errors on held-back normal series, for people.
    verification
        Deviation of the quantised networks from the Keras models.
    provenance
        Seed, library versions and hash of the training data.
    start
        Initial state of the thresholds; None for a universal bundle.
    digest
        SHA-256 of all other fields except ``created`` and ``measured``; reproducible training gives the same digest.
    measured
        Duration of inferences on the machine that made the bundle; differs from run to run.
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
        """Length of one row of the forecaster's input: features of each channel, then time features."""
        timed = sum(name in TIME_FEATURES for name in self.features)
        return self.lanes * (len(self.features) - timed) + timed
