"""Plain twins of the streaming parts: one channel, Python numbers, the whole past in a list, and no shortcuts.

Each twin takes one reading at a time, None where there is none, and says what the part in `agent` must say of that
channel. Running means are worked out from explicit weights, running quantiles of windows by sorting, searches by
looking at every moment of the past.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import Float64Array

__all__ = [
    "AnalogForecastTwin",
    "FlatLineTwin",
    "LevelTwin",
    "LikelihoodTwin",
    "LinearForecastTwin",
    "MadTwin",
    "MeanStdTwin",
    "NormaliserTwin",
    "PercentileTwin",
    "RangeNoveltyTwin",
    "RelativeErrorTwin",
    "SeasonsTwin",
    "SpotTwin",
    "Twin",
    "budget_level",
    "cross_channel_moments",
    "rate_of_change",
    "unexpected_by_regression",
]

TINY = 1e-12


class Twin(Protocol):
    """One channel of a part."""

    def take(self, row: int, value: float | None) -> None:
        """Take in the reading of a row; rows count from 0 with the part, not with the channel."""

    def said(self) -> tuple[float, ...]:
        """What the part must say after it."""


class _Weighted:
    """Values and their weights in a running mean whose rate is ``max(1 / n, 1 / memory)``; the weights sum to 1.

    That is the plain mean of the first ``memory`` values, and from then on an exponentially weighted one.
    """

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._values: list[float] = []
        self._weights = np.zeros(0)

    def add(self, value: float) -> None:
        self._values.append(value)
        rate = max(1.0 / len(self._values), 1.0 / self._memory)
        self._weights = np.append(self._weights * (1.0 - rate), rate)

    @property
    def count(self) -> int:
        return len(self._values)

    def mean(self) -> float:
        return float(np.dot(self._weights, self._values)) if self._values else 0.0

    def variance(self) -> float:
        """Weighted mean square of the distances from the weighted mean."""
        return float(np.dot(self._weights, (np.array(self._values) - self.mean()) ** 2)) if self._values else 0.0


class NormaliserTwin:
    """Centre, mean absolute deviation from the centre of that time, mean absolute change."""

    def __init__(self, floor: float, memory: float) -> None:
        self._floor = max(floor, 1e-9)
        self._readings = _Weighted(memory)
        self._deviations, self._changes = _Weighted(memory), _Weighted(memory)
        self._last = 0.0
        self._step = 0.0

    def take(self, row: int, value: float | None) -> None:
        self._step = 0.0
        if value is None:
            return
        self._step = value - self._last if self._readings.count else 0.0
        self._last = value
        self._readings.add(value)
        self._deviations.add(abs(value - self._readings.mean()))
        self._changes.add(abs(self._step))

    def said(self) -> tuple[float, ...]:
        centre = self._readings.mean()
        spread = max(self._deviations.mean(), 1e-6 * abs(centre), self._floor)
        change = max(self._changes.mean(), 0.05 * spread)
        features = (
            np.clip(np.arcsinh((self._last - centre) / spread), -12.0, 12.0),
            np.clip(np.arcsinh(self._step / change), -12.0, 12.0),
            np.clip(math.log(spread / change), -6.0, 6.0),
        )
        return (centre, self._deviations.mean(), self._changes.mean(), *map(float, features))


class SeasonsTwin:
    """All rows in a list; a day before is looked up by its index.

    Of thinned rows, the last of each group of ``thin`` stands for all of them.
    """

    def __init__(self, day: int, thin: int) -> None:
        self._thin = 1 if day % thin else thin
        self._day = day
        self._rows: list[float | None] = []

    def take(self, row: int, value: float | None) -> None:
        # A channel that is new knows nothing of the rows before it.
        self._rows += [None] * (row - len(self._rows))
        self._rows.append(None if value is None else float(np.float32(value)))

    def said(self) -> tuple[float, ...]:
        """Features of a channel of centre 0, spread 1 and change 1, and how far 2.5 would depart from day and week."""
        day, later, week = (self._before(back) for back in (self._day, self._day + self._thin, 7 * self._day))
        if not self._day or day is None or later is None:
            day = later = None
        if not self._day:
            week = None
        departures = [2.5 - then for then in (day, week) if then is not None]
        return (
            0.0 if day is None else math.asinh(day),
            0.0 if day is None or later is None else math.asinh(day - later),
            float(day is not None),
            0.0 if week is None else math.asinh(week),
            float(week is not None),
            min(departures, key=abs) if day is not None else math.nan,
        )

    def _before(self, rows: int) -> float | None:
        group = (len(self._rows) - rows) // self._thin
        last = group * self._thin + self._thin - 1
        return self._rows[last] if 0 <= last < len(self._rows) else None


class RelativeErrorTwin:
    """Size over its running mean; one size counts for five usual sizes at most once 20 are known."""

    def __init__(self, memory: float, settled: float = math.inf, floor: float = 0.0) -> None:
        self._memory, self._settled, self._floor = memory, settled, floor
        self.count = 0
        self.usual = 0.0

    def rate(self) -> float:
        young = 1.0 / max(self.count, 1) if self.count <= self._settled else 0.0
        return max(young, 1.0 / self._memory)

    def of(self, size: float, floor: float | None = None) -> float:
        floor = self._floor if floor is None else floor
        return size / max(self.usual, floor + 1e-9) if self.count > 20 else 0.0

    def learn(self, size: float, floor: float | None = None) -> None:
        floor = self._floor if floor is None else floor
        self.count += 1
        if self.count > 20:
            size = min(size, 5.0 * max(self.usual, floor + 1e-9))
        self.usual += self.rate() * (size - self.usual)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self.learn(abs(value))

    def said(self) -> tuple[float, ...]:
        return self.usual, self.of(3.0)


class LevelTwin:
    """Short mean of six values against a slow centre that follows one usual deviation at most."""

    def __init__(self, memory: float) -> None:
        self._ratio = RelativeErrorTwin(memory, settled=60.0)
        self._values: list[float] = []
        self._mean = self._centre = 0.0
        self._relative = 0.0

    @property
    def _floor(self) -> float:
        return 0.002 * (max(self._values) - min(self._values)) if self._values else 0.0

    def take(self, row: int, value: float | None) -> None:
        self._relative = 0.0
        if value is None:
            return
        floor = self._floor
        if not self._values:
            self._mean = self._centre = value
        self._mean += (value - self._mean) / min(len(self._values) + 1, 6)
        deviation = self._mean - self._centre
        self._relative = self._ratio.of(abs(deviation), floor)
        most = max(self._ratio.usual, floor + 1e-9) if self._ratio.count > 20 else math.inf
        self._ratio.learn(abs(deviation), floor)
        self._centre += self._ratio.rate() * min(max(deviation, -most), most)
        self._values.append(value)

    def said(self) -> tuple[float, ...]:
        return self._relative, self._floor


class FlatLineTwin:
    """Cuts all readings into runs of equal values and holds the last one against those before it."""

    def __init__(self, interval_s: float, floor: float) -> None:
        self._floor = floor
        self._share_rows = max(60.0, 600.0 / interval_s)
        self._shortest = max(12.0, 60.0 / interval_s)
        self._kept = 0.5 ** (interval_s / (7 * 86400.0))
        # Each run: its first value, its readings, the share of changes when it began; and the rows at which runs ended.
        self._runs: list[tuple[float, int, float]] = []
        self._ended: list[int] = []
        self._count = 0
        self._share = 0.0
        self._row = 0

    def take(self, row: int, value: float | None) -> None:
        self._row = row
        if value is None:
            return
        changed = not self._runs or not abs(value - self._runs[-1][0]) <= self._floor
        self._count += 1
        self._share += (changed - self._share) / min(self._count, self._share_rows)
        if changed:
            if self._runs:
                self._ended.append(row)
            self._runs.append((value, 1, self._share))
        else:
            first, length, share = self._runs[-1]
            self._runs[-1] = first, length + 1, share

    def said(self) -> tuple[float, ...]:
        if not self._runs:
            return (0.0,)
        _, length, share = self._runs[-1]
        share = min(share, 1.0 - 1e-9)
        if share <= 0.2 or self._count - length < self._share_rows:
            return (0.0,)
        longest = max(
            (run[1] * self._kept ** (self._row - ended) for run, ended in zip(self._runs, self._ended, strict=False)),
            default=0.0,
        )
        # A million to one that a channel which changes this often stays as it is for so many readings.
        by_chance = math.log(1e-6) / math.log1p(-share)
        return (length / max(self._shortest, by_chance, 5.0 * longest),)


class RangeNoveltyTwin:
    """Range of the errors, drawn towards their mean every so many rows."""

    def __init__(self, effect: float, memory: float, novelty: float) -> None:
        self._half_effect = effect / 2 + TINY
        self._memory, self._novelty = memory, novelty
        self._between = max(1, round(memory / 1000.0))
        self._errors = _Weighted(memory)
        self._low = self._high = 0.0
        self._relaxed_at = 0

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self._errors.add(value)
            share = 1.0 if self._errors.count <= 100 else 0.5
            self._high += share * max(value - self._high, 0.0)
            self._low -= share * max(self._low - value, 0.0)
        if (row + 1) % self._between == 0:
            forgotten = 1.0 - math.exp(-(self._errors.count - self._relaxed_at) / self._memory)
            self._relaxed_at = self._errors.count
            mean = self._errors.mean()
            self._high += forgotten * (mean - self._high)
            self._low += forgotten * (mean - self._low)

    def said(self) -> tuple[float, ...]:
        margin = self._novelty * (1.0 + 30.0 / max(self._errors.count, 1)) * (self._high - self._low)
        beyond = margin + self._half_effect
        return min(self._low, 0.0) - beyond, max(self._high, 0.0) + beyond


class MeanStdTwin:
    """Mean and standard deviation from all errors and their weights."""

    def __init__(self, effect: float, memory: float, k: float) -> None:
        self._effect, self._k = max(effect, TINY), k
        self._errors = _Weighted(memory)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self._errors.add(value)

    def said(self) -> tuple[float, ...]:
        mean, spread = self._errors.mean(), self._k * math.sqrt(self._errors.variance())
        return min(mean - spread, -self._effect), max(mean + spread, self._effect)


class LikelihoodTwin:
    """The limit is the error that would bring the short mean to the end of what is usual for it."""

    def __init__(self, effect: float, memory: float, k: float, short_rows: float) -> None:
        self._effect, self._k, self._short_rows = max(effect, TINY), k, short_rows
        self._errors, self._means = _Weighted(short_rows), _Weighted(memory)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self._errors.add(value)
            self._means.add(self._errors.mean())

    def said(self) -> tuple[float, ...]:
        short, mean, spread = self._errors.mean(), self._means.mean(), self._k * math.sqrt(self._means.variance())
        # Solve (1 - 1/rows) short + error / rows = mean ± spread for the error.
        lower, upper = (self._short_rows * (mean + s) - (self._short_rows - 1.0) * short for s in (-spread, spread))
        return min(lower, -self._effect), max(upper, self._effect)


class _QuantileTwin:
    """Stochastic approximation (Robbins & Monro 1951), one value at a time."""

    def __init__(self, probability: float, memory: float) -> None:
        self._probability, self._memory = probability, memory
        self.count = 0
        self.estimate = self._scale = 0.0

    def learn(self, value: float) -> None:
        self.count += 1
        rate = max(1.0 / self.count, 1.0 / self._memory)
        distance = value - self.estimate
        self._scale += rate * (abs(distance) - self._scale)
        towards = self._probability if distance > 0.0 else 1.0 - self._probability
        # In this order: a step that ends on a value exactly, or not, decides the direction of the next one.
        step = 1.0 / min(self._probability, 1.0 - self._probability) * rate * self._scale * towards
        self.estimate += math.copysign(min(step, 4.0 * abs(distance)), distance)


class PercentileTwin:
    """Both percentiles, each by itself."""

    def __init__(self, effect: float, memory: float, percentile: float) -> None:
        self._effect = max(effect, TINY)
        self._upper = _QuantileTwin(percentile / 100.0, memory)
        self._lower = _QuantileTwin(1.0 - percentile / 100.0, memory)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self._upper.learn(value)
            self._lower.learn(value)

    def said(self) -> tuple[float, ...]:
        return min(self._lower.estimate, -self._effect), max(self._upper.estimate, self._effect)


class MadTwin:
    """Median, and median of the distances from the median of that time."""

    def __init__(self, effect: float, memory: float, k: float) -> None:
        self._effect, self._k = max(effect, TINY), k
        self._median, self._deviation = _QuantileTwin(0.5, memory), _QuantileTwin(0.5, memory)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self._median.learn(value)
            self._deviation.learn(abs(value - self._median.estimate))

    def said(self) -> tuple[float, ...]:
        spread = 1.4826 * self._k * self._deviation.estimate
        return min(self._median.estimate - spread, -self._effect), max(self._median.estimate + spread, self._effect)


class SpotTwin:
    """Peaks over threshold from the list of all excesses, each side by itself."""

    def __init__(self, effect: float, memory: float, risk: float, calibration_rows: int, depth_rows: float) -> None:
        self._effect, self._memory, self._risk = max(effect, TINY), memory, risk
        self._calibration_rows, self._depth_rows = calibration_rows, depth_rows
        self._average = 0.0
        self._centred: list[float] = []

    def take(self, row: int, value: float | None) -> None:
        if value is None:
            return
        centred = value - self._average
        self._centred.append(centred)
        if self._depth_rows:
            self._average += centred * max(1.0 / len(self._centred), 1.0 / self._depth_rows)

    def said(self) -> tuple[float, ...]:
        upper, lower = (self._level([side * each for each in self._centred]) for side in (1.0, -1.0))
        return min(self._average - lower, -self._effect), max(self._average + upper, self._effect)

    def _level(self, errors: Sequence[float]) -> float:
        calibration, after = errors[: self._calibration_rows], errors[self._calibration_rows :]
        if len(calibration) < self._calibration_rows:
            return math.inf
        begin = float(np.quantile(calibration, 0.95))
        peaks = [error - begin for error in errors if error > begin][-128:]
        kept = (1.0 - 1.0 / self._memory) ** np.arange(len(after))[::-1]
        before = (1.0 - 1.0 / self._memory) ** len(after)
        seen = before * len(calibration) + kept.sum()
        passed = before * sum(error > begin for error in calibration) + (kept * (np.array(after) > begin)).sum()
        if not peaks:
            return begin
        mean, variance = float(np.mean(peaks)), float(np.var(peaks))
        shape = float(np.clip(0.5 * (1.0 - mean**2 / max(variance, TINY * mean**2 + TINY**2)), -0.5, 0.5))
        size = mean * (1.0 - shape)
        rarer = max(passed / max(seen, 1.0) / self._risk, 1.0)
        # The level that a generalised Pareto distribution passes with the risk asked for.
        return begin + size * (math.log(rarer) if abs(shape) < 1e-6 else (rarer**shape - 1.0) / shape)


class AnalogForecastTwin:
    """Compares the present with every moment of the past, over a window that fades.

    A block that is missing stands where the one before it stood, and does not count in the comparison.
    """

    def __init__(self, memory: int, window: int = 32, tolerance: int = 4) -> None:
        self._memory, self._window, self._tolerance = memory, window, tolerance
        self._values: list[float] = []
        self._valid: list[bool] = []
        self._first: float | None = None

    def take(self, row: int, value: float | None) -> None:
        if value is not None and self._first is None:
            self._first = value
        before = self._values[-1] if self._values else 0.0
        self._values.append(before if value is None or self._first is None else value - self._first)
        self._valid.append(value is not None)

    def said(self) -> tuple[float, ...]:
        """Distance of the newest block from the most like moment, and its error from what came then."""
        if not self._valid[-1] or sum(self._valid) <= 4 * self._window:
            return math.nan, math.nan
        rows = len(self._values)
        past = np.concatenate((np.zeros(self._memory), self._values))
        now, before = self._squares(past, rows), self._squares(past, rows - 1)
        nearest = self._nearest(before)
        # What came after that moment, or a little sooner or later.
        then = self._memory + rows - 1 - nearest + np.arange(-self._tolerance, self._tolerance + 1)
        return float(np.sqrt(now[self._nearest(now) - 1])), float(np.abs(past[then] - past[-1]).min())

    def _squares(self, past: Float64Array, end: int) -> Float64Array:
        """Weighted mean square of the difference from so many blocks before, for every lag, over the first rows."""
        weights = np.zeros(end)
        left = 1.0
        for row in range(end - 1, -1, -1):
            if self._valid[row]:
                weights[row] = left / self._window
                left *= 1.0 - 1.0 / self._window
        now = past[self._memory : self._memory + end]
        windows = np.lib.stride_tricks.sliding_window_view(past[: self._memory + end - 1], end)
        # The window that begins at `memory - lag` is what was so many blocks before.
        squares = np.square(windows[::-1][: self._memory] - now) @ weights
        return np.asarray(squares)

    def _nearest(self, squares: Float64Array) -> int:
        """The lag at which the past is most like now; the longest of those that are alike."""
        lags = np.arange(self._window, self._memory - self._tolerance + 1)[::-1]
        return int(lags[squares[lags - 1].argmin()])


class LinearForecastTwin:
    """Ridge regression of each value on the 64 before it, from explicit weighted sums over all blocks.

    Values are taken from a running centre. Blocks are summed up 32 at a time, all of a chunk with one weight; the
    equations are solved when there are 256 blocks, and then whenever there are half as many again.
    """

    LAGS, CHUNK, MEMORY = 64, 32, 20_000.0

    def __init__(self, begun_at: int = 0) -> None:
        self._begun_at = begun_at
        self._rows: list[tuple[int, Float64Array, float]] = []
        self._beyond = [0.0] * self.LAGS
        self._count = 0
        self._centre = self._last = 0.0
        self._due = 4.0 * self.LAGS
        self._weights: Float64Array | None = None

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            if not self._count:
                self._centre = value
            self._last = value
            self._count += 1
            self._centre += (self._last - self._centre) / min(self._count, self.MEMORY)
        beyond = self._last - self._centre
        if value is not None and self._count > self.LAGS:
            self._rows.append((row, np.array(self._beyond[-self.LAGS :]), beyond))
        self._beyond.append(beyond)
        if (row + 1) % self.CHUNK == 0 and self._count >= self._due:
            self._solve(row)
            self._due = min(1.5 * self._count, self._count + self.MEMORY / 4)

    def _solve(self, now: int) -> None:
        inputs = np.array([row[1] for row in self._rows])
        targets = np.array([row[2] for row in self._rows])
        chunks = np.array([now // self.CHUNK - row[0] // self.CHUNK for row in self._rows])
        weights = (1.0 - self.CHUNK / self.MEMORY) ** chunks
        moments = inputs.T @ (weights[:, None] * inputs)
        ridge = 1e-4 * moments[-1, -1] + 1e-12
        self._weights = np.linalg.solve(moments + ridge * np.eye(self.LAGS), inputs.T @ (weights * targets))

    def said(self) -> tuple[float, ...]:
        if self._weights is None:
            return (math.nan,)
        return (float(self._centre + self._weights @ np.array(self._beyond[-self.LAGS :])),)


def cross_channel_moments(rows: Float64Array, memory: float = 20_000.0) -> tuple[Float64Array, float]:
    """Weighted second moments of rows, float64[rows, n], missing ones 0, and the sum of the weights."""
    weights = (1.0 - 1.0 / memory) ** np.arange(len(rows))[::-1]
    clipped = np.clip(rows, -6.0, 6.0)
    moments = clipped.T @ (weights[:, None] * clipped)
    own = np.diagonal(moments)
    return moments + np.diag(0.1 * own + 1e-3 * max(own.max(), 1.0)), float(weights.sum())


def unexpected_by_regression(
    moments: Float64Array, weight: float, row: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """What a regression of each channel on all others leaves of a row, and the usual size of that; float64[n] each."""
    n = len(row)
    found, usual = np.empty(n), np.empty(n)
    for channel in range(n):
        others = [other for other in range(n) if other != channel]
        shares = np.linalg.solve(moments[np.ix_(others, others)], moments[others, channel])
        found[channel] = row[channel] - shares @ row[others]
        left = moments[channel, channel] - shares @ moments[others, channel]
        usual[channel] = math.sqrt(left / weight)
    return found, usual


def budget_level(sent_s: Sequence[float], now_s: float, per_day: float) -> float:
    """Level of the alert budget after these incidents were sent: the highest of all that a beginning would have left.

    A leaky bucket that never sinks below 0 stands as high as the largest of: the begin, less all that has leaked since;
    and, for each incident sent, what was sent from it on less what has leaked from it on.
    """
    leak = math.log(2.0) * per_day / 86400.0
    levels = [0.0, math.log(4.0) + math.log(2.0) * len(sent_s) - leak * now_s]
    levels += [math.log(2.0) * (len(sent_s) - first) - leak * (now_s - begun_s) for first, begun_s in enumerate(sent_s)]
    return max(levels)


def rate_of_change(
    readings: Sequence[float | None], over_rows: int, interval_s: float, *, counter: bool
) -> float | None:
    """Change a second from the newest reading that is at least so many rows old to the last; None where there is none.

    A counter that falls has begun anew: what was before does not count.
    """
    if readings[-1] is None:
        return None
    known = [(row, value) for row, value in enumerate(readings) if value is not None]
    if counter:
        for place in range(len(known) - 1, 0, -1):
            if known[place][1] < known[place - 1][1]:
                known = known[place:]
                break
    now, value = known[-1]
    old_enough = [(row, before) for row, before in known if row <= now - over_rows]
    if not old_enough:
        return None
    row, before = old_enough[-1]
    return (value - before) / ((now - row) * interval_s)
