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
    from agent.types import BoolArray, Channel, Float32Array, Float64Array, IntArray

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
        self._groups = _groups(n, spec.stride)
        self._forecaster = bundle.forecaster(n)
        slots = -(-n // spec.stride)
        self._autoencoder = bundle.autoencoder(slots)
        self._slots = np.arange(slots)
        self._minimum = np.array([c.minimum for c in channels])
        self._maximum = np.array([c.maximum for c in channels])
        self._step = 0
        self._scaled = np.zeros(n)
        self._valid = np.zeros(n, bool)
        self._all_valid = False
        # float64[3, n]: median, lower and upper quantile for the next row, on the channel's scale.
        self._outlook = np.full((3, n), np.nan)
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
        self._all_valid = bool(valid.all())
        if not self._all_valid:
            self.invalid += int(np.count_nonzero(~valid & ~np.isnan(values)))
            scaled = np.where(valid, scaled, self._scaled)
        self._scaled = scaled
        forecast_error = scaled - self._outlook[0]
        if not self._all_valid:
            forecast_error[~valid] = np.nan
        # Before the newest row goes in: the forecaster judges that one, the autoencoder looks back on the decided ones.
        reconstruction_error = self._reconstruct()
        self._step += 1
        self._read.push(scaled)
        self._accepted.push(scaled)
        return Scores(self._outlook, forecast_error, reconstruction_error)

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
        forecast, next_h, next_c = network.step(features)
        outlook = np.empty_like(self._outlook)
        outlook[:] = features[:, 0] + forecast[:, 0]
        outlook[1:] += _SIDES * forecast.T[1:]
        outlook = normaliser.centre + normaliser.spread * unsquash(outlook)
        if not learn.all():
            self._accepted.amend(np.where(learn | np.isnan(self._outlook[0]), self._scaled, self._outlook[0]))
            next_h = np.where(learn[:, None], next_h, network.h)
            next_c = np.where(learn[:, None], next_c, network.c)
            outlook = np.where(learn, outlook, self._outlook)
        network.h, network.c, self._outlook = next_h, next_c, outlook

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

    def _reconstruct(self) -> Float64Array:
        """Signed error of the worst of the newest points, for the channels whose turn it is; NaN for the others."""
        error = np.full(self._scaled.size, np.nan)
        group = self._groups[self._step % self._stride]
        if group is None:
            return error
        centre = self._normaliser.centre[group, None]
        spread = self._normaliser.spread[group, None]
        window = self._accepted.view()[group]
        squashed = squash((window - centre) / spread).astype(np.float32)
        reconstruction = self._autoencoder.reconstruct(squashed)[:, -self._stride :].astype(np.float64)
        residual = window[:, -self._stride :] - (centre + spread * unsquash(reconstruction))
        # What stands in for a reading that was not learned is not judged.
        residual *= window[:, -self._stride :] == self._read.view()[group, -self._stride :]
        newest = residual[self._slots, np.abs(residual).argmax(axis=1)]
        # A window that reaches back before the first reading says nothing.
        error[group] = np.where(self._normaliser.count[group] >= self._window, newest, np.nan)
        return error


def _groups(n_channels: int, stride: int) -> list[IntArray | None]:
    """For each of ``stride`` turns the channels due, padded to one length by repeating the first; None when none is.

    Examples
    --------
    >>> _groups(3, 2)
    [array([0, 2]), array([1, 1])]
    """
    size = -(-n_channels // stride)
    groups: list[IntArray | None] = []
    for turn in range(stride):
        members = np.arange(turn, n_channels, stride)
        groups.append(np.resize(members, size) if members.size else None)
    return groups
