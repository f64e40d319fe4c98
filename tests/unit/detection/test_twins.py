"""Each streaming part of detection says what a plain twin says that keeps the whole past and takes no shortcut.

Readings are random: noise, steps, counts, spikes, values that stick. Some are missing, and channels change hands on the
way. Tolerances are relative to the largest number that the twin says.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from agent.core.persistent_state import capture
from agent.detection.analog_forecast import MEMORY, AnalogForecast
from agent.detection.cross_channel import CrossChannelForecast
from agent.detection.excursion import Excursions
from agent.detection.flatline import FlatLine
from agent.detection.linear_forecast import LinearForecast
from agent.detection.normaliser import Normaliser
from agent.detection.relative_error import Level, RelativeError
from agent.detection.seasonality import Seasons
from agent.detection.thresholds.gaussian import Likelihood, MeanStd
from agent.detection.thresholds.peaks_over_threshold import Spot
from agent.detection.thresholds.quantile import Mad, Percentile
from agent.detection.thresholds.range_novelty import RangeNovelty
from tests.support import naive

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.arrays import BoolArray, Float64Array, IntArray

CHANNELS = 3
EFFECTS = np.array([0.0, 0.5, 20.0])
# A missing reading: some parts may be given anything there, others nothing that is not finite.
ANYTHING, JUNK = np.nan, 123.0


class Part(NamedTuple):
    """A part under test and its twin.

    Parameters
    ----------
    make
        The part, for `CHANNELS` channels.
    step
        Takes in a row; gives what the part says after it, float64[k, n].
    twin
        Of the channel of this index.
    reset
        Gives channels to others.
    """

    make: Callable[[], Any]
    step: Callable[[Any, Float64Array, BoolArray], Any]
    twin: Callable[[int], naive.Twin]
    reset: Callable[[Any, IntArray], None] = lambda part, channels: part.reset(channels)
    missing: float = JUNK
    rows: int = 450
    every: int = 4
    tolerance: float = 1e-9


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
        # Short, so that longer ones are measured by it; then as long as a fault.
        for begin, end in ((200, 214), (250, 340), (500, 780)):
            values[begin:end] = values[begin : begin + 1]
    # The first channel is always there; the others are missing at random, and for a while.
    values[:, 1:][rng.random((rows, CHANNELS - 1)) < 0.1] = np.nan
    values[rows // 3 : rows // 3 + 40, 2] = np.nan
    return np.asarray(values)


def threshold_step(threshold: Any, values: Float64Array, valid: BoolArray) -> Any:
    threshold.learn(values, valid)
    return np.stack(threshold.limits())


def threshold_reset(threshold: Any, channels: IntArray) -> None:
    threshold.reset(channels, EFFECTS[channels])


def normaliser_step(normaliser: Normaliser, values: Float64Array, valid: BoolArray) -> Any:
    features = normaliser.update(values, valid)
    return np.stack((normaliser.centre, normaliser.deviation, normaliser.change, *features.T))


def seasons_step(seasons: Seasons, values: Float64Array, valid: BoolArray) -> Any:
    seasons.push(np.where(valid, values, np.nan))
    nothing, one = np.zeros(CHANNELS), np.ones(CHANNELS)
    return np.vstack((seasons.features(nothing, one, one).T, seasons.departure(np.full(CHANNELS, 2.5))))


def relative_error_step(ratio: RelativeError, values: Float64Array, valid: BoolArray) -> Any:
    ratio.learn(np.abs(values), valid, np.full(CHANNELS, 0.1))
    return np.stack((ratio.usual, ratio.of(np.full(CHANNELS, 3.0), np.full(CHANNELS, 0.1))))


def level_step(level: Level, values: Float64Array, valid: BoolArray) -> Any:
    return np.stack((level.follow(values, valid), level.floor))


def flat_line_step(rule: FlatLine, values: Float64Array, valid: BoolArray) -> Any:
    # 0 may stand for anything less than 1: see `FlatLine.step`.
    strength = rule.step(values, valid)
    return np.where(strength >= 1.0, strength, 0.0)[None]


class FlatLineTwin(naive.FlatLineTwin):
    def said(self) -> tuple[float, ...]:
        (strength,) = super().said()
        return (strength if strength >= 1.0 else 0.0,)


def analogue_step(analogue: AnalogForecast, values: Float64Array, valid: BoolArray) -> Any:
    analogue.follow(values, valid)
    return np.stack((analogue.distance, analogue.error))


def readout_step(readout: LinearForecast, values: Float64Array, valid: BoolArray) -> Any:
    readout.learn(values, np.zeros((CHANNELS, 0), np.float32), valid, valid)
    return readout.forecast[None]


def threshold(make: Any, twin: Any, memory: float = 150.0, **parameters: Any) -> Part:
    return Part(
        lambda: make(EFFECTS.copy(), memory, **parameters),
        threshold_step,
        lambda channel: twin(EFFECTS[channel], memory, **parameters),
        threshold_reset,
        missing=ANYTHING,
    )


EPSILON = 1e-4
K = NormalDist().inv_cdf(1.0 - EPSILON)
PARTS = {
    "Normaliser": Part(
        lambda: Normaliser(CHANNELS, EFFECTS.copy(), 100),
        normaliser_step,
        lambda channel: naive.NormaliserTwin(EFFECTS[channel], 100.0),
        lambda part, channels: part.reset(channels, EFFECTS[channels]),
        tolerance=1e-6,  # features are float32
    ),
    "Seasons": Part(
        lambda: Seasons(np.array([5, 12, 0])),
        seasons_step,
        lambda channel: naive.SeasonsTwin((5, 12, 0)[channel], 1),
        tolerance=1e-6,
    ),
    "Seasons, thinned": Part(
        lambda: Seasons(np.array([12, 20, 40]), thin=4),
        seasons_step,
        lambda channel: naive.SeasonsTwin((12, 20, 40)[channel], 4),
        tolerance=1e-6,
    ),
    "RelativeError": Part(
        lambda: RelativeError(CHANNELS, 80.0),
        relative_error_step,
        lambda _: naive.RelativeErrorTwin(80.0, floor=0.1),
        missing=ANYTHING,
    ),
    "RelativeError, settled": Part(
        lambda: RelativeError(CHANNELS, 400.0, 60.0),
        relative_error_step,
        lambda _: naive.RelativeErrorTwin(400.0, 60.0, floor=0.1),
        missing=ANYTHING,
    ),
    "Level": Part(lambda: Level(CHANNELS, 400.0), level_step, lambda _: naive.LevelTwin(400.0)),
    "FlatLine": Part(
        lambda: FlatLine(CHANNELS, 10.0, 0.0), flat_line_step, lambda _: FlatLineTwin(10.0, 0.0), rows=800
    ),
    "FlatLine, with a floor": Part(
        lambda: FlatLine(CHANNELS, 60.0, 0.3), flat_line_step, lambda _: FlatLineTwin(60.0, 0.3), rows=800
    ),
    "RangeNovelty": threshold(RangeNovelty, naive.RangeNoveltyTwin, 150.0, novelty=0.14),
    "RangeNovelty, long memory": threshold(RangeNovelty, naive.RangeNoveltyTwin, 5000.0, novelty=0.3),
    "MeanStd": threshold(MeanStd, naive.MeanStdTwin, k=4.0),
    "Percentile": threshold(Percentile, naive.PercentileTwin, percentile=99.0),
    "Mad": threshold(Mad, naive.MadTwin, k=5.0),
    "Likelihood": Part(
        lambda: Likelihood(EFFECTS.copy(), 150.0, epsilon=EPSILON, short_rows=6.0),
        threshold_step,
        lambda channel: naive.LikelihoodTwin(EFFECTS[channel], 150.0, K, 6.0),
        threshold_reset,
        missing=ANYTHING,
    ),
    "Spot": threshold(Spot, naive.SpotTwin, risk=1e-3, calibration_rows=100, depth_rows=0.0),
    "Dspot": threshold(Spot, naive.SpotTwin, risk=1e-3, calibration_rows=100, depth_rows=20.0),
    "AnalogForecast": Part(
        lambda: AnalogForecast(CHANNELS),
        analogue_step,
        lambda _: naive.AnalogForecastTwin(MEMORY),
        rows=600,
        every=151,
        tolerance=1e-4,  # squares are float32
    ),
    "LinearForecast": Part(
        lambda: LinearForecast(CHANNELS, 0),
        readout_step,
        lambda _: naive.LinearForecastTwin(),
        rows=900,
        every=50,
        tolerance=1e-3,  # moments are float32
    ),
}
KINDS = ("noise", "steps", "counts", "spikes", "walk", "stuck")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PARTS)
def test_a_part_says_what_its_plain_twin_says(name: str, kind: str) -> None:
    part = PARTS[name]
    rows = draw(kind, part.rows)
    one = part.make()
    twins = [part.twin(channel) for channel in range(CHANNELS)]
    # Two channels are given to others, at different rows.
    renewed = {part.rows * 2 // 5: 1, part.rows * 3 // 5 + 7: 0}
    for row, values in enumerate(rows):
        if row in renewed:
            channel = renewed[row]
            part.reset(one, np.array([channel]))
            twins[channel] = part.twin(channel)
        valid = ~np.isnan(values)
        said = part.step(one, np.where(valid, values, part.missing), valid)
        for twin, value in zip(twins, values.tolist(), strict=True):
            twin.take(row, None if math.isnan(value) else value)
        if row % part.every and row + 1 < part.rows:
            continue
        expected = np.array([twin.said() for twin in twins]).T
        finite = np.abs(expected[np.isfinite(expected)])
        margin = part.tolerance * (1.0 + finite.max(initial=0.0))
        np.testing.assert_allclose(said, expected, rtol=part.tolerance, atol=margin, err_msg=f"row {row}")


@pytest.mark.parametrize("seed", range(4))
def test_the_other_channels_say_what_a_regression_on_them_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 2 + seed
    common = rng.normal(size=(400, 2)) @ rng.normal(size=(2, n))
    rows = common + rng.normal(scale=0.4, size=common.shape)
    which = rng.random(rows.shape) > 0.05
    relation = CrossChannelForecast(n)
    solved, due = 0, 100
    for row, (values, there) in enumerate(zip(rows, which, strict=True), 1):
        relation.learn(values, there)
        if row >= due:
            solved, due = row, round(1.25 * row) + 1
        if not solved or row % 17:
            continue
        moments, weight = naive.cross_channel_moments((rows * which)[:solved])
        usual = rng.normal(scale=0.3, size=n)
        expected, size = naive.unexpected_by_regression(moments, weight, usual)
        if (np.abs(expected) <= 3.0 * size).all():
            np.testing.assert_allclose(relation.unexpected(usual), expected, rtol=1e-4, atol=1e-4)
        # One that is far off is left out: the others are what a regression without it makes of them, but for a factor.
        far = usual.copy()
        far[0] = 6.0
        expected, size = naive.unexpected_by_regression(moments, weight, far)
        without, size_without = naive.unexpected_by_regression(moments[1:, 1:], weight, far[1:])
        shrunk = without * (size[1:] / size_without) ** 2
        if (np.abs(expected / size).argmax() == 0) and (np.abs(shrunk) <= 3.0 * size[1:]).all():
            np.testing.assert_allclose(relation.unexpected(far), [expected[0], *shrunk], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_band_of_an_excursion_holds_the_middle_of_the_last_64_blocks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half_effect = np.array([0.0, 0.7])
    excursions = Excursions(half_effect, 1.0, block_rows=1, confirm_s=5.0, accept_after_s=600.0)
    blocks = rng.standard_t(3.0, (64 + 40 * seed, 2))
    for row in blocks:
        excursions.push(row)
    excursions.begin(np.full(2, 2.0), np.full((3, 2), 2.0), blocks[-1])
    band = capture(excursions)[""]["band"]
    for channel, half in enumerate(half_effect):
        ordered = sorted(blocks[-64:, channel])
        # Between the places 0.05 · 63 = 3.15 and 0.95 · 63 = 59.85 of the sorted 64, linearly.
        low = ordered[3] + 0.15 * (ordered[4] - ordered[3])
        high = ordered[59] + 0.85 * (ordered[60] - ordered[59])
        assert band[:, channel] == pytest.approx([low - half, high + half], rel=1e-6, abs=1e-6)
