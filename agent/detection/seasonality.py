"""Seasonal inputs and errors: values a day and a week before, and time features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number
from agent.detection.scaling import squash
from agent.models.features import SEASON_FEATURES, TIME_FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray


__all__ = ["Seasons", "time_features"]

# Days before a row that it is compared with, all of them: so neither an anomaly of yesterday nor a weekend is the
# measure.
_DAYS = np.array([1, 2, 7])
# Part of a day by which events may shift: half an hour. Chosen by hand.
_SHIFT = 1.0 / 48.0
# Midnight of Monday, 5 January 1970, seconds since 1970.
_A_MONDAY = 345_600.0


class SeasonsState(State):
    """Fields of `Seasons` that outlive a restart."""

    values: Float32Array = array("channel's scale", "day_row", CHANNEL, initial=np.nan, dtype=np.float32)
    rows: int = number("rows so far, including skipped ones", initial=0)


class Seasons:
    """Remembers a week of each channel and compares the row to come with a day and a week before it.

    Parameters
    ----------
    day
        int64[n_channels], rows per day; 0: the channel has no seasonal features, all are 0.
    thin
        Remember one row out of this many, if it divides the rows of a day; each row is then compared with the nearest
        remembered one. Otherwise remember all.

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
        shift = int(day.max() * _SHIFT)
        self._capacity = int(self._lags.max()) + 1
        # Rows before, by day before, row around that time, and channel; none older than a week.
        around = _DAYS[:, None, None] * day + np.arange(-shift, shift + 1)[:, None]
        self._around = np.minimum(around, self._capacity - 1)
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
        """Rows so far, including skipped ones."""
        return self._state.rows

    def skip_to(self, row: int) -> None:
        """Continue with this row, counted from 0; the rows in between are unknown."""
        if not self._none:
            begin, end = -(-self._state.rows // self._thin), row // self._thin
            missed = np.arange(max(begin, end - self._capacity), end)
            self._state.values[missed % self._capacity] = np.nan
        self._state.rows = row

    def push(self, scaled: Float64Array) -> None:
        """Remember a row, float64[n_channels] on the channels' scales."""
        if not self._none:
            self._state.values[self._state.rows // self._thin % self._capacity] = scaled
        self._state.rows += 1

    def departure(self, scaled: Float64Array) -> Float64Array:
        """Seasonal error of the row to come: its difference from a day or a week before, whichever is smaller in size.

        Parameters
        ----------
        scaled
            float64[n_channels], the row to come, on the channels' scales.

        Returns
        -------
        Signed difference, float64[n_channels]; NaN where the day before is unknown.
        """
        known, then = self._then()
        day, week = (np.where(k, scaled - value, np.nan) for k, value in zip(known, then[[0, 2]], strict=True))
        departure: Float64Array = np.where(np.abs(week) < np.abs(day), week, day)
        return departure

    def outside(self, scaled: Float64Array) -> Float64Array:
        """Distance of the row to come from the values around its time of one, two and seven days before.

        Values within half an hour of that time form a range for each of these days. The smallest distance counts.

        Parameters
        ----------
        scaled
            float64[n_channels], the row to come, on the channels' scales.

        Returns
        -------
        Signed distance, float64[n_channels]; 0 within a range, NaN where not all of these days are known.
        """
        if self._none:
            return np.full(scaled.size, np.nan)
        then = self._state.values[(self._state.rows // self._thin - self._around) % self._capacity, self._columns]
        low, high = then.min(axis=1).astype(np.float64), then.max(axis=1).astype(np.float64)
        distance = np.maximum(scaled - high, 0.0) + np.minimum(scaled - low, 0.0)
        nearest = np.abs(distance).argmin(axis=0)
        outside: Float64Array = np.where(
            np.isnan(distance).any(axis=0), np.nan, np.take_along_axis(distance, nearest[None], axis=0)[0]
        )
        return outside

    def features(self, centre: Float64Array, spread: Float64Array, change: Float64Array) -> Float32Array:
        """Seasonal inputs of the forecaster for the row to come, float32[n_channels, 5]; see `SEASON_FEATURES`.

        Parameters
        ----------
        centre, spread, change
            float64[n_channels], running statistics of a `Normaliser`.
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
        """Validity of day and week, bool[2, n]; values a day, a day and a row, and a week before, float64[3, n]."""
        then = self._state.values[(self._state.rows // self._thin - self._lags) % self._capacity, self._columns].astype(
            np.float64
        )
        there = np.isfinite(then)
        known = (self._lags[0] > 0) & np.stack((there[0] & there[1], there[2]))
        return known, np.where(there, then, 0.0)


def time_features(wall: Float64Array | float, names: Sequence[str]) -> Float32Array:
    """Hour of the day and day of the week (UTC) as coordinates on a circle, continuous at midnight.

    Parameters
    ----------
    wall
        Seconds since 1970, any shape.
    names
        Names out of `TIME_FEATURES`.

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
