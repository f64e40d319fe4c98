from __future__ import annotations

import csv
import lzma
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.benchmark.accuracy.nab import alerts_score
from tools.benchmark.accuracy.nab_files import NabFile, nab_files
from training.evaluation.metrics.nab import PROFILES, NabSeries, NabSweep, probation_rows, score, score_at, split_halves

DATA = Path(os.environ.get("EDGEWATCH_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
STANDARD, LOW_FP, LOW_FN = PROFILES


def sigmoid(position: float) -> float:
    return float(2 / (1 + np.exp(5 * position)) - 1)


def series(detected: dict[int, float], windows: list[list[int]], rows: int = 40, probation: int = 5) -> NabSeries:
    scores = np.zeros(rows)
    for row, value in detected.items():
        scores[row] = value
    return NabSeries("s", scores, np.array(windows, np.int64).reshape(-1, 2), probation)


def test_a_window_is_worth_most_at_its_begin_and_counts_once() -> None:
    at_begin = score_at([series({10: 1, 12: 1}, [[10, 20]])], STANDARD, 1)
    assert at_begin == pytest.approx(100)
    later = score_at([series({15: 1, 17: 1}, [[10, 20]])], STANDARD, 1)
    assert later == pytest.approx(100 * (1 + sigmoid(-0.5) / sigmoid(-1)) / 2)


def test_a_false_detection_costs_less_right_behind_a_window_and_all_of_its_weight_elsewhere() -> None:
    found = series({10: 1, 7: 1}, [[10, 20]])
    assert score_at([found], STANDARD, 1) == pytest.approx(100 * (2 - 0.11) / 2)
    assert score_at([found], LOW_FP, 1) == pytest.approx(100 * (2 - 0.22) / 2)
    behind = series({10: 1, 22: 1}, [[10, 20]])
    assert score_at([behind], STANDARD, 1) == pytest.approx(100 * (2 + 0.11 * sigmoid(3 / 9)) / 2)


def test_a_missed_window_costs_the_profiles_weight() -> None:
    half = series({10: 1}, [[10, 20], [30, 35]])
    assert score_at([half], STANDARD, 1) == pytest.approx(50)
    assert score_at([half], LOW_FN, 1) == pytest.approx(100 * (1 - 2 + 4) / 6)


def test_nothing_counts_in_the_probation() -> None:
    assert score_at([series({3: 1, 10: 1}, [[10, 20]])], STANDARD, 1) == pytest.approx(100)
    assert probation_rows(1000) == 150
    assert probation_rows(9000) == 750


def test_the_best_threshold_is_found_over_all_series_at_once() -> None:
    one, other = series({10: 0.9, 25: 0.4}, [[10, 20]]), series({12: 0.6, 30: 0.5}, [])
    best = score([one, other], STANDARD)
    assert (best.threshold, best.score) == (0.9, pytest.approx(100))
    assert score_at([one, other], STANDARD, 0.6) == pytest.approx(100 * (2 - 0.11) / 2)
    assert score_at([one, other], STANDARD, 0.95) == 0.0


def test_no_detection_is_better_than_only_false_ones() -> None:
    nothing = score([series({25: 1}, [[10, 12]], rows=400)], STANDARD)
    assert nothing.score == 0.0
    assert nothing.threshold == np.inf


@pytest.mark.parametrize("profile", PROFILES)
def test_the_sweep_agrees_with_counting_at_each_threshold(profile: Any) -> None:
    rng = np.random.default_rng(1)
    many = [
        NabSeries("s", rng.integers(0, 30, 300) / 30, np.array([[60, 90], [150, 151], [200, 260]]), 45),
        NabSeries("t", np.where(rng.random(200) < 0.1, np.nan, rng.random(200)), np.array([[20, 40]]), 30),
        NabSeries("u", rng.random(100), np.empty((0, 2), np.int64), 15),
    ]
    sweep = NabSweep(many)
    for threshold in (0.1, 0.5, 0.9, 0.99):
        total, windows = 0.0, 0
        for one in many:
            previous = None
            detected = one.score >= threshold
            detected[: one.probation] = False
            for begin, end in one.windows.tolist():
                rows = np.flatnonzero(detected[begin:end])
                windows += 1
                total += (
                    sigmoid(-(end - begin - rows[0]) / (end - begin)) / sigmoid(-1) if rows.size else -profile.missed
                )
            for row in np.flatnonzero(detected).tolist():
                if any(begin <= row < end for begin, end in one.windows.tolist()):
                    continue
                before = [(begin, end) for begin, end in one.windows.tolist() if end <= row]
                previous = before[-1] if before else None
                far = (row - previous[1] + 1) / max(previous[1] - previous[0] - 1, 1e-9) if previous else 9
                total += profile.false * (-1 if far > 3 else sigmoid(far))
        expected = 100 * (total + profile.missed * windows) / (windows * (1 + profile.missed))
        assert sweep.at(threshold, profile) == pytest.approx(expected)
        assert sweep.best(profile).score >= expected - 1e-9


def test_a_choice_of_series_is_scored_as_if_there_were_no_others() -> None:
    one, other = series({10: 0.9, 25: 0.4}, [[10, 20]]), series({12: 1.0}, [[30, 36]])
    sweep = NabSweep([one, other])
    assert sweep.best(STANDARD, np.array([True, False])) == score([one], STANDARD)
    assert sweep.at(0.4, STANDARD, np.array([False, True])) == score_at([other], STANDARD, 0.4)


def test_the_other_half_is_scored_with_a_threshold_that_never_saw_it() -> None:
    same = [series({10: 0.9, 30: 0.5}, [[10, 20]]) for _ in range(6)]
    assert split_halves(NabSweep(same), STANDARD, splits=3) == pytest.approx([100.0] * 6)
    strangers = [series({10: 1.0 + index}, [[10, 20]]) for index in range(6)]
    assert min(split_halves(NabSweep(strangers), STANDARD, splits=3)) < 100


def test_alerts_are_scored_as_they_were_raised() -> None:
    file = NabFile("f.csv", np.arange(40.0), np.zeros(40), np.array([[10, 20]]))
    assert alerts_score([file], {"f.csv": np.array([10])})["standard"] == pytest.approx(100)
    assert alerts_score([file], {"f.csv": np.array([], np.int64)})["standard"] == 0.0


@pytest.mark.parametrize(
    ("detector", "published"),
    [
        ("numenta", (70.1, 63.2, 74.3)),
        ("ARTime", (74.9, 65.2, 80.4)),
        ("contextOSE", (69.9, 67.0, 73.2)),
        ("windowedGaussian", (39.7, 20.9, 47.4)),
    ],
)
def test_published_scores_are_reproduced_from_published_score_files(
    detector: str, published: tuple[float, ...]
) -> None:
    path = DATA / "nab" / "published" / f"{detector}.csv.xz"
    if not path.exists():
        pytest.skip("the Numenta Anomaly Benchmark is not there (EDGEWATCH_DATA)")
    scores: dict[str, list[float]] = defaultdict(list)
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for name, _, value in list(csv.reader(file))[1:]:
            scores[name].append(float(value))
    sweep = NabSweep([file.scored(np.array(scores[file.name])) for file in nab_files(DATA / "nab")])
    assert [sweep.best(profile).score for profile in PROFILES] == pytest.approx(published, abs=0.1)
