from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.evaluation.baselines import frozen_z, highest_before, relative_size, running_z


def noise(rows: int = 500, channels: int = 2) -> Any:
    return np.random.default_rng(0).normal(10, 2, (rows, channels)).astype(np.float32)


@pytest.mark.parametrize("score", [relative_size, running_z])
def test_what_follows_never_changes_a_score(score: Any) -> None:
    rows = noise()
    rows[400:] *= 50
    assert np.array_equal(score(rows)[:400], score(rows[:400]))


def test_a_relative_size_is_error_over_usual_error() -> None:
    errors = np.array([[1.0], [1.0], [1.0], [-3.0]], np.float32)
    assert relative_size(errors)[:, 0].tolist() == [0.0, 1.0, 1.0, 3.0]


def test_one_huge_error_does_not_hide_the_next() -> None:
    errors = np.full((40, 1), 1.0, np.float32)
    errors[20] = errors[22] = 100.0
    relative = relative_size(errors)[:, 0]
    assert relative[20] == pytest.approx(100.0)
    assert relative[22] > 80.0


def test_a_channel_that_stood_still_is_bounded_when_it_moves() -> None:
    errors = np.zeros((50, 1), np.float32)
    errors[40] = 1.0
    assert relative_size(errors).max() == pytest.approx(500.0)
    still = np.full((50, 1), 7.0, np.float32)
    still[40] = 8.0
    assert frozen_z(still, 30).max() == running_z(still).max() == 100.0


def test_missing_readings_stay_missing_and_change_nothing() -> None:
    rows = noise()
    holed = np.insert(rows, 100, np.nan, axis=0)
    for score in (relative_size, running_z):
        with_hole = score(holed)
        assert np.isnan(with_hole[100]).all()
        assert np.array_equal(np.delete(with_hole, 100, axis=0), score(rows))


def test_a_frozen_z_is_distance_in_deviations_of_the_first_rows() -> None:
    rows = noise()
    mean, deviation = rows[:300].mean(axis=0, dtype=float), rows[:300].std(axis=0, dtype=float)
    assert frozen_z(rows, 300) == pytest.approx(np.abs(rows - mean) / deviation, rel=1e-5)


def test_a_running_z_approaches_the_distance_in_deviations() -> None:
    rows = noise(3000, 1)
    rows[-1] = 10 + 2 * 8
    assert running_z(rows)[-1, 0] == pytest.approx(8, abs=0.8)


def test_a_threshold_comes_from_the_second_half_of_what_was_learned() -> None:
    score = np.array([9.0, 1.0, 2.0, 3.0, 8.0])
    assert highest_before(score, 4) == 3.0
    assert highest_before(score, 0) == np.inf
