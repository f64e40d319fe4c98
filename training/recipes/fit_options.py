"""Options of a fit, and the choice of windows from the data. Options apply to all channels alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from agent.core.errors import UserError
from training.networks.dataset import ScalingMethod, dominant_period

if TYPE_CHECKING:
    from training.networks.dataset import Prepared

__all__ = ["PRESETS", "FitOptions", "Layout", "Windows", "choose_windows"]

Layout: TypeAlias = Literal["joint", "shared"]
_Whole = Annotated[int, Meta(ge=1)]

# All chosen by hand.
_PLAIN_WINDOW = 64  # window in rows if the channels have no common period
_PERIODS = 2  # window in periods, if there is one
_PERIODIC_POINTS = 26  # approximate number of points in that window
_LOOKS_A_WINDOW = 32  # windows that contain each row


class FitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a fit.

    Parameters
    ----------
    window
        Window of the autoencoder in rows; None: two common periods of the channels, or 64 without one.
    block
        Rows averaged into a point of the window; None: about 26 points for two periods, else 1.
    centred
        Whether the mean of each window is subtracted, to judge shapes instead of levels; None: if there is a period.
    look_back
        Look-back of the forecaster in rows.
    horizon
        Forecast horizon in rows.
    units, layers, latent, dropout
        Size of the networks, see `training.networks.architectures`.
    head
        Output of the forecaster, see `training.networks.architectures.Head`.
    layout
        ``joint``: one network over all channels. ``shared``: the same network for each channel.
    scaling
        Scaling of the channels, see `training.networks.dataset.prepare`.
    clock
        Use of hour and weekday as inputs, see `training.networks.dataset.prepare`.
    form
        Number format of the exported networks, see `training.export.tflite.Form`.
    epochs, patience, steps
        Largest number of epochs, epochs without progress before early stopping, largest number of steps per epoch.
    seed
        The same seed, data and library versions give the same networks.
    """

    window: Annotated[int, Meta(ge=4, le=1 << 18)] | None = None
    block: _Whole | None = None
    centred: bool | None = None
    look_back: Annotated[int, Meta(ge=4, le=4096)] = 64
    horizon: Annotated[int, Meta(ge=1, le=4096)] = 1
    units: Annotated[int, Meta(ge=2, le=512)] = 32
    layers: Literal[1, 2] = 1
    latent: Annotated[int, Meta(ge=0, le=512)] = 8
    dropout: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    head: Literal["quantile", "point", "mixture"] = "quantile"
    layout: Layout = "joint"
    scaling: ScalingMethod = "robust"
    clock: Literal["auto", "none"] = "auto"
    form: Literal["int8", "float16", "float32", "full-int8"] = "int8"
    epochs: _Whole = 25
    patience: _Whole = 6
    steps: _Whole = 80
    seed: Annotated[int, Meta(ge=0, lt=1 << 31)] = 1


#: Named sets of options.
PRESETS: dict[str, dict[str, int]] = {
    # Windows of a week for hourly readings.
    "hourly-week": {"look_back": 168, "window": 168, "block": 4},
    # Small networks and few epochs, for a trial run.
    "tiny": {"units": 8, "latent": 4, "look_back": 16, "window": 16, "epochs": 2, "steps": 10},
}


class Windows(msgspec.Struct, frozen=True):
    """Windows of the autoencoder.

    Parameters
    ----------
    points, block
        Points per window, and rows averaged into a point.
    stride
        Rows from one window to the next.
    centred
        Whether the mean of each window is subtracted.
    period
        Common period of the channels in rows; None if there is none.
    """

    points: int
    block: int
    stride: int
    centred: bool
    period: int | None

    @property
    def rows(self) -> int:
        """Rows per window."""
        return self.points * self.block


def choose_windows(plan: FitOptions, prepared: Prepared) -> Windows:
    """Choose the windows from the options, and from the data where these are None.

    Raises
    ------
    UserError
        The window would have fewer than 4 or more than 4,096 points.
    """
    period = dominant_period(prepared.parts)
    rhythm = period is not None and plan.window is None
    rows = plan.window or (_PERIODS * period if period else _PLAIN_WINDOW)
    block = plan.block or (max(1, round(rows / _PERIODIC_POINTS)) if rhythm else 1)
    points = rows // block
    if points < 4 or points > 4096:
        raise UserError(
            f"a window of {rows} rows in blocks of {block} has {points} points",
            location="--window and --block",
            remedy="choose both such that there are 4 to 4,096 points; 20 to 100 are usual",
        )
    centred = rhythm if plan.centred is None else plan.centred
    return Windows(points, block, max(1, points * block // _LOOKS_A_WINDOW), centred, period)
