"""From a reading to what the networks see: each channel's scale, its running normalisation, the input features.

The arithmetic here is the same in training and on the device; it exists once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.persistent_state import CHANNEL, Part, State, array, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.types import BoolArray, Channel, Float32Array, Float64Array, IntArray

__all__ = [
    "ABSURD",
    "FEATURES",
    "LEVEL",
    "NORMALISATION_ROWS",
    "SEASON_FEATURES",
    "TIME_FEATURES",
    "Normaliser",
    "Scale",
    "Seasons",
    "compress",
    "expand",
    "squash",
    "time_features",
    "unsquash",
]

# Names and order of the universal forecaster's inputs, recorded in its bundle.
FEATURES = ("level", "change", "dispersion")
# And of what the channel was a day and a week before the row that is to come.
SEASON_FEATURES = ("day", "day_change", "day_known", "week", "week_known")
# What a trained forecaster sees of a channel.
LEVEL = "level"
# Seconds of the cycle behind each feature of the time. Days begin at midnight UTC, weeks on Monday.
TIME_FEATURES = {"hour_sin": 86400.0, "hour_cos": 86400.0, "weekday_sin": 604800.0, "weekday_cos": 604800.0}
_A_MONDAY = 345_600.0  # 5 January 1970
# Memory of the running normalisation in rows: short enough to follow a day's drift, long enough to be a scale.
NORMALISATION_ROWS = 600
# Readings beyond this are instrument errors; below it nothing here overflows float64.
ABSURD = 1e30
_SQUASH_LIMIT = 12.0
_LINEAR_TO = 8.0
_COMPRESSED_LIMIT = 16.0
# Of each feature, as a column.
_FEATURE_LIMITS = np.array([[_SQUASH_LIMIT], [_SQUASH_LIMIT], [6.0]])


class Scale:
    """The scale on which each channel is scored: linear, or logarithmic for rates and latencies.

    Parameters
    ----------
    channels
        The channels, in the order of the frames' values.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        n = len(channels)
        self._log = np.zeros(n, bool)
        self._reference = np.ones(n)
        #: float64[n_channels], the smallest effect worth an alert on the channel's scale.
        self.effect: Float64Array = np.zeros(n)
        self.replace(np.arange(n), channels)

    def replace(self, indices: IntArray, channels: Sequence[Channel]) -> None:
        """Take over the scales of other channels at these indices, int64[m]."""
        reference = np.array([c.log_reference for c in channels], np.float64)
        log = reference > 0
        effect = np.array([c.effect for c in channels], np.float64)
        self._log[indices] = log
        self._reference[indices] = np.where(log, reference, 1.0)
        self.effect[indices] = np.where(log, np.log(np.maximum(effect, 1.0)), np.maximum(effect, 0.0))
        self._any_log = bool(self._log.any())

    def apply(self, values: Float32Array) -> tuple[Float64Array, BoolArray]:
        """Bring readings onto their scale.

        Parameters
        ----------
        values
            float32[n_channels], NaN where missing.

        Returns
        -------
        scaled
            float64[n_channels]; 0 where not valid.
        valid
            bool[n_channels], False where missing, infinite or absurd (beyond 1e30).
        """
        scaled: Float64Array = values.astype(np.float64)
        valid: BoolArray = np.abs(scaled) < ABSURD
        if np.count_nonzero(valid) < valid.size:
            scaled[~valid] = 0.0
        if self._any_log:
            np.log1p(np.maximum(scaled, 0.0) / self._reference, out=scaled, where=self._log)
        return scaled, valid

    def invert(self, scaled: Float64Array) -> Float64Array:
        """Bring scaled numbers back to the channels' units; float64[n_channels]."""
        if not self._any_log:
            return scaled
        return np.where(self._log, np.expm1(_between(scaled, 0.0, 80.0)) * self._reference, scaled)


class SeasonsState(State):
    """Fields of `Seasons` that outlive a restart."""

    values: Float32Array = array("channel's scale", "day_row", CHANNEL, initial=np.nan, dtype=np.float32)
    rows: int = number("rows pushed or skipped", initial=0)


class Seasons:
    """What each channel was a day and a week before the row that is to come, where that is known.

    Parameters
    ----------
    day
        int64[n_channels], rows a day; 0 for a channel whose days are not told apart, and then all its features are 0.
    thin
        Of so many rows one is remembered, where a day has a multiple of them: a day before is then that day's nearest
        remembered row.

    Examples
    --------
    >>> seasons = Seasons(np.array([2]))
    >>> for value in (-1.0, 1.0, -1.0):
    ...     seasons.push(np.array([value]))
    >>> seasons.features(np.array([0.0]), np.array([1.0]), np.array([2.0])).astype(float).round(2).tolist()
    [[0.88, 0.88, 1.0, 0.0, 0.0]]
    """

    def __init__(self, day: IntArray, thin: int = 1) -> None:
        self._thin = thin = 1 if (day % thin).any() else thin
        day = day // thin
        self._lags = np.stack((day, day + 1, 7 * day))
        self._capacity = int(self._lags.max()) + 1
        self._none = not day.any()
        self._state = SeasonsState(day_row=self._capacity, channel=day.size)
        self._columns = np.arange(day.size)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state, large=True)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    @property
    def rows(self) -> int:
        """Rows so far, pushed or skipped."""
        return self._state.rows

    def skip_to(self, row: int) -> None:
        """Go on with the row of that number, from 0; what was between is not known."""
        if not self._none:
            begin, end = -(-self._state.rows // self._thin), row // self._thin
            missed = np.arange(max(begin, end - self._capacity), end)
            self._state.values[missed % self._capacity] = np.nan
        self._state.rows = row

    def push(self, scaled: Float64Array) -> None:
        """Take in a row, float64[n_channels] on the channels' scale."""
        if not self._none:
            self._state.values[self._state.rows // self._thin % self._capacity] = scaled
        self._state.rows += 1

    def departure(self, scaled: Float64Array) -> Float64Array:
        """How far the row to come departs from both a day and a week before it: the smaller of the two, with its sign.

        Parameters
        ----------
        scaled
            float64[n_channels], the row.

        Returns
        -------
        float64[n_channels]; NaN where not even the day before is known.
        """
        known, then = self._then()
        day, week = (np.where(k, scaled - value, np.nan) for k, value in zip(known, then[[0, 2]], strict=True))
        departure: Float64Array = np.where(np.abs(week) < np.abs(day), week, day)
        return departure

    def features(self, centre: Float64Array, spread: Float64Array, change: Float64Array) -> Float32Array:
        """Give the features for the next row, float32[n_channels, 5], see `SEASON_FEATURES`.

        Parameters
        ----------
        centre, spread, change
            float64[n_channels], the running statistics.
        """
        found = np.zeros((len(SEASON_FEATURES), centre.size))
        if not self._none:
            known, then = self._then()
            found[0] = squash((then[0] - centre) / spread) * known[0]
            found[1] = squash((then[0] - then[1]) / change) * known[0]
            found[2] = known[0]
            found[3] = squash((then[2] - centre) / spread) * known[1]
            found[4] = known[1]
        return np.ascontiguousarray(found.T, np.float32)

    def _then(self) -> tuple[BoolArray, Float64Array]:
        """Whether day and week are known, bool[2, n]; values a day, a day and a row, a week before, float64[3, n]."""
        then = self._state.values[(self._state.rows // self._thin - self._lags) % self._capacity, self._columns].astype(
            np.float64
        )
        there = np.isfinite(then)
        known = (self._lags[0] > 0) & np.stack((there[0] & there[1], there[2]))
        return known, np.where(there, then, 0.0)


def time_features(wall: Float64Array | float, names: Sequence[str]) -> Float32Array:
    """Hour of the day and day of the week as points on a circle, so that midnight is beside midnight.

    Parameters
    ----------
    wall
        Seconds since 1970, any shape.
    names
        Of `TIME_FEATURES`.

    Returns
    -------
    float32[..., len(names)], within -1 and 1.

    Examples
    --------
    >>> time_features(6 * 3600.0, ["hour_sin", "hour_cos"]).round(6).tolist()
    [1.0, 0.0]
    """
    since = np.asarray(wall, np.float64) - _A_MONDAY
    columns = []
    for name in names:
        angle = since % TIME_FEATURES[name] * (2.0 * np.pi / TIME_FEATURES[name])
        columns.append(np.sin(angle) if name.endswith("sin") else np.cos(angle))
    return np.stack(columns, axis=-1).astype(np.float32) if columns else np.zeros((*since.shape, 0), np.float32)


def squash(normalised: Float64Array) -> Float64Array:
    """Compress a normalised value into a few units, without losing its order: asinh, clipped."""
    return _between(np.arcsinh(normalised), -_SQUASH_LIMIT, _SQUASH_LIMIT)


def unsquash(squashed: Float64Array | Float32Array) -> Float64Array:
    """Undo `squash`."""
    wide: Float64Array = np.sinh(_between(squashed, -_SQUASH_LIMIT, _SQUASH_LIMIT))
    return wide


def compress(scaled: Float64Array) -> Float64Array:
    """Keep a value scaled by training as it is up to 8 spreads, and take the logarithm of what lies beyond.

    What is usual keeps its shape, and a wild reading stays a few units.

    Examples
    --------
    >>> compress(np.array([-3.0, 8.0, 108.0])).round(2).tolist()
    [-3.0, 8.0, 12.62]
    """
    beyond = np.abs(scaled) - _LINEAR_TO
    outside = np.copysign(_LINEAR_TO + np.log1p(np.maximum(beyond, 0.0)), scaled)
    return _between(np.where(beyond > 0.0, outside, scaled), -_COMPRESSED_LIMIT, _COMPRESSED_LIMIT)


def expand(compressed: Float64Array | Float32Array) -> Float64Array:
    """Undo `compress`."""
    within = _between(compressed, -_COMPRESSED_LIMIT, _COMPRESSED_LIMIT)
    beyond = np.abs(within) - _LINEAR_TO
    outside = np.copysign(_LINEAR_TO + np.expm1(np.maximum(beyond, 0.0)), within)
    expanded: Float64Array = np.where(beyond > 0.0, outside, within)
    return expanded


def _between(
    values: Float64Array | Float32Array, low: float | Float64Array, high: float | Float64Array
) -> Float64Array:
    """Clip; np.clip takes several times as long on the few numbers of a step."""
    clipped: Float64Array = np.maximum(np.minimum(values, high), low)
    return clipped


class NormaliserState(State):
    """Fields of a `Normaliser` that outlive a restart."""

    count: Float64Array = array("readings learned", CHANNEL)
    centre: Float64Array = array("channel's scale", CHANNEL)
    # Mean absolute deviation from the centre, and mean absolute change.
    moments: Float64Array = array("channel's scale", 2, CHANNEL)
    last: Float64Array = array("channel's scale", CHANNEL)
    fewest: float = number("readings learned of every channel", initial=0.0, after_reset=0.0)
    spread: Float64Array = array("channel's scale", CHANNEL)
    usual_change: Float64Array = array("channel's scale", CHANNEL)
    rate: Float64Array = array("share of the newest reading", CHANNEL)


class Normaliser:
    """Exponentially weighted centre, deviation and mean change of every channel.

    The rate is ``max(1 / n, 1 / memory)`` with n the readings seen, so the first readings count fully.

    Parameters
    ----------
    n_channels
        How many channels (or series, in training) run side by side.
    floor
        float64[n_channels], smallest deviation on the channel's scale that is told from none.
    memory
        Rows.

    Examples
    --------
    >>> normaliser = Normaliser(1, np.array([0.0]))
    >>> for value in (4.0, 6.0, 5.0):
    ...     features = normaliser.update(np.array([value]), np.array([True]))
    >>> float(normaliser.centre[0])
    5.0
    >>> features.shape
    (1, 3)
    """

    def __init__(self, n_channels: int, floor: Float64Array, memory: int = NORMALISATION_ROWS) -> None:
        self._floor = np.maximum(floor, 1e-9)
        self._slowest = 1.0 / memory
        self._state = NormaliserState(channel=n_channels)
        self._begin(np.arange(n_channels))

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray, floor: Float64Array) -> None:
        """Forget these channels, int64[m]; float64[m] is the smallest deviation of those that come instead."""
        self._state.reset(channels)
        self._floor[channels] = np.maximum(floor, 1e-9)
        self._begin(channels)

    def _begin(self, channels: IntArray) -> None:
        """Divide by the smallest deviation until more is known of these channels."""
        self._state.spread[channels] = self._floor[channels]
        self._state.usual_change[channels] = self._floor[channels]

    @property
    def count(self) -> Float64Array:
        """Readings learned, float64[n_channels]."""
        return self._state.count

    @property
    def centre(self) -> Float64Array:
        """Running centre, float64[n_channels]."""
        return self._state.centre

    @property
    def spread(self) -> Float64Array:
        """Deviation to divide by, float64[n_channels] > 0."""
        return self._state.spread

    @property
    def usual_change(self) -> Float64Array:
        """Change from one reading to the next to divide by, float64[n_channels] > 0."""
        return self._state.usual_change

    @property
    def rate(self) -> Float64Array:
        """Share of the newest reading in the statistics, float64[n_channels]; 0 where it was not learned."""
        return self._state.rate

    @property
    def deviation(self) -> Float64Array:
        """Mean absolute deviation from the centre, float64[n_channels]."""
        deviation: Float64Array = self._state.moments[0]
        return deviation

    @property
    def change(self) -> Float64Array:
        """Mean absolute change from one reading to the next, float64[n_channels]."""
        change: Float64Array = self._state.moments[1]
        return change

    def _measure_spread(self) -> Float64Array:
        """The deviation to divide by: not less than what is told from none."""
        state = self._state
        spread: Float64Array = np.maximum(np.maximum(np.abs(state.centre) * 1e-6, self._floor), state.moments[0])
        return spread

    def update(self, scaled: Float64Array, learn: BoolArray) -> Float32Array:
        """Take in one row and give the forecaster's input.

        Parameters
        ----------
        scaled
            float64[n_channels], readings on their scale.
        learn
            bool[n_channels]; the others keep their statistics and their last value.

        Returns
        -------
        features
            float32[n_channels, 3], see `FEATURES`.
        """
        state = self._state
        if not state.fewest:
            first = learn & (state.count == 0)
            state.last[first] = scaled[first]
        state.rate = rate = self._rate(learn)
        step = scaled - state.last
        if np.count_nonzero(learn) < learn.size:
            # Where nothing is learned, step and rate are 0 and everything stays.
            step *= learn
        state.last += step
        state.centre += rate * (state.last - state.centre)
        level = state.last - state.centre
        sizes = np.empty_like(state.moments)
        np.abs(level, out=sizes[0])
        np.abs(step, out=sizes[1])
        sizes -= state.moments
        sizes *= rate
        state.moments += sizes
        state.spread = spread = self._measure_spread()
        state.usual_change = change = np.maximum(state.moments[1], 0.05 * spread)
        features = np.empty((len(FEATURES), level.size))
        np.divide(level, spread, out=features[0])
        np.divide(step, change, out=features[1])
        np.arcsinh(features[:2], out=features[:2])
        np.log(spread / change, out=features[2])
        return np.ascontiguousarray(_between(features, -_FEATURE_LIMITS, _FEATURE_LIMITS).T, np.float32)

    def _rate(self, learn: BoolArray) -> Float64Array:
        """What share of a new reading goes into the statistics: 0 where nothing is learned."""
        state = self._state
        if state.fewest * self._slowest >= 1.0:
            return np.multiply(self._slowest, learn, dtype=np.float64)
        state.count += learn
        state.fewest = float(state.count.min())
        rate: Float64Array = np.maximum(1.0 / np.maximum(state.count, 1.0), self._slowest) * learn
        return rate
