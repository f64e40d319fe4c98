"""Plain twins of the streaming parts: one channel, Python numbers, all rows in a list, no optimisation.

Each twin takes one reading at a time, None if it is missing, and gives the expected output of the part in `agent` for
that channel. Running means are computed from explicit weights, running quantiles by sorting windows, and searches
compare every moment of the past.
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
    "ReturnLevelsTwin",
    "SeasonsTwin",
    "SpotTwin",
    "Twin",
    "budget_level",
    "cross_channel_moments",
    "excursion_band",
    "rate_of_change",
    "unexpected_by_regression",
]

TINY = 1e-12


class Twin(Protocol):
    """Plain twin of one channel of a part."""

    def take(self, row: int, value: float | None) -> None:
        """Process the reading of a row; rows count from the start of the part, not of the channel."""

    def said(self) -> tuple[float, ...]:
        """Expected output of the part after the row."""


class _Weighted:
    """Values and their weights in a running mean whose rate is ``max(1 / n, 1 / memory)``; the weights sum to 1.

    This is the plain mean of the first ``memory`` values, and from then on an exponentially weighted one.
    """

    def __init__(self, memory: float) -> None:
        self.memory = memory
        self.values: list[float] = []
        self.weights = np.zeros(0)

    def add(self, value: float) -> None:
        self.values.append(value)
        rate = max(1.0 / len(self.values), 1.0 / self.memory)
        self.weights = np.append(self.weights * (1.0 - rate), rate)

    @property
    def count(self) -> int:
        return len(self.values)

    def mean(self) -> float:
        return float(np.dot(self.weights, self.values)) if self.values else 0.0

    def variance(self) -> float:
        """Weighted mean square of the distances from the weighted mean."""
        return float(np.dot(self.weights, (np.array(self.values) - self.mean()) ** 2)) if self.values else 0.0


class NormaliserTwin:
    """Centre, mean absolute deviation from the current centre, mean absolute change."""

    def __init__(self, floor: float, memory: float) -> None:
        self.floor = max(floor, 1e-9)
        self.readings = _Weighted(memory)
        self.deviations, self.changes = _Weighted(memory), _Weighted(memory)
        self.last = 0.0
        self.step = 0.0

    def take(self, row: int, value: float | None) -> None:
        self.step = 0.0
        if value is None:
            return
        self.step = value - self.last if self.readings.count else 0.0
        self.last = value
        self.readings.add(value)
        self.deviations.add(abs(value - self.readings.mean()))
        self.changes.add(abs(self.step))

    def said(self) -> tuple[float, ...]:
        centre = self.readings.mean()
        spread = max(self.deviations.mean(), 1e-6 * abs(centre), self.floor)
        change = max(self.changes.mean(), 0.05 * spread)
        features = (
            np.clip(np.arcsinh((self.last - centre) / spread), -12.0, 12.0),
            np.clip(np.arcsinh(self.step / change), -12.0, 12.0),
            np.clip(math.log(spread / change), -6.0, 6.0),
        )
        return (centre, self.deviations.mean(), self.changes.mean(), *map(float, features))


class SeasonsTwin:
    """All rows in a list; a day before is looked up by its index.

    Of thinned rows, the last of each group of ``thin`` stands for all of them.
    """

    def __init__(self, day: int, thin: int) -> None:
        self.thin = 1 if day % thin else thin
        self.day = day
        self.rows: list[float | None] = []

    def take(self, row: int, value: float | None) -> None:
        # A new channel has no earlier rows.
        self.rows += [None] * (row - len(self.rows))
        self.rows.append(None if value is None else float(np.float32(value)))

    def said(self) -> tuple[float, ...]:
        """Features of a channel of centre 0, spread 1 and change 1, and the distance of 2.5 from day and week."""
        day, later, week = (self.before(back) for back in (self.day, self.day + self.thin, 7 * self.day))
        if not self.day or day is None or later is None:
            day = later = None
        if not self.day:
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

    def before(self, rows: int) -> float | None:
        group = (len(self.rows) - rows) // self.thin
        last = group * self.thin + self.thin - 1
        return self.rows[last] if 0 <= last < len(self.rows) else None


class RelativeErrorTwin:
    """Size over its running mean; one size counts for five usual sizes at most once 20 are known."""

    def __init__(self, memory: float, settled: float = math.inf, floor: float = 0.0) -> None:
        self.memory, self.settled, self.floor = memory, settled, floor
        self.count = 0
        self.usual = 0.0

    def rate(self) -> float:
        young = 1.0 / max(self.count, 1) if self.count <= self.settled else 0.0
        return max(young, 1.0 / self.memory)

    def of(self, size: float, floor: float | None = None) -> float:
        floor = self.floor if floor is None else floor
        return size / max(self.usual, floor + 1e-9) if self.count > 20 else 0.0

    def learn(self, size: float, floor: float | None = None) -> None:
        floor = self.floor if floor is None else floor
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
        self.ratio = RelativeErrorTwin(memory, settled=60.0)
        self.values: list[float] = []
        self.mean = self.centre = 0.0
        self.relative = 0.0

    @property
    def floor(self) -> float:
        return 0.002 * (max(self.values) - min(self.values)) if self.values else 0.0

    def take(self, row: int, value: float | None) -> None:
        self.relative = 0.0
        if value is None:
            return
        floor = self.floor
        if not self.values:
            self.mean = self.centre = value
        self.mean += (value - self.mean) / min(len(self.values) + 1, 6)
        deviation = self.mean - self.centre
        self.relative = self.ratio.of(abs(deviation), floor)
        most = max(self.ratio.usual, floor + 1e-9) if self.ratio.count > 20 else math.inf
        self.ratio.learn(abs(deviation), floor)
        self.centre += self.ratio.rate() * min(max(deviation, -most), most)
        self.values.append(value)

    def said(self) -> tuple[float, ...]:
        return self.relative, self.floor


class FlatLineTwin:
    """Split all readings into runs of equal values, and compare the last run with the earlier ones."""

    def __init__(self, interval_s: float, floor: float) -> None:
        self.floor = floor
        self.share_rows = max(60.0, 600.0 / interval_s)
        self.shortest = max(12.0, 60.0 / interval_s)
        self.kept = 0.5 ** (interval_s / (7 * 86400.0))
        # Each run: its first value, its readings, the share of changes when it began; and the rows at which runs ended.
        self.runs: list[tuple[float, int, float]] = []
        self.ended: list[int] = []
        self.count = 0
        self.share = 0.0
        self.row = 0

    def take(self, row: int, value: float | None) -> None:
        self.row = row
        if value is None:
            return
        changed = not self.runs or not abs(value - self.runs[-1][0]) <= self.floor
        self.count += 1
        self.share += (changed - self.share) / min(self.count, self.share_rows)
        if changed:
            if self.runs:
                self.ended.append(row)
            self.runs.append((value, 1, self.share))
        else:
            first, length, share = self.runs[-1]
            self.runs[-1] = first, length + 1, share

    def said(self) -> tuple[float, ...]:
        if not self.runs:
            return (0.0,)
        _, length, share = self.runs[-1]
        share = min(share, 1.0 - 1e-9)
        if share <= 0.2 or self.count - length < self.share_rows:
            return (0.0,)
        longest = max(
            (run[1] * self.kept ** (self.row - ended) for run, ended in zip(self.runs, self.ended, strict=False)),
            default=0.0,
        )
        # Probability below 1e-6 that a channel with this rate of change stays constant for so many readings.
        by_chance = math.log(1e-6) / math.log1p(-share)
        return (length / max(self.shortest, by_chance, 5.0 * longest),)


class RangeNoveltyTwin:
    """Range of the errors, periodically shrunk towards their mean."""

    def __init__(self, effect: float, memory: float, novelty: float) -> None:
        self.half_effect = effect / 2 + TINY
        self.memory, self.novelty = memory, novelty
        self.between = max(1, round(memory / 1000.0))
        self.errors = _Weighted(memory)
        self.low = self.high = 0.0
        self.relaxed_at = 0

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self.errors.add(value)
            share = 1.0 if self.errors.count <= 100 else 0.5
            self.high += share * max(value - self.high, 0.0)
            self.low -= share * max(self.low - value, 0.0)
        if (row + 1) % self.between == 0:
            forgotten = 1.0 - math.exp(-(self.errors.count - self.relaxed_at) / self.memory)
            self.relaxed_at = self.errors.count
            mean = self.errors.mean()
            self.high += forgotten * (mean - self.high)
            self.low += forgotten * (mean - self.low)

    def said(self) -> tuple[float, ...]:
        margin = self.novelty * (1.0 + 30.0 / max(self.errors.count, 1)) * (self.high - self.low)
        beyond = margin + self.half_effect
        return min(self.low, 0.0) - beyond, max(self.high, 0.0) + beyond


class MeanStdTwin:
    """Mean and standard deviation from all errors and their weights."""

    def __init__(self, effect: float, memory: float, k: float) -> None:
        self.effect, self.k = max(effect, TINY), k
        self.errors = _Weighted(memory)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self.errors.add(value)

    def said(self) -> tuple[float, ...]:
        mean, spread = self.errors.mean(), self.k * math.sqrt(self.errors.variance())
        return min(mean - spread, -self.effect), max(mean + spread, self.effect)


class LikelihoodTwin:
    """The limit is the error at which the short mean would reach the end of its usual range."""

    def __init__(self, effect: float, memory: float, k: float, short_rows: float) -> None:
        self.effect, self.k, self.short_rows = max(effect, TINY), k, short_rows
        self.errors, self.means = _Weighted(short_rows), _Weighted(memory)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self.errors.add(value)
            self.means.add(self.errors.mean())

    def said(self) -> tuple[float, ...]:
        short, mean, spread = self.errors.mean(), self.means.mean(), self.k * math.sqrt(self.means.variance())
        # Solve (1 - 1/rows) short + error / rows = mean ± spread for the error.
        lower, upper = (self.short_rows * (mean + s) - (self.short_rows - 1.0) * short for s in (-spread, spread))
        return min(lower, -self.effect), max(upper, self.effect)


class _QuantileTwin:
    """Stochastic approximation (Robbins & Monro 1951), one value at a time."""

    def __init__(self, probability: float, memory: float) -> None:
        self.probability, self.memory = probability, memory
        self.count = 0
        self.estimate = self.scale = 0.0

    def learn(self, value: float) -> None:
        self.count += 1
        rate = max(1.0 / self.count, 1.0 / self.memory)
        distance = value - self.estimate
        self.scale += rate * (abs(distance) - self.scale)
        towards = self.probability if distance > 0.0 else 1.0 - self.probability
        # Keep this order: rounding decides whether a step hits a value exactly, and thus the next direction.
        step = 1.0 / min(self.probability, 1.0 - self.probability) * rate * self.scale * towards
        self.estimate += math.copysign(min(step, 4.0 * abs(distance)), distance)


class PercentileTwin:
    """Both percentiles, independently."""

    def __init__(self, effect: float, memory: float, percentile: float) -> None:
        self.effect = max(effect, TINY)
        self.upper = _QuantileTwin(percentile / 100.0, memory)
        self.lower = _QuantileTwin(1.0 - percentile / 100.0, memory)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self.upper.learn(value)
            self.lower.learn(value)

    def said(self) -> tuple[float, ...]:
        return min(self.lower.estimate, -self.effect), max(self.upper.estimate, self.effect)


class MadTwin:
    """Median, and median of the distances from the current median."""

    def __init__(self, effect: float, memory: float, k: float) -> None:
        self.effect, self.k = max(effect, TINY), k
        self.median, self.deviation = _QuantileTwin(0.5, memory), _QuantileTwin(0.5, memory)

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            self.median.learn(value)
            self.deviation.learn(abs(value - self.median.estimate))

    def said(self) -> tuple[float, ...]:
        spread = 1.4826 * self.k * self.deviation.estimate
        return min(self.median.estimate - spread, -self.effect), max(self.median.estimate + spread, self.effect)


class SpotTwin:
    """Peaks over threshold from the list of all excesses, each side independently."""

    def __init__(self, effect: float, memory: float, risk: float, calibration_rows: int, depth_rows: float) -> None:
        self.effect, self.memory, self.risk = max(effect, TINY), memory, risk
        self.calibration_rows, self.depth_rows = calibration_rows, depth_rows
        self.average = 0.0
        self.centred: list[float] = []

    def take(self, row: int, value: float | None) -> None:
        if value is None:
            return
        centred = value - self.average
        self.centred.append(centred)
        if self.depth_rows:
            self.average += centred * max(1.0 / len(self.centred), 1.0 / self.depth_rows)

    def said(self) -> tuple[float, ...]:
        upper, lower = (self.level([side * each for each in self.centred]) for side in (1.0, -1.0))
        return min(self.average - lower, -self.effect), max(self.average + upper, self.effect)

    def level(self, errors: Sequence[float]) -> float:
        calibration, after = errors[: self.calibration_rows], errors[self.calibration_rows :]
        if len(calibration) < self.calibration_rows:
            return math.inf
        begin = float(np.quantile(calibration, 0.95))
        peaks = [error - begin for error in errors if error > begin][-128:]
        kept = (1.0 - 1.0 / self.memory) ** np.arange(len(after))[::-1]
        before = (1.0 - 1.0 / self.memory) ** len(after)
        seen = before * len(calibration) + kept.sum()
        passed = before * sum(error > begin for error in calibration) + (kept * (np.array(after) > begin)).sum()
        if not peaks:
            return begin
        mean, variance = float(np.mean(peaks)), float(np.var(peaks))
        shape = float(np.clip(0.5 * (1.0 - mean**2 / max(variance, TINY * mean**2 + TINY**2)), -0.5, 0.5))
        size = mean * (1.0 - shape)
        rarer = max(passed / max(seen, 1.0) / self.risk, 1.0)
        # The level that a generalised Pareto distribution exceeds with the given risk.
        return begin + size * (math.log(rarer) if abs(shape) < 1e-6 else (rarer**shape - 1.0) / shape)


class AnalogForecastTwin:
    """Compare the present with every moment of the past, over a window of decaying weights.

    A block that is missing stands where the one before it stood, and does not count in the comparison.
    """

    def __init__(self, memory: int, window: int = 32, tolerance: int = 4) -> None:
        self.memory, self.window, self.tolerance = memory, window, tolerance
        self.values: list[float] = []
        self.valid: list[bool] = []
        self.first: float | None = None

    def take(self, row: int, value: float | None) -> None:
        if value is not None and self.first is None:
            self.first = value
        before = self.values[-1] if self.values else 0.0
        self.values.append(before if value is None or self.first is None else value - self.first)
        self.valid.append(value is not None)

    def said(self) -> tuple[float, ...]:
        """Distance to the most similar past moment, and error of the newest block from its continuation."""
        if not self.valid[-1] or sum(self.valid) <= 4 * self.window:
            return math.nan, math.nan
        rows = len(self.values)
        past = np.concatenate((np.zeros(self.memory), self.values))
        now, before = self.squares(past, rows), self.squares(past, rows - 1)
        nearest = self.nearest(before)
        # The block after that moment, or one slightly earlier or later.
        then = self.memory + rows - 1 - nearest + np.arange(-self.tolerance, self.tolerance + 1)
        return float(np.sqrt(now[self.nearest(now) - 1])), float(np.abs(past[then] - past[-1]).min())

    def squares(self, past: Float64Array, end: int) -> Float64Array:
        """Weighted mean square of the difference from so many blocks before, for every lag, over the first rows."""
        weights = np.zeros(end)
        left = 1.0
        for row in range(end - 1, -1, -1):
            if self.valid[row]:
                weights[row] = left / self.window
                left *= 1.0 - 1.0 / self.window
        now = past[self.memory : self.memory + end]
        windows = np.lib.stride_tricks.sliding_window_view(past[: self.memory + end - 1], end)
        # The window that begins at `memory - lag` is what was so many blocks before.
        squares = np.square(windows[::-1][: self.memory] - now) @ weights
        return np.asarray(squares)

    def nearest(self, squares: Float64Array) -> int:
        """Lag of the most similar past; the longest of equal ones."""
        lags = np.arange(self.window, self.memory - self.tolerance + 1)[::-1]
        return int(lags[squares[lags - 1].argmin()])


class LinearForecastTwin:
    """Ridge regression of each value on the 64 before it, from explicit weighted sums over all blocks.

    Values are taken from a running centre. Blocks are summed up 32 at a time, all of a chunk with one weight; the
    equations are solved when there are 256 blocks, and then whenever there are half as many again.
    """

    LAGS, CHUNK, MEMORY = 64, 32, 20_000.0

    def __init__(self, begun_at: int = 0) -> None:
        self.begun_at = begun_at
        self.rows: list[tuple[int, Float64Array, float]] = []
        self.beyond = [0.0] * self.LAGS
        self.count = 0
        self.centre = self.last = 0.0
        self.due = 4.0 * self.LAGS
        self.weights: Float64Array | None = None

    def take(self, row: int, value: float | None) -> None:
        if value is not None:
            if not self.count:
                self.centre = value
            self.last = value
            self.count += 1
            self.centre += (self.last - self.centre) / min(self.count, self.MEMORY)
        beyond = self.last - self.centre
        if value is not None and self.count > self.LAGS:
            self.rows.append((row, np.array(self.beyond[-self.LAGS :]), beyond))
        self.beyond.append(beyond)
        if (row + 1) % self.CHUNK == 0 and self.count >= self.due:
            self.solve(row)
            self.due = min(1.5 * self.count, self.count + self.MEMORY / 4)

    def solve(self, now: int) -> None:
        inputs = np.array([row[1] for row in self.rows])
        targets = np.array([row[2] for row in self.rows])
        chunks = np.array([now // self.CHUNK - row[0] // self.CHUNK for row in self.rows])
        weights = (1.0 - self.CHUNK / self.MEMORY) ** chunks
        moments = inputs.T @ (weights[:, None] * inputs)
        ridge = 1e-4 * moments[-1, -1] + 1e-12
        self.weights = np.linalg.solve(moments + ridge * np.eye(self.LAGS), inputs.T @ (weights * targets))

    def said(self) -> tuple[float, ...]:
        if self.weights is None:
            return (math.nan,)
        return (float(self.centre + self.weights @ np.array(self.beyond[-self.LAGS :])),)


class ReturnLevelsTwin:
    """All values and the begin of peaks at each of them; clusters are found by reading them all anew."""

    FEWEST = 50

    def __init__(self, block_s: float, memory: float, gap: int) -> None:
        self.block_s, self.memory, self.gap = block_s, memory, gap
        self.longest = 86400.0 / block_s
        self.rows: list[tuple[float, float]] = []
        self.mean = self.deviation = 0.0

    def begin(self) -> float:
        return self.mean + 1.7 * max(self.deviation, 0.05)

    def take(self, row: int, value: float | None) -> None:
        if value is None:
            return
        self.rows.append((value, self.begin()))
        away = value - self.mean
        if len(self.rows) > self.FEWEST:
            far = 5.0 * max(self.deviation, 0.05)
            away = max(min(away, far), -far)
        rate = max(1.0 / len(self.rows), 1.0 / self.memory)
        self.mean += rate * away
        self.deviation += rate * (abs(away) - self.deviation)

    def clusters(self) -> tuple[list[int], list[tuple[int, float]]]:
        """First rows of all clusters; last rows and highest excesses of those that have ended."""
        firsts: list[int] = []
        ended: list[tuple[int, float]] = []
        peaks: list[tuple[int, float]] = []
        for row, (value, begin) in enumerate(self.rows):
            if row < self.FEWEST:
                continue
            if value > begin:
                if not peaks:
                    firsts.append(row)
                peaks.append((row, value - begin))
            if peaks and (row - peaks[-1][0] >= self.gap or row - peaks[0][0] >= self.longest):
                ended.append((row, max(excess for _, excess in peaks)))
                peaks = []
        return firsts, ended

    def said(self) -> tuple[float, ...]:
        """Begin; level of a day; days between values that exceed the begin by a half."""
        firsts, ended = self.clusters()
        starts, rates = _Weighted(self.memory), []
        for row in range(self.FEWEST, len(self.rows)):
            starts.add(float(row in firsts))
            rates.append(starts.mean())
        size = 0.3
        for number, (row, highest) in enumerate(ended, 1):
            remembered = max(rates[row - self.FEWEST] * self.memory, 4.0)
            weight = max(1.0 / (number + 4.0), 1.0 / remembered)
            size += weight * (min(highest, 3.0 * size) / (1.0 - math.exp(-3.0)) - size)
            size = max(size, 0.02)
        size *= 1.0 + 4.0 / (len(ended) + 4.0)
        if len(self.rows) <= self.FEWEST:
            return self.begin(), math.inf, 0.0
        known = len(self.rows) - self.FEWEST
        between_s = self.block_s / max(starts.mean(), 1.0 / min(known, self.memory))
        level = self.begin() + size * math.log(max(86400.0 / between_s, 1.0))
        return self.begin(), level, math.exp(min(0.5 / size, 50.0)) * between_s / 86400.0


def excursion_band(blocks: Sequence[float], half_effect: float, *, gradual: bool) -> tuple[float, float]:
    """Range of the middle of 64 blocks: the newest, or those before the newest 48 if a level was noticed."""
    ordered = sorted(blocks[-112:-48] if gradual else blocks[-64:])
    # Between the places 0.05 · 63 = 3.15 and 0.95 · 63 = 59.85 of the sorted 64, linearly.
    low = ordered[3] + 0.15 * (ordered[4] - ordered[3])
    high = ordered[59] + 0.85 * (ordered[60] - ordered[59])
    return low - half_effect, high + half_effect


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
    """Residual of the regression of each channel on all others, and its usual size, float64[n] each."""
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
    """Level of the alert budget after these incidents were sent: the highest that any start of the count gives.

    A leaky bucket that never sinks below 0, at which it begins, is at the maximum of: 0; and for each incident, the
    incidents from it on, less what leaked from it on. It leaks three incidents a day at least.
    """
    leak = math.log(2.0) * max(per_day, 3.0) / 86400.0
    levels = [0.0]
    levels += [math.log(2.0) * (len(sent_s) - first) - leak * (now_s - begun_s) for first, begun_s in enumerate(sent_s)]
    return max(levels)


def rate_of_change(
    readings: Sequence[float | None], over_rows: int, interval_s: float, *, counter: bool
) -> float | None:
    """Change per second to the last reading from the newest one at least ``over_rows`` older; None without both.

    A counter that decreases was reset: readings before the reset are ignored.
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
