"""Preparation of recordings for training: scaling, split in time, windows.

No information leaks between the parts: scaling comes from the training part alone, and every window lies within one
part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from agent.core.errors import UserError
from agent.detection.scaling import Scale, compress, expand
from agent.detection.seasonality import time_features
from agent.models.features import TIME_FEATURES
from agent.models.manifest import MAX_INTERVAL_S, FixedScaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
    from agent.core.channel import Channel
    from training.data.recording import Recording

__all__ = ["Part", "Prepared", "ScalingMethod", "Split", "dominant_period", "prepare"]

ScalingMethod: TypeAlias = Literal["robust", "standard", "minmax"]

# All chosen by hand.
_BLOCK = 1 << 18  # rows scaled at a time
_SAMPLE = 1 << 20  # largest number of rows for the statistics of scaling
_READINGS = 1 << 20  # readings averaged at a time
# Shares of training, validation and calibration in the rows before the test part, and share of the test part in all
# rows unless the data set defines the end of training.
_SHARES = (0.70, 0.12, 0.18)
_TEST_SHARE = 0.10
_MOST_MISSING = 0.1  # largest share of missing readings in a training window
_PERIOD_ROWS = 1 << 16  # rows searched for a period
_PERIODS = (8, 512)  # shortest and longest period in rows
_NAMED = 3  # recordings named in messages


class Split(NamedTuple):
    """Consecutive parts of a recording as slices of rows; each ends where the next begins."""

    train: slice
    validation: slice
    calibration: slice
    test: slice


@dataclass(frozen=True)
class Part:
    """One recording, scaled and split.

    Parameters
    ----------
    recording
        The recording before scaling.
    z
        float32[rows, n_channels], scaled and compressed; a missing reading repeats the last one.
    present
        bool[rows, n_channels], False where a reading is missing.
    split
        Rows for training, validation, calibration and test.
    """

    recording: Recording
    z: Float32Array
    present: BoolArray
    split: Split
    # int64[rows + 1], cumulative count of missing readings; a label or a break counts enough to exclude its windows.
    _unusable: IntArray

    def ends(self, part: slice, length: int, step: int = 1) -> IntArray:
        """Find usable windows of one part: no labelled row, no break in time, at most 10 % of readings missing.

        Parameters
        ----------
        part
            One of the slices of the split.
        length
            Rows per window.
        step
            Rows from one window to the next.

        Returns
        -------
        int64[n_windows], the last row of each.
        """
        ends = np.arange(part.start + length - 1, part.stop, step)
        count = self._unusable
        unusable = count[ends + 1] - count[ends + 1 - length]
        found: IntArray = ends[unusable <= _MOST_MISSING * length * self.z.shape[1]]
        return found

    def points(self, ends: IntArray, window: int, block: int) -> Float32Array:
        """Windows of block means, float32[n, window, n_channels], that end at rows ``ends``, int64[n]."""
        length, n_channels = window * block, self.z.shape[1]
        view, at = np.lib.stride_tricks.sliding_window_view(self.z, length, axis=0), ends - length + 1
        if block == 1:
            return np.ascontiguousarray(view[at].transpose(0, 2, 1))
        points = np.empty((len(ends), window, n_channels), np.float32)
        many = max(1, _READINGS // (length * n_channels))
        for first in range(0, len(ends), many):
            some = slice(first, first + many)
            # Average uncompressed values, as the device does.
            means = expand(view[at[some]]).reshape(-1, n_channels, window, block).mean(axis=3)
            points[some] = compress(means).transpose(0, 2, 1)
        return points

    def clock(self, rows: Any, names: Sequence[str]) -> Float32Array:
        """Features of the time at the given rows, float32[..., len(names)]."""
        return time_features(self.recording.time[rows], names)


@dataclass(frozen=True)
class Prepared:
    """Prepared recordings, for training and evaluation.

    Parameters
    ----------
    channels
        Channels with unit, scale and smallest effect.
    interval_s
        Seconds between rows.
    scaling
        Centre and spread of each channel, for the manifest.
    clock
        Names of the features of the time that the networks use.
    parts
        One per recording.
    notes
        Remarks for the report, one sentence each.
    """

    channels: tuple[Channel, ...]
    interval_s: float
    scaling: FixedScaling
    clock: tuple[str, ...]
    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    @property
    def place(self) -> str:
        """Names of the recordings, for messages."""
        names = [part.recording.name for part in self.parts]
        return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def prepare(
    recordings: Sequence[Recording], *, method: ScalingMethod, clock: Literal["auto", "none"] = "auto"
) -> Prepared:
    """Scale and split recordings of the same channels.

    Parameters
    ----------
    recordings
        Recordings with the same channels in the same order and the same interval.
    method
        ``robust``: median and interquartile range. ``standard``: mean and standard deviation. ``minmax``: middle and
        half of the range.
    clock
        ``auto``: use the hour of the day if the data has time stamps, an interval of at most two hours, and spans at
        least four days; use the day of the week if it has time stamps and spans at least three weeks. ``none``: use
        neither.

    Raises
    ------
    UserError
        A channel has no reading in the training part, the intervals differ, or the interval is longer than a day.
    """
    first = recordings[0]
    _check_interval(recordings)
    scale = Scale(first.channels)
    splits = [_split(recording) for recording in recordings]
    sample = np.concatenate([_sample(r, s, scale, len(recordings)) for r, s in zip(recordings, splits, strict=True)])
    _check_readings(sample, first)
    centre, spread, notes = _statistics(sample, method, scale, first.channels)
    parts = [_part(r, s, scale, centre, spread) for r, s in zip(recordings, splits, strict=True)]
    scaling = FixedScaling(
        method=method,
        log_reference=[c.log_reference for c in first.channels],
        effect=[c.effect for c in first.channels],
        centre=centre.tolist(),
        spread=spread.tolist(),
    )
    timed = clock == "auto" and all(recording.timed for recording in recordings)
    names = _clock(recordings, first.interval_s) if timed else ()
    return Prepared(first.channels, first.interval_s, scaling, names, tuple(parts), tuple(notes))


def dominant_period(parts: Sequence[Part]) -> int | None:
    """Find the common period of the channels by autocorrelation.

    Candidates are local maxima of the mean autocorrelation over channels that are at least 0.4 and exceed the lowest
    value before them by 0.2. The first candidate with at least 90 % of the highest one wins, because multiples of the
    period are as high as the period. Noise may split a peak; the highest candidate below 1.5 times that lag is the
    result. The numbers are chosen by hand.

    Returns
    -------
    Period in rows, 8 to 512; None if there is no such period.
    """
    longest = max(parts, key=lambda part: part.split.train.stop - part.split.train.start)
    z = longest.z[longest.split.train][:_PERIOD_ROWS].astype(np.float64)
    if len(z) < 4 * _PERIODS[1]:
        return None
    z = z - z.mean(axis=0)
    power = np.abs(np.fft.rfft(z, 2 * len(z), axis=0)) ** 2
    correlation = np.fft.irfft(power, axis=0)[: _PERIODS[1] + 2]
    moving = correlation[0] > 1e-9
    if not moving.any():
        return None
    mean = (correlation[:, moving] / correlation[0, moving]).mean(axis=1)
    candidates = [
        lag
        for lag in range(_PERIODS[0], _PERIODS[1] + 1)
        if mean[lag - 1] < mean[lag] >= mean[lag + 1] and mean[lag] >= 0.4 and mean[lag] - mean[:lag].min() >= 0.2
    ]
    if not candidates:
        return None
    highest = max(mean[lag] for lag in candidates)
    first = next(lag for lag in candidates if mean[lag] >= 0.9 * highest)
    return max((lag for lag in candidates if first <= lag < 1.5 * first), key=mean.__getitem__)


def _split(recording: Recording) -> Split:
    rows = recording.rows
    end = recording.train_rows or round((1.0 - _TEST_SHARE) * rows)
    first, second = round(_SHARES[0] * end), round((_SHARES[0] + _SHARES[1]) * end)
    return Split(slice(0, first), slice(first, second), slice(second, end), slice(end, rows))


def _usable(recording: Recording, rows: slice) -> BoolArray:
    """Mask of rows that are not labelled anomalous, bool[rows]."""
    if recording.labels is None:
        return np.ones(len(range(*rows.indices(recording.rows))), bool)
    return ~recording.labels[rows]


def _sample(recording: Recording, split: Split, scale: Scale, shares: int) -> Float64Array:
    """Evenly spaced normal rows of the training part on the channel scales; NaN where a reading is missing."""
    step = max(1, (split.train.stop - split.train.start) * shares // _SAMPLE)
    rows = slice(split.train.start, split.train.stop, step)
    scaled, valid = scale.apply(np.asarray(recording.values[rows]))
    scaled[~valid] = np.nan
    return scaled[_usable(recording, rows)]


def _check_interval(recordings: Sequence[Recording]) -> None:
    first = recordings[0]
    for recording in recordings:
        if recording.interval_s != first.interval_s:
            raise UserError(
                f"{first.name} has a row every {first.interval_s:g} s, {recording.name} every "
                f"{recording.interval_s:g} s",
                location=recording.name,
                remedy="resample all to the same interval with --interval",
            )
    if first.interval_s > MAX_INTERVAL_S:
        raise UserError(
            f"the interval of {first.interval_s:g} s is longer than one day, the longest of an agent",
            location=first.name,
            remedy="use data with more frequent rows, or a shorter --interval",
        )


def _check_readings(sample: Float64Array, first: Recording) -> None:
    counts = np.isfinite(sample).sum(axis=0)
    empty = [channel.name for channel, count in zip(first.channels, counts, strict=True) if not count]
    if empty:
        raise UserError(
            f"channels without a valid reading in the training part: {', '.join(empty)}",
            location=first.name,
            remedy="choose other channels with --channels, or use data in which these are recorded",
        )


def _statistics(
    sample: Float64Array, method: ScalingMethod, scale: Scale, channels: Sequence[Channel]
) -> tuple[Float64Array, Float64Array, list[str]]:
    """Centre and spread of each channel, float64[n_channels] each, and notes on constant channels."""
    low, middle, high = np.nanquantile(sample, [0.25, 0.5, 0.75], axis=0)
    smallest, largest = np.nanmin(sample, axis=0), np.nanmax(sample, axis=0)
    centre, spread = np.nanmean(sample, axis=0), np.nanstd(sample, axis=0)
    if method == "robust":
        # The interquartile range of a normal distribution is 1.349 standard deviations. It is 0 for a mostly constant
        # channel; part of the standard deviation replaces it.
        centre, spread = middle, np.maximum((high - low) / 1.349, 0.2 * spread)
    elif method == "minmax":
        centre, spread = (smallest + largest) / 2.0, (largest - smallest) / 2.0
    constant = largest == smallest
    floor = np.maximum(np.maximum(scale.effect / 10.0, np.abs(centre) * 1e-6), 1e-9)
    # Constant channel: the first change must be conspicuous, but not infinitely large.
    spread = np.where(constant, np.maximum(floor, 0.01 * np.abs(centre)), np.maximum(spread, floor))
    notes = [
        f"{c.name} is constant ({value:g}) in the training part: any change counts as a large deviation"
        for c, still, value in zip(channels, constant, centre, strict=True)
        if still
    ]
    return centre, spread, notes


def _part(recording: Recording, split: Split, scale: Scale, centre: Float64Array, spread: Float64Array) -> Part:
    rows, n_channels = recording.values.shape
    z = np.empty((rows, n_channels), np.float32)
    present = np.empty((rows, n_channels), bool)
    last = np.zeros(n_channels, np.float32)
    for begin in range(0, rows, _BLOCK):
        block = slice(begin, begin + _BLOCK)
        scaled, valid = scale.apply(np.asarray(recording.values[block]))
        z[block] = compress((scaled - centre) / spread)
        present[block] = valid
        _hold(z[block], valid, last)
        last = z[block][-1].copy()
    unusable = n_channels - present.sum(axis=1, dtype=np.int64)
    unusable[~_usable(recording, slice(0, rows))] += rows * n_channels
    breaks = 1 + np.flatnonzero(np.diff(recording.time) > 1.5 * recording.interval_s)
    # Marks the row before a break: no window spans it, and a window may begin right after it.
    unusable[breaks - 1] += rows * n_channels
    return Part(recording, z, present, split, np.concatenate(([0], np.cumsum(unusable))))


def _hold(z: Float32Array, valid: BoolArray, last: Float32Array) -> None:
    """Replace a missing reading by the last one before it, as the device does."""
    if valid.all():
        return
    rows = np.where(valid, np.arange(len(z))[:, None], -1)
    np.maximum.accumulate(rows, axis=0, out=rows)
    repeated = np.take_along_axis(z, np.maximum(rows, 0), axis=0)
    z[:] = np.where(rows < 0, last, repeated)


def _clock(recordings: Sequence[Recording], interval_s: float) -> tuple[str, ...]:
    days = max(float(r.time[-1] - r.time[0]) for r in recordings) / 86400.0
    longest = (86400.0 if days >= 4 and interval_s <= 7200.0 else 0.0, 604800.0 if days >= 21 else 0.0)
    return tuple(name for name, cycle_s in TIME_FEATURES.items() if cycle_s in longest)
