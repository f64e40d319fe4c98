"""Uniform access to every streaming part of detection, with its plain twin if there is one."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agent.detection.analog_forecast import MEMORY, AnalogForecast
from agent.detection.cross_channel import CrossChannelForecast
from agent.detection.excursion import Excursions
from agent.detection.flatline import FlatLine
from agent.detection.lasting_deviation import LastingDeviation
from agent.detection.linear_forecast import LinearForecast
from agent.detection.normaliser import Normaliser
from agent.detection.relative_error import Level, RelativeError
from agent.detection.return_level import ReturnLevels
from agent.detection.seasonality import Seasons
from agent.detection.state_score import StateHead
from agent.detection.thresholds.gaussian import Likelihood, MeanStd
from agent.detection.thresholds.peaks_over_threshold import Spot
from agent.detection.thresholds.quantile import Mad, Percentile
from agent.detection.thresholds.range_novelty import RangeNovelty
from tests.support import naive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["CHANNELS", "KINDS", "PARTS", "StreamingPart", "draw", "fed"]

CHANNELS = 3
EFFECTS = np.array([0.0, 0.5, 20.0])
# Value for a missing reading: some parts accept anything, others need a finite number.
ANYTHING, JUNK = np.nan, 123.0


class StreamingPart(NamedTuple):
    """Test adapter of a part of detection.

    Parameters
    ----------
    make
        The part for these of the `CHANNELS` channels.
    step
        Takes in a row and its mask; gives what the part says after it, float64[k, n].
    reset
        Gives channels, by their places in the part, to these of the `CHANNELS`.
    twin
        The twin of one of the `CHANNELS`, where there is one.
    missing
        Stands in rows where nothing is read.
    rows, every, tolerance
        Rows to compare with the twin, at one of so many, and how closely.
    alone
        Whether channels do not know of each other.
    """

    make: Callable[[Sequence[int]], Any]
    step: Callable[[Any, Float64Array, BoolArray], Float64Array]
    reset: Callable[[Any, IntArray, Sequence[int]], None] = lambda part, places, _: part.reset(places)
    twin: Callable[[int], naive.Twin] | None = None
    missing: float = JUNK
    rows: int = 450
    every: int = 4
    tolerance: float = 1e-9
    alone: bool = True


def draw(kind: str, rows: int) -> Float64Array:
    """Readings, float64[rows, CHANNELS], NaN where one is missing."""
    rng = np.random.default_rng([rows, len(kind)])
    noise = rng.normal(0.0, [0.3, 2.0, 50.0], (rows, CHANNELS))
    values = {
        "noise": noise + np.array([0.0, 100.0, -7.0]),
        "steps": np.where(rng.random((rows, CHANNELS)) < 0.02, noise * 5.0, 0.0).cumsum(axis=0),
        "counts": rng.poisson([0.2, 3.0, 40.0], (rows, CHANNELS)).astype(float),
        "spikes": noise + np.where(rng.random((rows, CHANNELS)) < 0.01, 1e4, 0.0),
        "walk": noise.cumsum(axis=0),
        "stuck": np.column_stack((noise[:, :2], rng.poisson(0.5, rows))),
    }[kind]
    if kind == "stuck":
        # Short constant runs to learn from, then one as long as a fault.
        for begin, end in ((200, 214), (250, 340), (500, 780)):
            values[begin:end] = values[begin : begin + 1]
    # The first channel is complete; the others miss random readings, and a longer stretch.
    values[:, 1:][rng.random((rows, CHANNELS - 1)) < 0.1] = np.nan
    values[rows // 3 : rows // 3 + 40, 2] = np.nan
    return np.asarray(values)


def fed(part: StreamingPart, one: Any, rows: Float64Array) -> Float64Array:
    """Outputs of a part for each row, float64[rows, k, n]; NaN readings are missing."""
    said = []
    for values in rows:
        valid = ~np.isnan(values)
        said.append(np.array(part.step(one, np.where(valid, values, part.missing), valid)))
    return np.array(said)


def _threshold_step(threshold: Any, values: Float64Array, valid: BoolArray) -> Float64Array:
    threshold.learn(values, valid)
    return np.stack(threshold.limits())


def _normaliser_step(normaliser: Normaliser, values: Float64Array, valid: BoolArray) -> Float64Array:
    features = normaliser.update(values, valid)
    return np.stack((normaliser.centre, normaliser.deviation, normaliser.change, *features.T))


def _seasons_step(seasons: Seasons, values: Float64Array, valid: BoolArray) -> Float64Array:
    seasons.push(np.where(valid, values, np.nan))
    nothing, one = np.zeros(values.size), np.ones(values.size)
    return np.vstack((seasons.features(nothing, one, one).T, seasons.departure(2.5 * one)))


def _relative_error_step(ratio: RelativeError, values: Float64Array, valid: BoolArray) -> Float64Array:
    floor = np.full(values.size, 0.1)
    ratio.learn(np.abs(values), valid, floor)
    return np.stack((ratio.usual, ratio.of(np.full(values.size, 3.0), floor)))


def _return_levels_step(levels: ReturnLevels, values: Float64Array, valid: BoolArray) -> Float64Array:
    levels.learn(values, valid)
    days = levels.period_s(levels.begin + 0.5) / 86400.0
    return np.stack((levels.begin, levels.level(86400.0), days))


def _level_step(level: Level, values: Float64Array, valid: BoolArray) -> Float64Array:
    return np.stack((level.follow(values, valid), level.floor))


def _flat_line_step(rule: FlatLine, values: Float64Array, valid: BoolArray) -> Float64Array:
    # 0 may stand for anything less than 1: see `FlatLine.step`.
    strength = rule.step(values, valid)
    return np.where(strength >= 1.0, strength, 0.0)[None]


class _FlatLineTwin(naive.FlatLineTwin):
    def said(self) -> tuple[float, ...]:
        (strength,) = super().said()
        return (strength if strength >= 1.0 else 0.0,)


def _analogue_step(analogue: AnalogForecast, values: Float64Array, valid: BoolArray) -> Float64Array:
    analogue.follow(values, valid)
    return np.stack((analogue.distance, analogue.error))


def _readout_step(readout: LinearForecast, values: Float64Array, valid: BoolArray) -> Float64Array:
    readout.learn(values, np.zeros((values.size, 0), np.float32), valid, valid)
    return readout.forecast[None]


def _cross_channel_step(relation: CrossChannelForecast, values: Float64Array, valid: BoolArray) -> Float64Array:
    relation.learn(values, valid)
    return relation.unexpected(np.where(valid, values, 0.0))[None]


def _deviation_step(deviation: LastingDeviation, values: Float64Array, valid: BoolArray) -> Float64Array:
    deviation.follow(np.where(valid, values, np.nan), np.abs(values) / 2.0)
    return deviation.lasts.astype(np.float64)[None]


def _excursions_step(excursions: Excursions, values: Float64Array, valid: BoolArray) -> Float64Array:
    strength = np.where(valid & (np.abs(values) > 3.0), 2.0, 0.0)
    began = excursions.begin(strength, np.stack((strength, strength / 2.0, strength / 3.0)), values)
    accepted = excursions.follow(strength, values, valid, np.zeros(values.size, bool))
    excursions.push(values)
    flags = (began, accepted, excursions.on, excursions.anomalous, excursions.deviating)
    return np.stack((*flags, excursions.strength, excursions.lasted)).astype(np.float64)


def _state_step(head: StateHead, values: Float64Array, valid: BoolArray) -> Float64Array:
    n = values.size
    head.follow(values, valid, np.ones(n), [np.where(valid, np.abs(values), 0.0)])
    head.learn(values, np.zeros((n, 0), np.float32), valid, valid)
    return np.stack((head.state, head.floor))


def _threshold(make: Any, twin: Any, memory: float = 150.0, **parameters: Any) -> StreamingPart:
    return StreamingPart(
        lambda which: make(EFFECTS[which], memory, **parameters),
        _threshold_step,
        lambda part, places, which: part.reset(places, EFFECTS[which]),
        lambda channel: twin(EFFECTS[channel], memory, **parameters),
        missing=ANYTHING,
    )


def _seasons(days: Sequence[int], thin: int) -> StreamingPart:
    return StreamingPart(
        lambda which: Seasons(np.array(days)[which], thin),
        _seasons_step,
        twin=lambda channel: naive.SeasonsTwin(days[channel], thin),
        tolerance=1e-6,  # values are float32
    )


def _relative_error(memory: float, settled: float = np.inf) -> StreamingPart:
    return StreamingPart(
        lambda which: RelativeError(len(which), memory, settled),
        _relative_error_step,
        twin=lambda _: naive.RelativeErrorTwin(memory, settled, floor=0.1),
        missing=ANYTHING,
    )


def _flat_line(interval_s: float, floor: float) -> StreamingPart:
    return StreamingPart(
        lambda which: FlatLine(len(which), interval_s, floor),
        _flat_line_step,
        twin=lambda _: _FlatLineTwin(interval_s, floor),
        rows=800,
    )


def _return_levels(block_s: float, memory: float, gap: int) -> StreamingPart:
    return StreamingPart(
        lambda which: ReturnLevels(np.full(len(which), block_s), memory * block_s, np.full(len(which), float(gap))),
        _return_levels_step,
        twin=lambda _: naive.ReturnLevelsTwin(block_s, memory, gap),
        missing=ANYTHING,
        rows=700,
        every=23,
        tolerance=1e-7,  # the exponential of excesses over the begin
    )


_EPSILON = 1e-4
_K = NormalDist().inv_cdf(1.0 - _EPSILON)

#: All of them, by their names.
PARTS = {
    "Normaliser": StreamingPart(
        lambda which: Normaliser(len(which), EFFECTS[which], 100),
        _normaliser_step,
        lambda part, places, which: part.reset(places, EFFECTS[which]),
        lambda channel: naive.NormaliserTwin(EFFECTS[channel], 100.0),
        tolerance=1e-6,  # features are float32
    ),
    "Seasons": _seasons((5, 12, 0), 1),
    "Seasons, thinned": _seasons((12, 20, 40), 4),
    "RelativeError": _relative_error(80.0),
    "RelativeError, settled": _relative_error(400.0, 60.0),
    "Level": StreamingPart(lambda which: Level(len(which), 400.0), _level_step, twin=lambda _: naive.LevelTwin(400.0)),
    "ReturnLevels": _return_levels(600.0, 1e4, 1),
    "ReturnLevels, clusters of a day at most": _return_levels(3600.0, 150.0, 6),
    "FlatLine": _flat_line(10.0, 0.0),
    "FlatLine, with a floor": _flat_line(60.0, 0.3),
    "RangeNovelty": _threshold(RangeNovelty, naive.RangeNoveltyTwin, novelty=0.14),
    "RangeNovelty, long memory": _threshold(RangeNovelty, naive.RangeNoveltyTwin, 5000.0, novelty=0.3),
    "MeanStd": _threshold(MeanStd, naive.MeanStdTwin, k=4.0),
    "Percentile": _threshold(Percentile, naive.PercentileTwin, percentile=99.0),
    "Mad": _threshold(Mad, naive.MadTwin, k=5.0),
    "Likelihood": _threshold(
        lambda effect, memory: Likelihood(effect, memory, epsilon=_EPSILON, short_rows=6.0),
        lambda effect, memory: naive.LikelihoodTwin(effect, memory, _K, 6.0),
    ),
    "Spot": _threshold(Spot, naive.SpotTwin, risk=1e-3, calibration_rows=100, depth_rows=0.0),
    "Dspot": _threshold(Spot, naive.SpotTwin, risk=1e-3, calibration_rows=100, depth_rows=20.0),
    "AnalogForecast": StreamingPart(
        lambda which: AnalogForecast(len(which)),
        _analogue_step,
        twin=lambda _: naive.AnalogForecastTwin(MEMORY),
        rows=600,
        every=151,
        tolerance=1e-4,  # squares are float32
    ),
    "LinearForecast": StreamingPart(
        lambda which: LinearForecast(len(which), 0),
        _readout_step,
        twin=lambda _: naive.LinearForecastTwin(),
        rows=900,
        every=50,
        tolerance=1e-3,  # moments are float32
    ),
    "CrossChannelForecast": StreamingPart(
        lambda which: CrossChannelForecast(len(which)), _cross_channel_step, tolerance=1e-4, alone=False
    ),
    "LastingDeviation": StreamingPart(lambda which: LastingDeviation(len(which)), _deviation_step),
    "Excursions": StreamingPart(
        lambda which: Excursions(EFFECTS[which] / 2.0, 1.0, block_rows=1, confirm_s=5.0, accept_after_s=60.0),
        _excursions_step,
        lambda part, places, which: part.reset(places, EFFECTS[which] / 2.0),
        missing=0.0,  # 0 for a channel without readings
    ),
    "StateHead": StreamingPart(lambda which: StateHead(len(which), 0, 1), _state_step),
}
#: Of `draw`.
KINDS = ("noise", "steps", "counts", "spikes", "walk", "stuck")
