"""What the networks make of a row: expectations, and the errors of forecast and reconstruction.

Each row is handled in two steps, so that nothing is judged with knowledge of itself: `score` compares it with what was
expected before it came, `learn` takes it in – for the channels that the verdict on it allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.features import Normaliser, Scale, squash, unsquash
from agent.ring import Ring
from agent.types import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.bundle import Bundle
    from agent.types import BoolArray, Channel, Float32Array, Float64Array

__all__ = ["Detector"]


# The lower quantile lies below the median, the upper above.
_SIDES = np.array([[-1.0], [1.0]])


class Detector:
    """One universal pair of networks applied to every channel, batched.

    The forecaster advances by one step a row, its state carried for ever. The autoencoder reconstructs each channel's
    window every ``stride`` rows; the channels take turns, so that every row costs the same.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    bundle
        The verified models.
    """

    def __init__(self, channels: Sequence[Channel], bundle: Bundle) -> None:
        n = len(channels)
        spec = bundle.manifest.autoencoder
        self.scale = Scale(channels)
        # A tenth of the smallest effect that matters is as good as still.
        self._normaliser = Normaliser(n, self.scale.effect / 10.0)
        # What was read; and what the autoencoder sees, with the expectation in place of rows that were not learned.
        self._read = Ring(n, spec.window)
        self._accepted = Ring(n, spec.window)
        self._window = spec.window
        self._stride = spec.stride
        self._forecaster = bundle.forecaster(n)
        self._autoencoder = bundle.autoencoder(-(-n // spec.stride))
        self._minimum = np.array([c.minimum for c in channels])
        self._maximum = np.array([c.maximum for c in channels])
        self._step = 0
        # The last row in which something else than the reading went to the autoencoder.
        self._amended = -spec.window - 1
        self._scaled = np.zeros(n)
        self._valid = np.zeros(n, bool)
        self._all_valid = False
        # float64[3, n]: median, lower and upper quantile for the next row, on the channel's scale.
        self._outlook = np.full((3, n), np.nan)
        self._residual = np.full(n, np.nan)
        self._residual_floor = self.scale.effect / 10.0 + 1e-9
        self._usual_residual = self._residual_floor.copy()
        #: Readings that were there but could not be used, so far.
        self.invalid = 0

    def score(self, values: Float32Array) -> Scores:
        """Hold a row against what was expected of it.

        Parameters
        ----------
        values
            float32[n_channels], NaN where missing.
        """
        scaled, valid = self.scale.apply(values)
        self._valid = valid
        self._all_valid = np.count_nonzero(valid) == valid.size
        if not self._all_valid:
            self.invalid += int(np.count_nonzero(~valid & ~np.isnan(values)))
            scaled = np.where(valid, scaled, self._scaled)
        self._scaled = scaled
        errors = np.full((2, scaled.size), np.nan)
        np.subtract(scaled, self._outlook[0], out=errors[0])
        if not self._all_valid:
            errors[0, ~valid] = np.nan
        self._residual = np.abs(errors[0])
        # Before the newest row goes in: the forecaster judges that one, the autoencoder looks back on the decided ones.
        self._reconstruct(errors[1])
        self._step += 1
        self._read.push(scaled)
        self._accepted.push(scaled)
        return Scores(self._outlook, errors)

    def learn(self, allowed: BoolArray) -> None:
        """Take in the row last scored and look one row ahead.

        Parameters
        ----------
        allowed
            bool[n_channels]; a channel that is not allowed keeps its statistics, its network state and its outlook.
        """
        learn = allowed if self._all_valid else allowed & self._valid
        normaliser = self._normaliser
        features = normaliser.update(self._scaled, learn)
        network = self._forecaster
        self._follow_residual(learn)
        forecast, next_h, next_c = network.step(features)
        outlook = np.empty_like(self._outlook)
        outlook[:] = features[:, 0] + forecast[:, 0]
        outlook[1:] += _SIDES * forecast.T[1:]
        outlook = normaliser.centre + normaliser.spread * unsquash(outlook)
        if np.count_nonzero(learn) < learn.size:
            self._amended = self._step
            self._accepted.amend(np.where(learn | np.isnan(self._outlook[0]), self._scaled, self._outlook[0]))
            next_h = np.where(learn[:, None], next_h, network.h)
            next_c = np.where(learn[:, None], next_c, network.c)
            outlook = np.where(learn, outlook, self._outlook)
        network.h, network.c, self._outlook = next_h, next_c, outlook

    def relative_residual(self) -> Float64Array:
        """Forecast error of the row last scored over its usual size, float64[n_channels] ≥ 0; 0 where missing."""
        relative: Float64Array = np.fmax(self._residual / self._usual_residual, 0.0)
        return relative

    def _follow_residual(self, learn: BoolArray) -> None:
        """Learn the usual size of the forecast error, as fast as the normalisation learns."""
        size = np.maximum(self._residual, self._residual_floor)
        step = self._normaliser.rate * (size - self._usual_residual)
        np.add(self._usual_residual, step, out=self._usual_residual, where=learn & np.isfinite(step))

    def among_accepted(self) -> BoolArray:
        """Whether the row last scored lies within the range of the rows accepted before it, bool[n_channels]."""
        # The newest row of the ring is the one in question.
        before = self._accepted.view()[:, :-1]
        within: BoolArray = (before.min(axis=1) <= self._scaled) & (self._scaled <= before.max(axis=1))
        return within

    def restart(self, which: BoolArray) -> None:
        """Take the recent rows of the chosen channels as their new normal."""
        self._normaliser.restart(which, self._read.view().astype(np.float64))
        self._accepted.copy_from(self._read, which)
        self._forecaster.h[which] = 0.0
        self._forecaster.c[which] = 0.0
        self._outlook = np.where(which, self._scaled, self._outlook)

    def in_units(self, scaled: Float64Array) -> Float64Array:
        """Bring scaled numbers to the channels' units and into what they can show; float64[..., n_channels]."""
        return np.clip(self.scale.invert(scaled), self._minimum, self._maximum)

    @property
    def valid(self) -> BoolArray:
        """bool[n_channels]: which readings of the row last scored were valid."""
        return self._valid

    def _reconstruct(self, error: Float64Array) -> None:
        """Put in the largest error of the newest points, float64[n_channels], for the channels whose turn it is."""
        # Channels take turns: every `stride`-th of them is due, beginning with another one each row.
        due = slice(self._step % self._stride, None, self._stride)
        window = self._accepted.view()[due]
        if not len(window):
            return
        normaliser = self._normaliser
        centre, spread = normaliser.centre[due, None], normaliser.spread[due, None]
        squashed = squash((window - centre) / spread)
        reconstruction = self._autoencoder.reconstruct(squashed)[:, -self._stride :]
        newest = window[:, -self._stride :]
        residual: Float64Array = np.abs(newest - (centre + spread * unsquash(reconstruction)))
        if self._step <= self._amended + self._window:
            # What stands in for a reading that was not learned is not judged.
            residual *= newest == self._read.view()[due, -self._stride :]
        largest = residual.max(axis=1)
        if normaliser.fewest < self._window:
            # A window that reaches back before the first reading says nothing.
            largest[normaliser.count[due] < self._window] = np.nan
        error[due] = largest
