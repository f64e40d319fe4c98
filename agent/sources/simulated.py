"""Simulated readings: daily and weekly seasons, drift and noise, with anomalies planted at known rows.

For trials without a sensor, demonstrations and tests. The rows depend only on the configuration, not on when they are
read.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta

from agent.core.channel import Channel
from agent.sources.base import EndOfInputError, SourceConfig

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array, Float64Array

__all__ = ["PlantedAnomaly", "PlantedKind", "SimulatedConfig", "SimulatedSource"]

PlantedKind: TypeAlias = Literal["spike", "level_shift", "flat_line"]

# Minimum and maximum rows that an anomaly lasts; chosen by hand.
_DURATION: dict[PlantedKind, tuple[int, int]] = {"spike": (1, 3), "level_shift": (60, 600), "flat_line": (120, 600)}
# Minimum and maximum height in standard deviations of the noise; chosen by hand.
_HEIGHT: dict[PlantedKind, tuple[float, float]] = {"spike": (10.0, 20.0), "level_shift": (6.0, 12.0)}
# Newest labels kept; bounds the memory of an endless source.
_LABELS_KEPT = 10_000
# A row that is never reached.
_NEVER = 2**63


class PlantedAnomaly(msgspec.Struct, frozen=True):
    """A planted anomaly; rows count from 0, `last_row` belongs to it."""

    channel: str
    kind: PlantedKind
    first_row: int
    last_row: int


class SimulatedConfig(SourceConfig, frozen=True):
    """Keys of the `simulated` source."""

    channels: Annotated[
        int, Meta(ge=1, le=10_000, description="Number of channels: `simulated.1`, `simulated.2` and so on.")
    ] = 3
    seed: Annotated[
        int, Meta(ge=0, description="Seed of the random numbers: the same seed gives the same rows and anomalies.")
    ] = 0
    length: Annotated[int, Meta(ge=0, description="Number of rows after which the source ends; 0 never ends.")] = 0
    day_s: Annotated[float, Meta(gt=0, le=1e10, description="Period of the daily season in seconds.")] = 86_400.0
    week_s: Annotated[float, Meta(gt=0, le=1e10, description="Period of the weekly season in seconds.")] = 604_800.0
    anomalies_per_hour: Annotated[
        float,
        Meta(ge=0, le=1e9, description="Mean number of planted anomalies an hour, over all channels; 0 plants none."),
    ] = 2.0
    quiet_s: Annotated[float, Meta(ge=0, le=1e10, description="Seconds at the beginning without an anomaly.")] = 3600.0
    kinds: Annotated[tuple[PlantedKind, ...], Meta(min_length=1, description="Kinds of anomalies to plant.")] = (
        "spike",
        "level_shift",
        "flat_line",
    )


class SimulatedSource:
    """Generates one row a read, in constant time."""

    Config: ClassVar[type[SourceConfig]] = SimulatedConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: SimulatedConfig, interval_s: float) -> None:
        self.channels: tuple[Channel, ...] = tuple(
            Channel(f"simulated.{number}") for number in range(1, config.channels + 1)
        )
        # Separate random streams: the series is the same with and without anomalies.
        series, anomalies = np.random.SeedSequence(config.seed).spawn(2)
        self._series = _Series(config, interval_s, np.random.default_rng(series))
        self._planter = _Planter(
            config, interval_s, np.random.default_rng(anomalies), self._series.noise, [c.name for c in self.channels]
        )
        self._length = config.length or _NEVER
        self._row = 0

    def labels(self) -> tuple[PlantedAnomaly, ...]:
        """Return the anomalies that began in the rows read so far, in order; the newest 10,000."""
        return tuple(self._planter.labels)

    def read(self) -> Float32Array:
        """Return the next row, float32[n_channels].

        Raises
        ------
        EndOfInputError
            `length` rows were read.
        """
        if self._row >= self._length:
            raise EndOfInputError(f"{self._length} rows")
        values = self._planter.disturb(self._row, self._series.next(self._row)).astype(np.float32)
        self._row += 1
        return values

    def close(self) -> None:
        """No-op: nothing is open."""


class _Series:
    """Normal behaviour: level, seasons (day, half day, week), mean-reverting drift, autoregressive noise."""

    def __init__(self, config: SimulatedConfig, interval_s: float, rng: np.random.Generator) -> None:
        n = config.channels
        self._rng = rng
        scale = rng.lognormal(2.0, 1.0, n)
        self._level = scale * rng.uniform(2.0, 6.0, n)
        periods_s = np.array([config.day_s, config.day_s / 2, config.week_s])[:, None]
        self._turn = 2.0 * math.pi * interval_s / periods_s
        self._phase = rng.uniform(0.0, 2.0 * math.pi, (3, n))
        self._amplitude = scale * rng.uniform(0.2, 1.0, (3, n)) * np.array([1.0, 0.4, 0.4])[:, None]
        #: float64[n_channels], standard deviation of the noise.
        self.noise: Float64Array = scale * rng.uniform(0.05, 0.15, n)
        # Two autoregressive processes: noise with a memory of a few rows, drift with one of half a day.
        memory_rows = max(config.day_s / interval_s / 2.0, 100.0)
        self._keep = np.stack([rng.uniform(0.0, 0.7, n), np.full(n, math.exp(-1.0 / memory_rows))])
        self._shock = np.stack([self.noise, 0.3 * scale]) * np.sqrt(1.0 - self._keep**2)
        self._walk = np.zeros((2, n))

    def next(self, row: int) -> Float64Array:
        """Return the values of a row, float64[n_channels]; call it with consecutive rows."""
        self._walk *= self._keep
        self._walk += self._shock * self._rng.standard_normal(self._walk.shape)
        season = self._amplitude * np.sin(self._turn * row + self._phase)
        values: Float64Array = self._level + season.sum(axis=0) + self._walk.sum(axis=0)
        return values


class _Planter:
    """Anomalies: at most one per channel at a time, at seeded random rows."""

    def __init__(
        self,
        config: SimulatedConfig,
        interval_s: float,
        rng: np.random.Generator,
        noise: Float64Array,
        names: list[str],
    ) -> None:
        self._rng = rng
        self._noise = noise
        self._names = names
        self._kinds = config.kinds
        self._last_row = (config.length or _NEVER) - 1
        self._mean_gap = 3600.0 / (config.anomalies_per_hour * interval_s) if config.anomalies_per_hour else math.inf
        self._next_start = math.ceil(config.quiet_s / interval_s) + self._gap()
        # Row at which the next anomaly begins or a present one has ended.
        self._next_change = self._next_start
        self._over = np.full(len(names), _NEVER, np.uint64)
        self._offset = np.zeros(len(names))
        self._frozen = np.full(len(names), math.nan)
        self._previous = np.zeros(len(names))
        self.labels: deque[PlantedAnomaly] = deque(maxlen=_LABELS_KEPT)

    def disturb(self, row: int, values: Float64Array) -> Float64Array:
        """Return a row with its anomalies, float64[n_channels]; call it with consecutive rows."""
        if row >= self._next_change:
            self._change(row)
        values = np.where(np.isnan(self._frozen), values + self._offset, self._frozen)
        self._previous = values
        return values

    def _change(self, row: int) -> None:
        over = self._over <= row
        self._over[over] = _NEVER
        self._offset[over] = 0.0
        self._frozen[over] = math.nan
        if row >= self._next_start:
            self._plant(row)
            self._next_start = row + self._gap()
        self._next_change = min(self._next_start, int(self._over.min()))

    def _plant(self, row: int) -> None:
        free = np.flatnonzero(self._over == _NEVER)
        if not free.size:
            return
        channel = int(self._rng.choice(free))
        kind = self._kinds[int(self._rng.integers(len(self._kinds)))]
        shortest, longest = _DURATION[kind]
        over = row + int(self._rng.integers(shortest, longest + 1))
        if kind == "flat_line":
            self._frozen[channel] = self._previous[channel]
        else:
            height = self._rng.uniform(*_HEIGHT[kind]) * self._rng.choice((-1.0, 1.0))
            self._offset[channel] = height * self._noise[channel]
        self._over[channel] = over
        self.labels.append(PlantedAnomaly(self._names[channel], kind, row, min(over - 1, self._last_row)))

    def _gap(self) -> int:
        """Random number of rows until the next onset."""
        return max(1, round(self._rng.exponential(self._mean_gap))) if math.isfinite(self._mean_gap) else _NEVER
