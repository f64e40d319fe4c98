"""What a person may choose of a fit, and what is chosen for them from the data: all global, nothing by channel."""

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

# Without a rhythm: long enough for a shape, short enough to notice it.
_PLAIN_WINDOW = 64
# With one: two periods, seen at about this many points.
_PERIODS = 2
_PERIODIC_POINTS = 26
# Looks of the autoencoder at each stretch of time.
_LOOKS_A_WINDOW = 32


class FitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a fit depends on besides the data.

    Parameters
    ----------
    window
        Rows the autoencoder sees; None: two periods of the data's rhythm, or 64 rows if it has none.
    block
        Rows whose mean is one point of that window; None: so that two periods are about 26 points, else 1.
    centred
        Whether shapes rather than levels are redrawn; None: if there is a rhythm.
    look_back
        Rows from which the forecaster learns to expect the next.
    horizon
        How many rows ahead it looks.
    units, layers, latent, dropout
        Size of the networks, see `training.networks.architectures`; a latent size of 0 leaves the code out.
    head
        What the forecaster says: three quantiles, the median, or a mixture distribution.
    layout
        ``joint``: one network over all channels. ``shared``: the same network over each.
    scaling
        How the channels are brought to one scale.
    clock
        Whether hour and weekday are seen where they make sense.
    form
        Number format of the exported networks, see `training.export.tflite`.
    epochs, patience, steps
        At most so many epochs of at most so many optimiser steps; it ends after ``patience`` epochs without progress.
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


#: Choices that go together, by name.
PRESETS: dict[str, dict[str, int]] = {
    # A week of hourly readings at a glance.
    "hourly-week": {"look_back": 168, "window": 168, "block": 4},
    # Few parameters and epochs, to see that everything works.
    "tiny": {"units": 8, "latent": 4, "look_back": 16, "window": 16, "epochs": 2, "steps": 10},
}


class Windows(msgspec.Struct, frozen=True):
    """How the autoencoder looks: points of so many rows, redrawn every so many rows."""

    points: int
    block: int
    stride: int
    centred: bool
    period: int | None

    @property
    def rows(self) -> int:
        """Rows it sees at once."""
        return self.points * self.block


def choose_windows(plan: FitOptions, prepared: Prepared) -> Windows:
    """Settle what the plan leaves open.

    Raises
    ------
    UserError
        Window and block do not fit.
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
            remedy="choose them so that there are 4 to 4,096 points; 20 to 100 are usual",
        )
    centred = rhythm if plan.centred is None else plan.centred
    return Windows(points, block, max(1, points * block // _LOOKS_A_WINDOW), centred, period)
