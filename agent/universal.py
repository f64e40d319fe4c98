"""One universal pair of networks, applied to every channel by itself; what they see is normalised on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.detector import Detector
from agent.features import Normaliser, squash, unsquash
from agent.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.bundle import Bundle
    from agent.types import BoolArray, Channel, Float64Array

__all__ = ["UniversalDetector"]

# The lower quantile lies below the median, the upper above.
_SIDES = np.array([[-1.0], [1.0]])


class UniversalDetector(Detector):
    """Runs a bundle that knows no channel in particular.

    The forecaster advances by one step a row, its state carried for ever. The autoencoder reconstructs each channel's
    window every ``stride`` rows; the channels take turns, so that every row costs the same. A channel that may not be
    learned from keeps its statistics, its network state and its outlook.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    bundle
        The verified models.
    """

    def __init__(self, channels: Sequence[Channel], bundle: Bundle) -> None:
        super().__init__(channels)
        n = len(channels)
        spec = bundle.manifest.autoencoder
        self._normaliser = Normaliser(n, self._still)
        # What was read; and what the autoencoder sees, with the expectation in place of rows that were not learned.
        self._read = Ring(n, spec.window)
        self._accepted = Ring(n, spec.window)
        self._window = spec.window
        self._stride = spec.stride
        self._judged = slice(-spec.judged, None)
        self._forecaster = bundle.forecaster(n)
        self._autoencoder = bundle.autoencoder(-(-n // spec.stride))
        # The last row in which something else than the reading went to the autoencoder.
        self._amended = -spec.window - 1

    def learn(self, allowed: BoolArray) -> None:
        """See `Detector.learn`."""
        learn = allowed if self._all_valid else allowed & self._valid
        normaliser = self._normaliser
        features = normaliser.update(self._scaled, learn)
        network = self._forecaster
        self._follow_residual(learn, normaliser.rate)
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

    def among_accepted(self) -> BoolArray:
        """See `Detector.among_accepted`."""
        # The newest row of the ring is the one in question.
        before = self._accepted.view()[:, :-1]
        within: BoolArray = (before.min(axis=1) <= self._scaled) & (self._scaled <= before.max(axis=1))
        return within

    def restart(self, which: BoolArray) -> None:
        """See `Detector.restart`."""
        self._normaliser.restart(which, self._read.view().astype(np.float64))
        self._accepted.copy_from(self._read, which)
        self._forecaster.h[which] = 0.0
        self._forecaster.c[which] = 0.0
        self._outlook = np.where(which, self._scaled, self._outlook)

    def _look_back(self, error: Float64Array) -> None:
        """Judge before the newest row goes in: it may not be accepted, and the forecaster judges it anyway."""
        self._reconstruct(error)
        self._read.push(self._scaled)
        self._accepted.push(self._scaled)

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
        reconstruction = self._autoencoder.reconstruct(squashed)[:, self._judged]
        newest = window[:, self._judged]
        residual: Float64Array = np.abs(newest - (centre + spread * unsquash(reconstruction)))
        if self._step <= self._amended + self._window:
            # What stands in for a reading that was not learned is not judged.
            residual *= newest == self._read.view()[due, self._judged]
        largest = residual.max(axis=1)
        if normaliser.fewest < self._window:
            # A window that reaches back before the first reading says nothing.
            largest[normaliser.count[due] < self._window] = np.nan
        error[due] = largest
