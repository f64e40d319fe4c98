from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from training.synthetic.disturbances import DISTURBANCES, typical_change
from training.synthetic.processes import PROCESSES, Span
from training.synthetic.series import digest, simulate

if TYPE_CHECKING:
    from training.synthetic.disturbances import Disturbance
    from training.synthetic.processes import Process


def _name(function: Any) -> str:
    return str(function.__name__)


def test_the_same_seed_gives_the_same_series() -> None:
    assert (simulate(3, 40, 200) == simulate(3, 40, 200)).all()
    assert digest(simulate(3, 40, 200)) == digest(simulate(3, 40, 200))


def test_another_seed_gives_other_series() -> None:
    assert digest(simulate(3, 40, 200)) != digest(simulate(4, 40, 200))


def test_a_series_does_not_depend_on_how_many_are_drawn() -> None:
    assert (simulate(3, 40, 200)[:5] == simulate(3, 5, 200)).all()


def test_every_value_is_a_finite_float32_as_readings_are() -> None:
    series = simulate(5, 400, 300)
    assert np.isfinite(series).all()
    assert (series == series.astype(np.float32)).all()


def test_undisturbed_series_are_the_same_but_for_the_disturbances() -> None:
    normal, disturbed = simulate(5, 200, 300, disturbed=False), simulate(5, 200, 300)
    changed = (normal != disturbed).any(axis=1).mean()
    assert 0.2 < changed < 0.6


@pytest.mark.parametrize("process", sorted(set(PROCESSES), key=_name), ids=_name)
@pytest.mark.parametrize("length", [150, 2400])
def test_every_process_gives_finite_series_of_the_length_asked_for(process: Process, length: int) -> None:
    for seed in range(60):
        series = process(np.random.default_rng(seed), Span(length, 24.0))
        assert series.shape == (length,)
        assert series.dtype == np.float64
        assert np.isfinite(series).all()


def test_processor_and_memory_stay_within_0_and_100() -> None:
    for process in PROCESSES:
        if _name(process) in {"_cpu", "_memory"}:
            for seed in range(50):
                series = process(np.random.default_rng(seed), Span(1000, 96.0))
                assert series.min() >= 0.0
                assert series.max() <= 100.0


def test_processors_saturate_and_rates_rest_at_exactly_zero() -> None:
    by_name = {_name(process): process for process in PROCESSES}
    draw = [np.random.default_rng(seed) for seed in range(60)]
    assert any((by_name["_cpu"](rng, Span(1000, 96.0)) == 100.0).any() for rng in draw)
    assert any((by_name["_rate"](rng, Span(1000, 96.0)) == 0.0).any() for rng in draw)


@pytest.mark.parametrize("disturb", sorted(set(DISTURBANCES), key=_name), ids=_name)
def test_a_disturbance_leaves_everything_before_its_row_alone(disturb: Disturbance) -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(size=200)
    before = series.copy()
    disturb(rng, series, 120, 5.0 * typical_change(series))
    assert (series[:120] == before[:120]).all()
    assert (series[120:] != before[120:]).any()


def test_a_flat_series_is_disturbed_by_a_visible_amount() -> None:
    assert typical_change(np.full(50, 2000.0)) == pytest.approx(20.0)
