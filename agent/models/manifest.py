"""``manifest.json`` of a bundle, as types."""

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

FORMAT = 2
#: Longest sampling interval that networks are trained for.
MAX_INTERVAL_S = 86_400.0
QUANTILES = (0.05, 0.5, 0.95)


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
        Each channel's scale and smallest effect, see `agent.core.channel.Channel`; they replace the source's own.
    centre, spread
        On the channel's scale; what the networks see is ``compress((value - centre) / spread)``, see
        `agent.detection.scaling`.
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
    quantiles: tuple[float, ...] = QUANTILES
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
        What the forecaster sees of a channel, and after it features of the time, see `agent.detection.scaling`.
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
