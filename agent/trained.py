"""A pair of networks trained for certain channels: fixed scaling, the time of day, all channels seen together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.errors import UserError
from agent.features import TIME_FEATURES, Scale, compress, expand, time_features
from agent.ring import Ring
from agent.types import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.bundle import Bundle, FixedScaling, Manifest
    from agent.types import BoolArray, Channel, Float64Array, Frame

__all__ = ["MOST_MISSING", "TrainedDetector", "window_error"]

# Rows after which the usual size of a residual is largely forgotten.
_RESIDUAL_ROWS = 600
#: A window in which more is missing of a channel says nothing of it.
MOST_MISSING = 0.5
# A sampling interval that is further off than this is another one.
_INTERVAL_TOLERANCE = 0.05


class TrainedDetector:
    """Runs a bundle that `training fit` made for certain channels.

    The forecaster's state follows every row, also an anomalous one: its weights cannot be spoilt, and a rhythm that is
    lost during an anomaly would not be found again. Every ``stride`` rows the autoencoder redraws the newest window.

    Parameters
    ----------
    channels
        In the order of the frames' values; the same names as in the bundle, in any order.
    bundle
        The verified models.
    interval_s
        Seconds between frames.

    Raises
    ------
    UserError
        The bundle was trained for other channels or another sampling interval.
    """

    def __init__(self, channels: Sequence[Channel], bundle: Bundle, interval_s: float) -> None:
        manifest = bundle.manifest
        scaling: FixedScaling = manifest.scaling  # type: ignore[assignment] # the monitor chose by it
        order = _order(channels, bundle, interval_s)
        channels = [
            msgspec.structs.replace(c, log_reference=scaling.log_reference[k], effect=scaling.effect[k])
            for c, k in zip(channels, order, strict=True)
        ]
        n = len(channels)
        self.scale = Scale(channels)
        self._minimum = np.array([c.minimum for c in channels])
        self._maximum = np.array([c.maximum for c in channels])
        self._wall = 0.0
        self._valid = np.zeros(n, bool)
        self._all_valid = False
        # float64[3, n]: median, lower and upper quantile for the next row, on the channel's scale.
        self._outlook = np.full((3, n), np.nan)
        self._residual = np.full(n, np.nan)
        # A tenth of the smallest effect that matters is as good as still.
        self._residual_floor = self.scale.effect / 10.0 + 1e-9
        self._usual_residual = self._residual_floor.copy()
        #: Readings that were there but could not be used, so far.
        self.invalid = 0

        spec = manifest.autoencoder
        # Of each of the bundle's channels, where it stands here.
        self._places = np.argsort(order)
        self._centre = np.array(scaling.centre)[order]
        self._spread = np.array(scaling.spread)[order]
        # float64[n], the newest valid readings on their scale.
        self._scaled = self._centre.copy()
        self._timed = [name for name in manifest.features if name in TIME_FEATURES]
        self._joint = manifest.layout == "joint"
        self._forecaster = bundle.forecaster(1 if self._joint else n)
        self._autoencoder = bundle.autoencoder(1 if self._joint else n)
        self._spec = spec
        self._read = Ring(n, spec.rows)
        self._present = Ring(n, spec.rows)
        # Forecasts that are still to come true, the next one first.
        self._ahead = np.full((manifest.forecaster.horizon, 3, n), np.nan)
        self._rows = 0
        self._begin(manifest)

    def learn(self, allowed: BoolArray) -> None:
        """Take in the row last scored and look ahead.

        Parameters
        ----------
        allowed
            bool[n_channels]; a channel that is not allowed keeps what was learned of the size of its residual.
        """
        self._follow_residual(allowed & self._valid, 1.0 / _RESIDUAL_ROWS)
        z = compress((self._scaled - self._centre) / self._spread)
        self._ahead[:-1] = self._ahead[1:]
        self._ahead[-1] = self._centre + self._spread * expand(self._forecast(z))
        self._outlook = self._ahead[0].copy()

    def restart(self, which: BoolArray) -> None:
        """Move the centre of the chosen channels to the middle of their newest window."""
        newest = self._read.view()[which, -min(self._rows, self._read.capacity) :]
        self._centre[which] = np.median(newest, axis=1)

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

    def _begin(self, manifest: Manifest) -> None:
        """Take the usual size of a residual from training."""
        start = manifest.start
        if start is not None:
            usual = np.mean(np.abs(np.array(start.forecast_error)), axis=1)
            self._usual_residual[self._places] = np.maximum(usual, self._residual_floor[self._places])

    def _forecast(self, z: Float64Array) -> Float64Array:
        """Advance by one row; median and quantiles on the compressed scale, float64[3, n_channels]."""
        clock = time_features(self._wall, self._timed)
        network = self._forecaster
        if self._joint:
            features = np.concatenate((z[self._places], clock), dtype=np.float32)[None]
        else:
            features = np.column_stack((z, np.broadcast_to(clock, (z.size, clock.size)))).astype(np.float32)
        forecast, network.h, network.c = network.step(features)
        offsets = np.empty((3, z.size))
        if self._joint:
            offsets[:, self._places] = forecast.reshape(3, -1)
        else:
            offsets[:] = forecast.T
        median = z + offsets[0]
        return np.stack((median, median - offsets[1], median + offsets[2]))

    def _look_back(self, error: Float64Array) -> None:
        """Judge with the newest row in the window."""
        self._read.push(self._scaled)
        self._present.push(self._valid.astype(np.float32))
        self._rows += 1
        spec = self._spec
        if self._rows < spec.rows or self._rows % spec.stride:
            return
        n = self._scaled.size
        points = self._read.view().reshape(n, spec.window, spec.block).mean(axis=2, dtype=np.float64)
        compressed = compress((points - self._centre[:, None]) / self._spread[:, None])
        offset = compressed.mean(axis=1, keepdims=True) if spec.centred else np.zeros((n, 1))
        shown = compressed - offset
        if self._joint:
            rebuilt = np.empty_like(shown)
            flat = self._autoencoder.reconstruct(shown[self._places].T.reshape(1, -1))
            rebuilt[self._places] = flat.reshape(spec.window, n).T
        else:
            rebuilt = self._autoencoder.reconstruct(shown).astype(np.float64)
        judged = slice(-spec.judged, None)
        newest, redrawn = compressed[:, judged], (rebuilt + offset)[:, judged]
        error[:] = self._spread * window_error(newest, redrawn, centred=spec.centred)
        error[self._present.view().mean(axis=1) < 1.0 - MOST_MISSING] = np.nan


def window_error(points: Float64Array, rebuilt: Float64Array, *, centred: bool) -> Float64Array:
    """Sum up the reconstruction error of windows, float64[...], in spreads.

    Parameters
    ----------
    points, rebuilt
        [..., points], compressed.
    centred
        Shapes are judged: the median counts, which a peak that comes a little early or late does not move. Otherwise
        the mean.
    """
    error = np.abs(expand(points) - expand(rebuilt))
    summed: Float64Array = np.median(error, axis=-1) if centred else np.mean(error, axis=-1)
    return summed


def _order(channels: Sequence[Channel], bundle: Bundle, interval_s: float) -> list[int]:
    """Of each channel here, its place in the bundle."""
    manifest = bundle.manifest
    known, here = list(manifest.channels), [c.name for c in channels]
    place = f"{bundle.directory}: {bundle.label}"
    missing, strange = sorted(set(known) - set(here)), sorted(set(here) - set(known))
    if missing or strange:
        parts = [
            f"it needs {', '.join(missing)}" if missing else "",
            f"it knows no {', '.join(strange)}" if strange else "",
        ]
        raise UserError(
            "the bundle was trained for other channels: " + "; ".join(filter(None, parts)),
            place=place,
            remedy="watch just the channels it was trained for, train on the present ones, or use the bundle `builtin`",
        )
    trained_s = float(manifest.interval_s)
    if abs(interval_s - trained_s) > _INTERVAL_TOLERANCE * trained_s:
        raise UserError(
            f"the bundle was trained for a reading every {trained_s:g} s, here it would get one every {interval_s:g} s",
            place=place,
            remedy=f"set `interval_s: {trained_s:g}`, or train on data of this interval",
        )
    return [known.index(name) for name in here]
