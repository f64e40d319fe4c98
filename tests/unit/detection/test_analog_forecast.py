"""The most similar past is found, and a course without a similar past gets a large distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.core.persistent_state import capture
from agent.detection.analog_forecast import MEMORY, AnalogForecast
from tests.support.naive import AnalogForecastTwin

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

WINDOW = 32


def run(analogue: AnalogForecast, rows: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Distance and error of each row, float64[rows, n] each."""
    valid = ~np.isnan(rows)
    told = []
    for row, there in zip(np.nan_to_num(rows), valid, strict=True):
        analogue.follow(row, there)
        told.append((analogue.distance, analogue.error))
    distance, error = np.moveaxis(np.array(told), 1, 0)
    return distance, error


@pytest.mark.parametrize("rows", [150, 700, MEMORY + 300])
def test_it_finds_what_a_search_through_all_of_the_past_finds(rows: int) -> None:
    rng = np.random.default_rng(rows)
    series = 1000 + np.sin(np.arange(rows) / 9) + rng.normal(0, 0.3, rows)
    distance, error = run(AnalogForecast(1), series[:, None])
    twin = AnalogForecastTwin(MEMORY)
    for row, value in enumerate(series.tolist()):
        twin.take(row, value)
    np.testing.assert_allclose((distance[-1, 0], error[-1, 0]), twin.said(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("height", [0.0, 20.0])
def test_a_beat_unlike_the_others_stands_out(height: float) -> None:
    beats = np.where(np.arange(3000) % 60 < 5, 10.0, 0.0) + np.random.default_rng(0).normal(0, 0.1, 3000)
    beats[2400:2405] += height - 10.0
    distance, error = run(AnalogForecast(1), beats[:, None])
    assert distance[2000:2400].max() < 0.5
    assert distance[2404] > 2.0
    assert error[2000:2400].max() < 1.0
    assert height == 0.0 or error[2400:2405].min() > 8.0  # a constant course always has a similar past


def test_nothing_is_said_of_what_is_missing_or_young() -> None:
    rows = np.random.default_rng(0).normal(0, 1, (300, 2))
    rows[200:210, 1] = np.nan
    distance, error = run(AnalogForecast(2), rows)
    for told in (distance, error):
        assert np.isnan(told[: 4 * WINDOW]).all()
        assert np.isnan(told[200:210, 1]).all()
        assert np.isfinite(told[4 * WINDOW :, 0]).all()
        assert np.isfinite(told[210:, 1]).all()


def test_channels_do_not_know_of_each_other() -> None:
    rows = np.random.default_rng(1).normal(0, 1, (400, 3)).cumsum(axis=0)
    together = run(AnalogForecast(3), rows)
    alone = run(AnalogForecast(1), rows[:, 1:2])
    for each, same in zip(together, alone, strict=True):
        np.testing.assert_array_equal(each[:, 1], same[:, 0])


def test_a_lane_that_is_new_begins_anew() -> None:
    rng = np.random.default_rng(2)
    several, fresh = AnalogForecast(2), AnalogForecast(1)
    run(several, rng.normal(0, 1, (MEMORY + 77, 2)))
    several.reset(np.array([1]))
    rows = rng.normal(50, 1, (400, 1))
    for mine, same in zip(run(several, np.hstack([rows, rows])), run(fresh, rows), strict=True):
        np.testing.assert_array_equal(mine[:, 1], same[:, 0])


def test_numbers_of_every_size_are_borne() -> None:
    rows = np.repeat([[0.0], [1e300], [-1e300], [0.0]], 1000, axis=0)
    analogue = AnalogForecast(1)
    with np.errstate(all="raise", under="ignore"):
        distance, error = run(analogue, rows)
    assert np.isfinite(distance[4 * WINDOW :]).all()
    assert np.isfinite(error[4 * WINDOW :]).all()


def test_what_stands_still_does_not_fade_into_numbers_that_are_slow_to_reckon_with() -> None:
    analogue = AnalogForecast(1)
    run(analogue, np.concatenate((np.ones(50), np.zeros(4000)))[:, None])
    assert capture(analogue)[""]["squares"].min() > np.finfo(np.float32).tiny


def test_unused_it_says_and_keeps_nothing() -> None:
    analogue = AnalogForecast(3, used=False)
    distance, error = run(analogue, np.ones((300, 3)))
    assert np.isnan(distance).all()
    assert np.isnan(error).all()
    assert analogue.covered.tolist() == [0.0, 0.0, 0.0]
    assert capture(analogue) == {}
