"""What the networks make of a row: expectations, and the errors of forecast and reconstruction.

Each row is handled in two steps, so that nothing is judged with knowledge of itself: `Detector.score` compares it with
what was expected before it came, `Detector.learn` takes it in – for the channels that the verdict on it allows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from agent.features import Scale
from agent.types import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.types import BoolArray, Channel, Float64Array, Frame

__all__ = ["Detector"]


class Detector(ABC):
    """What all pairs of networks have in common; a subclass says how they are fed.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        n = len(channels)
        self.scale = Scale(channels)
        self._minimum = np.array([c.minimum for c in channels])
        self._maximum = np.array([c.maximum for c in channels])
        self._step = 0
        self._wall = 0.0
        # float64[n], the newest valid readings on their scale.
        self._scaled = np.zeros(n)
        self._valid = np.zeros(n, bool)
        self._all_valid = False
        # float64[3, n]: median, lower and upper quantile for the next row, on the channel's scale.
        self._outlook = np.full((3, n), np.nan)
        self._residual = np.full(n, np.nan)
        # A tenth of the smallest effect that matters is as good as still.
        self._still = self.scale.effect / 10.0
        self._residual_floor = self._still + 1e-9
        self._usual_residual = self._residual_floor.copy()
        #: Readings that were there but could not be used, so far.
        self.invalid = 0

    @abstractmethod
    def _look_back(self, error: Float64Array) -> None:
        """Take the row last read into the window; put in reconstruction errors, float64[n], where one is due."""

    @abstractmethod
    def learn(self, allowed: BoolArray) -> None:
        """Take in the row last scored and look ahead.

        Parameters
        ----------
        allowed
            bool[n_channels]; a channel that is not allowed keeps what was learned of it.
        """

    @abstractmethod
    def among_accepted(self) -> BoolArray:
        """Whether the row last scored lies within the range of the rows accepted before it, bool[n_channels]."""

    @abstractmethod
    def restart(self, which: BoolArray) -> None:
        """Take the recent rows of the chosen channels as their new normal."""

    def score(self, frame: Frame) -> Scores:
        """Hold a row against what was expected of it."""
        scaled, valid = self.scale.apply(frame.values)
        self._wall = frame.wall
        self._valid = valid
        self._all_valid = np.count_nonzero(valid) == valid.size
        if not self._all_valid:
            self.invalid += int(np.count_nonzero(~valid & ~np.isnan(frame.values)))
            scaled = np.where(valid, scaled, self._scaled)
        self._scaled = scaled
        errors = np.full((2, scaled.size), np.nan)
        np.subtract(scaled, self._outlook[0], out=errors[0])
        if not self._all_valid:
            errors[0, ~valid] = np.nan
        self._residual = np.abs(errors[0])
        self._look_back(errors[1])
        self._step += 1
        return Scores(self._outlook, errors)

    def relative_residual(self) -> Float64Array:
        """Forecast error of the row last scored over its usual size, float64[n_channels] ≥ 0; 0 where missing."""
        relative: Float64Array = np.fmax(self._residual / self._usual_residual, 0.0)
        return relative

    def _follow_residual(self, learn: BoolArray, rate: Float64Array | float) -> None:
        """Learn the usual size of the forecast error."""
        size = np.maximum(self._residual, self._residual_floor)
        step = rate * (size - self._usual_residual)
        np.add(self._usual_residual, step, out=self._usual_residual, where=learn & np.isfinite(step))

    def in_units(self, scaled: Float64Array) -> Float64Array:
        """Bring scaled numbers to the channels' units and into what they can show; float64[..., n_channels]."""
        return np.clip(self.scale.invert(scaled), self._minimum, self._maximum)

    @property
    def valid(self) -> BoolArray:
        """bool[n_channels]: which readings of the row last scored were valid."""
        return self._valid
