"""Networks of a fitted bundle: fixed scaling, time features, joint or separate channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.core.errors import UserError
from agent.core.persistent_state import CHANNEL, Part, State, array, below, number
from agent.core.ring_buffer import RingBuffer
from agent.detection.scaling import Scale, compress, expand
from agent.detection.seasonality import time_features
from agent.detection.verdict import Scores
from agent.models.features import TIME_FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import BoolArray, Float64Array
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.models.bundle import Bundle
    from agent.models.manifest import FixedScaling, Manifest

__all__ = ["MOST_MISSING", "FittedNetworks", "window_error"]

# All constants of this file are chosen by hand.
# Memory of the usual residual, rows.
_RESIDUAL_ROWS = 600
#: Largest share of a channel's readings missing in a window for which its reconstruction error is used.
MOST_MISSING = 0.5
# Largest relative difference from the sampling interval of the training data.
_INTERVAL_TOLERANCE = 0.05


class FittedNetworksState(State):
    """Fields of a `FittedNetworks` that outlive a restart."""

    # Median, 5 % and 95 % quantile of the next row.
    outlook: Float64Array = array("channel's scale", 3, CHANNEL, initial=np.nan)
    usual_residual: Float64Array = array("channel's scale", CHANNEL)
    centre: Float64Array = array("channel's scale", CHANNEL)
    # Newest valid reading of each channel.
    scaled: Float64Array = array("channel's scale", CHANNEL)
    # Forecasts of the rows to come, the next row first.
    ahead: Float64Array = array("channel's scale", "horizon", 3, CHANNEL, initial=np.nan)
    rows: int = number("rows", initial=0)
    invalid: int = number("readings that were present but unusable", initial=0)


class FittedNetworks:
    """Runs the networks of a bundle that `training fit` made for these channels.

    The forecaster's recurrent state advances on anomalous rows, too; otherwise it could not find a lost rhythm again.
    The autoencoder reconstructs the newest window every ``stride`` rows.

    Parameters
    ----------
    channels
        In the order of the frames' values; the same names as in the bundle, in any order.
    bundle
        The verified bundle.
    interval_s
        Seconds between frames.

    Raises
    ------
    UserError
        The bundle was trained for other channels or another sampling interval.
    """

    def __init__(self, channels: Sequence[Channel], bundle: Bundle, interval_s: float) -> None:
        manifest = bundle.manifest
        scaling: FixedScaling = manifest.scaling  # type: ignore[assignment] # `Ensemble` checked the type
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
        self._residual = np.full(n, np.nan)
        # A tenth of the smallest effect counts as no residual.
        self._residual_floor = self.scale.effect / 10.0 + 1e-9
        spec = manifest.autoencoder
        # Index here of each channel of the bundle.
        self._indices = np.argsort(order)
        self._spread = np.array(scaling.spread)[order]
        self._state = FittedNetworksState(channel=n, horizon=manifest.forecaster.horizon)
        self._state.usual_residual = self._residual_floor.copy()
        self._state.centre = np.array(scaling.centre, np.float64)[order]
        self._state.scaled = self._state.centre.copy()
        self._timed = [name for name in manifest.features if name in TIME_FEATURES]
        self._joint = manifest.layout == "joint"
        self._forecaster = bundle.forecaster(1 if self._joint else n)
        self._autoencoder = bundle.autoencoder(1 if self._joint else n)
        self._spec = spec
        self._read = RingBuffer(n, spec.rows)
        self._present = RingBuffer(n, spec.rows)
        self._begin(manifest)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("forecaster", self._forecaster)
        yield from below("read", self._read)
        yield from below("present", self._present)

    @property
    def invalid(self) -> int:
        """Readings so far that were present but unusable."""
        return self._state.invalid

    def learn(self, allowed: BoolArray) -> None:
        """Learn from the row last scored and forecast the next.

        Parameters
        ----------
        allowed
            bool[n_channels], channels whose usual residual is learned.
        """
        state = self._state
        self._follow_residual(allowed & self._valid, 1.0 / _RESIDUAL_ROWS)
        z = compress((state.scaled - state.centre) / self._spread)
        state.ahead[:-1] = state.ahead[1:]
        state.ahead[-1] = state.centre + self._spread * expand(self._forecast(z))
        state.outlook = state.ahead[0].copy()

    def restart(self, which: BoolArray) -> None:
        """Move the centre of these channels, bool[n_channels], to the median of their newest window."""
        state = self._state
        newest = self._read.view()[which, -min(state.rows, self._read.capacity) :]
        state.centre[which] = np.median(newest, axis=1)

    def score(self, frame: Frame) -> Scores:
        """Compute the errors of a row, which must be followed by `learn`."""
        state = self._state
        scaled, valid = self.scale.apply(frame.values)
        self._wall = frame.wall
        self._valid = valid
        self._all_valid = np.count_nonzero(valid) == valid.size
        if not self._all_valid:
            state.invalid += int(np.count_nonzero(~valid & ~np.isnan(frame.values)))
            scaled = np.where(valid, scaled, state.scaled)
        state.scaled = scaled
        errors = np.full((2, scaled.size), np.nan)
        np.subtract(scaled, state.outlook[0], out=errors[0])
        if not self._all_valid:
            errors[0, ~valid] = np.nan
        self._residual = np.abs(errors[0])
        self._look_back(errors[1])
        return Scores(state.outlook, errors)

    def relative_residual(self) -> Float64Array:
        """Absolute forecast error of the row last scored over its usual size, float64[n_channels]; 0 where missing."""
        relative: Float64Array = np.fmax(self._residual / self._state.usual_residual, 0.0)
        return relative

    def _follow_residual(self, learn: BoolArray, rate: Float64Array | float) -> None:
        """Learn the usual size of the forecast error of the channels in ``learn``."""
        state = self._state
        size = np.maximum(self._residual, self._residual_floor)
        step = rate * (size - state.usual_residual)
        np.add(state.usual_residual, step, out=state.usual_residual, where=learn & np.isfinite(step))

    def in_units(self, scaled: Float64Array) -> Float64Array:
        """Convert to the channels' units and clip to their physical range; float64[..., n_channels]."""
        return np.clip(self.scale.invert(scaled), self._minimum, self._maximum)

    @property
    def valid(self) -> BoolArray:
        """Validity of the readings of the row last scored, bool[n_channels]."""
        return self._valid

    def _begin(self, manifest: Manifest) -> None:
        """Start from the usual residual on training data."""
        state = self._state
        start = manifest.start
        if start is not None:
            usual = np.mean(np.abs(np.array(start.forecast_error)), axis=1)
            state.usual_residual[self._indices] = np.maximum(usual, self._residual_floor[self._indices])

    def _forecast(self, z: Float64Array) -> Float64Array:
        """Advance the forecaster by one row; median, 5 % and 95 % quantile on the compressed scale, float64[3, n]."""
        clock = time_features(self._wall, self._timed)
        network = self._forecaster
        if self._joint:
            features = np.concatenate((z[self._indices], clock), dtype=np.float32)[None]
        else:
            features = np.column_stack((z, np.broadcast_to(clock, (z.size, clock.size)))).astype(np.float32)
        forecast = network.advance(features)
        offsets = np.empty((3, z.size))
        if self._joint:
            offsets[:, self._indices] = forecast.reshape(3, -1)
        else:
            offsets[:] = forecast.T
        median = z + offsets[0]
        return np.stack((median, median - offsets[1], median + offsets[2]))

    def _look_back(self, error: Float64Array) -> None:
        """Add the newest row to the window; write reconstruction errors to ``error`` if a reconstruction is due."""
        state = self._state
        self._read.push(state.scaled)
        self._present.push(self._valid.astype(np.float32))
        state.rows += 1
        spec = self._spec
        if state.rows < spec.rows or state.rows % spec.stride:
            return
        n = state.scaled.size
        points = self._read.view().reshape(n, spec.window, spec.block).mean(axis=2, dtype=np.float64)
        compressed = compress((points - state.centre[:, None]) / self._spread[:, None])
        offset = compressed.mean(axis=1, keepdims=True) if spec.centred else np.zeros((n, 1))
        shown = compressed - offset
        if self._joint:
            rebuilt = np.empty_like(shown)
            flat = self._autoencoder.reconstruct(shown[self._indices].T.reshape(1, -1))
            rebuilt[self._indices] = flat.reshape(spec.window, n).T
        else:
            rebuilt = self._autoencoder.reconstruct(shown).astype(np.float64)
        judged = slice(-spec.judged, None)
        newest, reconstructed = compressed[:, judged], (rebuilt + offset)[:, judged]
        error[:] = self._spread * window_error(newest, reconstructed, centred=spec.centred)
        error[self._present.view().mean(axis=1) < 1.0 - MOST_MISSING] = np.nan


def window_error(points: Float64Array, rebuilt: Float64Array, *, centred: bool) -> Float64Array:
    """Reconstruction error per window, float64[...] ≥ 0 in spreads.

    Parameters
    ----------
    points, rebuilt
        float64[..., points] on the compressed scale.
    centred
        Whether shapes are judged. The error is then the median over the points, which a peak slightly early or late
        does not change; otherwise it is the mean.
    """
    error = np.abs(expand(points) - expand(rebuilt))
    summed: Float64Array = np.median(error, axis=-1) if centred else np.mean(error, axis=-1)
    return summed


def _order(channels: Sequence[Channel], bundle: Bundle, interval_s: float) -> list[int]:
    """Index in the bundle of each channel here.

    Raises
    ------
    UserError
        Names or sampling interval differ from those of the training.
    """
    manifest = bundle.manifest
    known, here = list(manifest.channels), [c.name for c in channels]
    location = f"{bundle.directory}: {bundle.label}"
    missing, unknown = sorted(set(known) - set(here)), sorted(set(here) - set(known))
    if missing or unknown:
        parts = [
            f"it needs {', '.join(missing)}" if missing else "",
            f"it knows no {', '.join(unknown)}" if unknown else "",
        ]
        raise UserError(
            "the bundle was trained for other channels: " + "; ".join(filter(None, parts)),
            location=location,
            remedy="monitor just the channels it was trained for, train on the present ones, or use `builtin`",
        )
    trained_s = float(manifest.interval_s)
    if abs(interval_s - trained_s) > _INTERVAL_TOLERANCE * trained_s:
        raise UserError(
            f"the bundle was trained for a reading every {trained_s:g} s, here it would get one every {interval_s:g} s",
            location=location,
            remedy=f"set `interval_s: {trained_s:g}`, or train on data of this interval",
        )
    return [known.index(name) for name in here]
