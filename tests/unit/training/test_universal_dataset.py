from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.core.ring_buffer import RingBuffer
from agent.detection.normaliser import Normaliser
from agent.detection.scaling import squash, unsquash
from agent.detection.seasonality import Seasons
from training.networks.universal_dataset import WARM_UP, draw_floors, trace, windows
from training.synthetic.series import days, simulate

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

LENGTH = WARM_UP + 201
DAYS = days(11, 30)


@pytest.fixture(name="series")
def _series() -> Float64Array:
    return simulate(11, 30, LENGTH)


def test_features_are_what_the_agent_computes_channel_by_channel(series: Float64Array) -> None:
    floors = draw_floors(1, series)
    traced = trace(series, floors, DAYS)
    for channel in (0, 7, 29):
        alone, seasons = Normaliser(1, floors[channel : channel + 1]), Seasons(DAYS[channel : channel + 1])
        for t in range(LENGTH - 1):
            row = alone.update(series[channel, t : t + 1], np.array([True]))
            seasons.push(series[channel, t : t + 1])
            season = seasons.features(alone.centre, alone.spread, alone.usual_change)
            if t >= WARM_UP:
                k = t - WARM_UP
                assert (traced.features[channel, k] == np.concatenate((row[0], season[0]))).all()
                assert traced.centre[channel, k] == alone.centre[0]
                assert traced.spread[channel, k] == alone.spread[0]


def test_a_forecast_equal_to_its_target_names_the_next_reading(series: Float64Array) -> None:
    traced = trace(series, np.zeros(len(series)), DAYS)
    level = traced.features[..., 0].astype(np.float64)
    named = traced.centre + traced.spread * unsquash(level + traced.target)
    following = series[:, WARM_UP + 1 :]
    within = np.abs(squash((following - traced.centre) / traced.spread)) < 11.9  # beyond it, clipped
    assert within.mean() > 0.99
    scale = np.abs(following - traced.centre) + traced.spread
    assert np.max(np.abs(named - following)[within] / scale[within]) < 1e-5


def test_the_warm_up_is_left_out_and_the_last_row_is_a_target_only(series: Float64Array) -> None:
    traced = trace(series, np.zeros(len(series)), DAYS)
    assert traced.features.shape == (30, 200, 8)
    assert traced.target.shape == (30, 200)


def test_windows_are_the_agents_ring_normalised_by_its_closing_statistics(series: Float64Array) -> None:
    floors = draw_floors(2, series)
    traced = trace(series, floors, DAYS)
    normaliser, ring = Normaliser(len(series), floors), RingBuffer(len(series), 32)
    for t in range(WARM_UP + 101):
        normaliser.update(series[:, t], np.ones(len(series), bool))
        ring.push(series[:, t])
    expected = squash((ring.view() - normaliser.centre[:, None]) / normaliser.spread[:, None])
    everyone = np.arange(len(series))
    found = windows(series, traced, everyone, np.full(len(series), 100), 32)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_most_channels_have_no_floor_and_the_others_none_below_their_noise_by_far(series: Float64Array) -> None:
    floors = draw_floors(3, simulate(12, 500, 100))
    assert 0.6 < (floors == 0).mean() < 0.8
    assert (draw_floors(3, series) == draw_floors(3, series)).all()
