"""Labelled streams from a seed: several correlated channels with planted anomalies of known kinds.

A channel is the sum of a level, its share of the common signal (seasons and a slowly varying load) and its own noise.
A broken correlation is therefore an anomaly that is invisible in a single channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv

from agent.core.errors import UserError
from agent.sources.csv_reader import parse_time
from training.data.labels import moment
from training.files.atomic_files import staged_files
from training.synthetic.disturbances import level_shift, new_variance, typical_change
from training.synthetic.noise import log_uniform, smooth

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.arrays import Float64Array

__all__ = ["Anomaly", "Stream", "StreamSpec", "simulate_stream", "write"]

Season: TypeAlias = Literal["hourly", "daily", "weekly"]
LabelledKind: TypeAlias = Literal[
    "spike", "dip", "level_shift", "trend", "variance_change", "flat_line", "missing_season", "correlation_break"
]

_PERIODS_S: dict[Season, float] = {"hourly": 3600.0, "daily": 86400.0, "weekly": 7 * 86400.0}
_MAX_CELLS = 100_000_000  # values of a stream, 800 MB; chosen by hand
_LOAD_ROWS = 15.0  # correlation length of the common load in rows; chosen by hand
_REST_ROWS = 10  # smallest distance between two anomalies in rows; chosen by hand


class StreamSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of a stream.

    Parameters
    ----------
    start, end
        First time stamp, and end of the stream (exclusive); ISO 8601, UTC.
    interval_s
        Seconds between rows.
    channels
        Number of channels.
    seed
        The same seed and parameters give the same stream.
    season
        Periods of the seasons that all channels share.
    drift
        Drift of each channel from start to end, up or down, in its typical deviations.
    noise
        Size of the noise of a single channel, relative to its swing in the common signal.
    anomalies
        Kinds to plant, in equal numbers and random order.
    count, rate_per_day
        Number of anomalies, or number per day after the quiet part; by default one of each kind.
    quiet_until
        Share of the stream at its start without anomalies, for learning.
    """

    start: str = "2026-01-01"
    end: str = "2026-01-15"
    interval_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    channels: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 5
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    season: tuple[Season, ...] = ("daily", "weekly")
    drift: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    noise: Annotated[float, msgspec.Meta(ge=0)] = 0.3
    anomalies: tuple[LabelledKind, ...] = get_args(LabelledKind)
    count: Annotated[int, msgspec.Meta(ge=0)] | None = None
    rate_per_day: Annotated[float, msgspec.Meta(ge=0)] | None = None
    quiet_until: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5

    def __post_init__(self) -> None:
        span_s = parse_time(self.end) - parse_time(self.start)
        if not span_s >= 2 * self.interval_s:
            raise ValueError(f"start {self.start} and end {self.end} must be times, the end two intervals later")
        if span_s / self.interval_s * self.channels > _MAX_CELLS:
            raise ValueError(f"more than {_MAX_CELLS:,} values: take fewer channels or rows")
        if self.count is not None and self.rate_per_day is not None:
            raise ValueError("give count or rate_per_day, not both")
        if "missing_season" in self.anomalies and not self.season:
            raise ValueError("a missing_season needs a season")
        if "correlation_break" in self.anomalies and self.channels < 2:
            raise ValueError("a correlation_break needs two channels")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int((parse_time(self.end) - parse_time(self.start)) / self.interval_s)


@dataclass(frozen=True)
class Anomaly:
    """A planted anomaly: rows ``[begin, end)`` of the channels with these indices."""

    kind: LabelledKind
    begin: int
    end: int
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Stream:
    """A simulated stream.

    Parameters
    ----------
    config
        Parameters of the stream.
    time
        float64[rows], seconds since 1970.
    values
        float64[rows, n_channels], rounded like readings of an instrument.
    anomalies
        Planted anomalies in order of time, without overlap.
    """

    config: StreamSpec
    time: Float64Array
    values: Float64Array
    anomalies: tuple[Anomaly, ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels: ``channel.1`` and so on."""
        width = len(str(self.values.shape[1]))
        return tuple(f"channel.{number:0{width}}" for number in range(1, self.values.shape[1] + 1))


def simulate_stream(config: StreamSpec) -> Stream:
    """Draw a stream.

    Raises
    ------
    UserError
        The requested anomalies do not fit into the rows after the quiet part.
    """
    time: Float64Array = parse_time(config.start) + np.arange(config.rows, dtype=np.float64) * config.interval_s
    # Separate random streams: a change of the anomalies leaves the normal behaviour unchanged.
    behaviour, planting = (np.random.default_rng([config.seed, part]) for part in range(2))
    season = np.zeros(time.size)
    for name in config.season:
        season += _shape(behaviour, time / _PERIODS_S[name])
    load = smooth(behaviour, time.size, _LOAD_ROWS)
    anomalies = _plan(planting, config)
    values = np.empty((time.size, config.channels))
    for channel in range(config.channels):
        swing = log_uniform(behaviour, 0.1, 100.0)
        seasonal = swing * behaviour.uniform(0.6, 1.2) * season
        common = seasonal + swing * behaviour.uniform(0.3, 0.6) * load
        # Gaussian, because heavy tails would be unlabelled spikes.
        own = smooth(behaviour, time.size, log_uniform(behaviour, 0.1, 3.0))
        series = common + swing * config.noise * own
        deviation = typical_change(series)
        series += swing * behaviour.uniform(3.0, 20.0)
        series += config.drift * deviation * behaviour.choice([-1.0, 1.0]) * np.linspace(0.0, 1.0, time.size)
        for anomaly in anomalies:
            if channel in anomaly.channels:
                rows = slice(anomaly.begin, anomaly.end)
                stretch = _Stretch(series[rows], deviation, seasonal[rows], common[rows])
                _KINDS[anomaly.kind].plant(planting, stretch)
        values[:, channel] = np.round(series, max(0, 3 - int(np.floor(np.log10(swing)))))
    return Stream(config, time, values, anomalies)


def _shape(rng: np.random.Generator, cycles: Float64Array) -> Float64Array:
    """Periodic signal with period 1 in ``cycles``: three harmonics with unit standard deviation."""
    orders = np.arange(1, 4)
    amplitude, shift = rng.uniform(0.5, 1.0, 3) / orders**1.5, rng.random(3)
    amplitude *= np.sqrt(2.0 / np.sum(amplitude**2))
    series = np.zeros(cycles.size)
    for order, size, start in zip(orders, amplitude, shift, strict=True):
        series += size * np.sin(2 * np.pi * (order * cycles + start))
    return series


@dataclass(frozen=True)
class _Stretch:
    """Rows of one channel in which an anomaly is planted.

    Parameters
    ----------
    values
        float64[n], changed in place.
    deviation
        Typical deviation of the channel, see `typical_change`.
    seasonal, common
        float64[n], contributions of the seasons, and of the whole common signal, to the values.
    """

    values: Float64Array
    deviation: float
    seasonal: Float64Array
    common: Float64Array


def _spike(rng: np.random.Generator, stretch: _Stretch) -> None:
    stretch.values[:] += rng.uniform(5.0, 10.0) * stretch.deviation


def _dip(rng: np.random.Generator, stretch: _Stretch) -> None:
    stretch.values[:] -= rng.uniform(5.0, 10.0) * stretch.deviation


def _level_shift(rng: np.random.Generator, stretch: _Stretch) -> None:
    level_shift(rng, stretch.values, 0, rng.uniform(3.0, 6.0) * stretch.deviation)


def _trend(rng: np.random.Generator, stretch: _Stretch) -> None:
    height = rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 8.0) * stretch.deviation
    stretch.values[:] += height * np.linspace(0.0, 1.0, stretch.values.size)


def _variance_change(rng: np.random.Generator, stretch: _Stretch) -> None:
    new_variance(rng, stretch.values, 0, rng.uniform(2.0, 4.0) * stretch.deviation)


def _flat_line(_: np.random.Generator, stretch: _Stretch) -> None:
    stretch.values[:] = stretch.values[0]


def _missing_season(_: np.random.Generator, stretch: _Stretch) -> None:
    stretch.values[:] -= stretch.seasonal - stretch.seasonal[0]


def _correlation_break(_: np.random.Generator, stretch: _Stretch) -> None:
    """Mirror the common signal within its range."""
    stretch.values[:] += stretch.common.max() + stretch.common.min() - 2.0 * stretch.common


@dataclass(frozen=True)
class _Planting:
    """Shape, duration and extent of a kind of anomaly.

    Parameters
    ----------
    plant
        Changes a stretch in place.
    rows
        Shortest and longest duration in rows; None: one period of the shortest season.
    alone
        Whether the anomaly affects a single channel only.
    """

    plant: Callable[[np.random.Generator, _Stretch], None]
    rows: tuple[int, int] | None
    alone: bool = False


_KINDS: dict[LabelledKind, _Planting] = {
    "spike": _Planting(_spike, (1, 3)),
    "dip": _Planting(_dip, (1, 3)),
    "level_shift": _Planting(_level_shift, (30, 120)),
    "trend": _Planting(_trend, (60, 240)),
    "variance_change": _Planting(_variance_change, (30, 120)),
    "flat_line": _Planting(_flat_line, (20, 120)),
    "missing_season": _Planting(_missing_season, None),
    "correlation_break": _Planting(_correlation_break, (60, 240), alone=True),
}


def _plan(rng: np.random.Generator, config: StreamSpec) -> tuple[Anomaly, ...]:
    """Choose kinds, durations, channels and random positions after the quiet part, without overlap."""
    first = int(np.ceil(config.quiet_until * config.rows))
    count = len(config.anomalies) if config.count is None else config.count
    if config.rate_per_day is not None:
        count = round(config.rate_per_day * (config.rows - first) * config.interval_s / 86400.0)
    if not count or not config.anomalies:
        return ()
    rounds = [rng.permutation(len(config.anomalies)) for _ in range(-(-count // len(config.anomalies)))]
    kinds = [config.anomalies[number] for number in np.concatenate(rounds)[:count]]
    rows = np.array([_duration(rng, kind, config) for kind in kinds])
    spare = config.rows - first - int(rows.sum()) - _REST_ROWS * (count + 1)
    if spare < 0:
        raise UserError(
            f"{count} anomalies of {rows.sum():,} rows in total do not fit into the {config.rows - first:,} rows "
            "after the quiet part",
            remedy="plant fewer anomalies or shorter kinds, or choose a later end or a smaller quiet_until",
        )
    rests = np.diff(np.sort(rng.integers(0, spare + 1, count)), prepend=0) + _REST_ROWS
    begins = first + np.cumsum(rests) + np.concatenate(([0], np.cumsum(rows)[:-1]))
    return tuple(
        Anomaly(kind, int(begin), int(begin + n_rows), _affected(rng, kind, config.channels))
        for kind, begin, n_rows in zip(kinds, begins, rows, strict=True)
    )


def _duration(rng: np.random.Generator, kind: LabelledKind, config: StreamSpec) -> int:
    rows = _KINDS[kind].rows
    if rows is None:
        return max(1, round(min(_PERIODS_S[name] for name in config.season) / config.interval_s))
    return round(log_uniform(rng, *rows))


def _affected(rng: np.random.Generator, kind: LabelledKind, n_channels: int) -> tuple[int, ...]:
    """Indices of the affected channels, at most half of all."""
    n_affected = 1 if _KINDS[kind].alone else int(rng.integers(1, max(1, n_channels // 2) + 1))
    return tuple(sorted(rng.choice(n_channels, n_affected, replace=False).tolist()))


def write(stream: Stream, path: Path) -> Path:
    """Write ``NAME.csv`` and ``NAME.labels.json`` atomically.

    Returns
    -------
    Path of the labels.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    labels = path.with_suffix(".labels.json")
    with staged_files(path, labels) as (new_path, new_labels):
        _write_csv(stream, new_path)
        new_labels.write_bytes(msgspec.json.format(msgspec.json.encode(_labels(stream)), indent=1) + b"\n")
    return labels


def _write_csv(stream: Stream, path: Path) -> None:
    whole = float(stream.config.interval_s).is_integer() and float(stream.time[0]).is_integer()
    unit, per_second = ("s", 1) if whole else ("us", 1_000_000)
    time = pa.array(np.rint(stream.time * per_second).astype(np.int64), pa.timestamp(unit, "UTC"))
    table = pa.table([time, *map(pa.array, stream.values.T)], ["timestamp", *stream.channels])
    with path.open("wb") as file:
        file.write((",".join(table.column_names) + "\n").encode())
        pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(include_header=False))


def _labels(stream: Stream) -> dict[str, Any]:
    names = stream.channels
    return {
        "intervals": [
            {
                "begin": moment(float(stream.time[anomaly.begin]), timed=True),
                "end": moment(float(stream.time[anomaly.end - 1]), timed=True),
                "kind": anomaly.kind,
                "channels": [names[channel] for channel in anomaly.channels],
            }
            for anomaly in stream.anomalies
        ],
        "stream": stream.config,
    }
