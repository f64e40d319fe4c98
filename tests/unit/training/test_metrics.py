from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from aeon.benchmarking.metrics.anomaly_detection import range_pr_vus_score, range_roc_vus_score

from training.evaluation.metrics.events import intervals, merged, tally
from training.evaluation.metrics.measure import all_positive, mean, measure, numbers, random
from training.evaluation.metrics.points import count_points, window_labels
from training.evaluation.metrics.ranking import best_f1, highest_inside, rank
from training.evaluation.metrics.scored import Scored
from training.evaluation.metrics.sweep import sweep
from training.evaluation.metrics.volume import MAX_ROWS, volume
from training.evaluation.threshold_voting import combine


def mask(text: str) -> Any:
    return np.array([c == "#" for c in text])


def scored(labels: Any, score: Any, threshold: float = 0.5, interval_s: float = 1.0) -> Scored:
    score = np.asarray(score, float)
    return Scored(labels, score, score >= threshold, interval_s)


def noisy(rows: int = 2000, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    labels = np.zeros(rows, bool)
    labels[rows // 4 : rows // 4 + 40] = labels[rows // 2 : rows // 2 + 20] = True
    return scored(labels, rng.random(rows) + 0.4 * labels, 0.9)


def test_points_are_counted_as_by_hand() -> None:
    points = count_points(mask("..##...#"), mask(".###...."))
    assert (points.true_positive, points.false_positive, points.true_negative, points.false_negative) == (2, 1, 4, 1)
    assert points.accuracy == 6 / 8
    assert points.precision == 2 / 3
    assert points.recall == 2 / 3
    assert points.specificity == 4 / 5
    assert points.f1 == pytest.approx(2 / 3)


def test_the_classification_report_tells_both_classes() -> None:
    classes = count_points(mask("..##...#"), mask(".###....")).classes()
    assert (classes["normal"].precision, classes["normal"].recall, classes["normal"].support) == (4 / 5, 4 / 5, 5)
    assert (classes["anomalous"].precision, classes["anomalous"].support) == (2 / 3, 3)


@pytest.mark.parametrize(("width", "expected"), [(1, "..#...#"), (3, "..###.#"), (9, "..#####")])
def test_a_window_is_positive_when_it_touches_an_anomaly(width: int, expected: str) -> None:
    assert window_labels(mask("..#...#"), width).tolist() == mask(expected).tolist()


def test_a_window_counts_an_anomaly_as_long_as_it_is_plus_the_window() -> None:
    labels = np.zeros(20_000, bool)
    labels[5_000:5_620] = True
    assert np.count_nonzero(window_labels(labels, 60)) == 620 + 59


def test_events_are_counted_as_by_hand() -> None:
    #             found 1 row late; missed;  found at once, detection began before
    labels = mask("..###.....##......####..........")
    flags_ = mask("...##.#.........#####.........#.")
    events = tally(labels, flags_, interval_s=10.0, merge_rows=1).events()
    assert (events.true, events.found, events.missed) == (3, 2, 1)
    assert (events.detections, events.false) == (4, 2)
    assert (events.precision, events.recall) == (0.5, 2 / 3)
    assert events.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert (events.delay_median_s, events.delay_max_s) == (5.0, 10.0)
    assert events.false_a_day == pytest.approx(2 * 86400 / 320)


def test_near_detections_are_one_and_true_when_any_part_of_them_is() -> None:
    labels, flags = mask("....##..........."), mask("..#..#.#.......#.")
    assert tally(labels, flags, 1.0, 1).events().false == 3
    near = tally(labels, flags, 1.0, 3).events()
    assert (near.detections, near.false) == (2, 1)


def test_an_event_between_two_merged_detections_is_not_found() -> None:
    events = tally(mask("...##..."), mask(".##..##."), 1.0, 9).events()
    assert (events.found, events.detections, events.false) == (0, 1, 1)


def test_tallies_of_recordings_add_up() -> None:
    one, other = tally(mask(".##."), mask(".##."), 1.0, 1), tally(mask("##.."), mask(".#.#"), 1.0, 1)
    both = (one + other).events()
    assert (both.true, both.found, both.detections, both.false, both.delay_max_s) == (2, 2, 3, 1, 1.0)
    assert both.false_a_day == pytest.approx(86400 / 8)


def test_runs_touch_both_ends() -> None:
    assert intervals(mask("##..#")).tolist() == [[0, 2], [4, 5]]
    assert intervals(mask("")).shape == intervals(mask("...")).shape == (0, 2)
    assert merged(intervals(mask("...")), 5).shape == (0, 2)


def test_areas_are_those_worked_out_by_hand() -> None:
    ranking = rank(mask("..#.#"), np.array([0.1, 0.4, 0.35, 0.2, 0.8]))
    assert ranking.roc_auc == pytest.approx(5 / 6)  # five of six pairs are in order
    assert ranking.pr_auc == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert ranking.best_f1 == pytest.approx(0.8)
    assert ranking.best_f1_threshold == 0.35


def test_rows_of_equal_score_are_flagged_together() -> None:
    assert best_f1(mask("#..."), np.zeros(4)) == (2 / 5, 0.0)


@pytest.mark.parametrize(("row", "inside"), [(399, False), (400, True), (699, True), (700, False)])
def test_the_highest_score_may_lie_a_hundred_rows_beside_the_anomaly(row: int, inside: bool) -> None:
    labels, score = np.zeros(1000, bool), np.zeros(1000)
    labels[500:600] = True
    score[row] = 1.0
    assert highest_inside(labels, score) is inside


def test_a_long_anomaly_gives_its_own_length_as_room() -> None:
    labels, score = np.zeros(1000, bool), np.zeros(1000)
    labels[400:600] = True
    score[205] = 1.0
    assert highest_inside(labels, score)
    labels[900] = True
    assert highest_inside(labels, score) is None


def test_the_volume_is_aeons_where_every_width_is_taken() -> None:
    part = noisy()
    roc, pr, buffer = volume(part.labels, part.score, 10) or (0.0, 0.0, 0)
    assert buffer == 10
    assert roc == pytest.approx(range_roc_vus_score(part.labels.astype(int), part.score, 10))
    assert pr == pytest.approx(range_pr_vus_score(part.labels.astype(int), part.score, 10))


def test_eleven_widths_stand_for_all_of_them() -> None:
    part = noisy()
    _, pr, buffer = volume(part.labels, part.score) or (0.0, 0.0, 0)
    assert buffer == 30  # median of 40 and 20
    assert pr == pytest.approx(range_pr_vus_score(part.labels.astype(int), part.score, 30), abs=2e-3)


def test_a_volume_that_would_take_minutes_is_left_out_and_said() -> None:
    labels = np.zeros(MAX_ROWS + 1, bool)
    labels[500] = True
    metrics = measure([scored(labels, np.arange(labels.size) / labels.size)], 1.0)
    assert metrics.ranking.vus_pr is None
    assert metrics.undefined["ranking.vus_pr"] == "there are more than 250,000 rows"


@pytest.mark.parametrize(
    ("labels", "flagged", "undefined", "reason"),
    [
        (np.zeros(300, bool), True, {"points.recall", "points.f1", "events.recall", "ranking.roc_auc"}, "no row is"),
        (np.ones(300, bool), True, {"points.specificity", "ranking.roc_auc", "ranking.vus_pr"}, "every row is"),
        (np.arange(300) > 280, False, {"points.precision", "events.precision"}, "nothing was flagged"),
    ],
)
def test_what_is_undefined_is_none_with_a_reason_and_no_warning(
    labels: Any, flagged: bool, undefined: set[str], reason: str
) -> None:
    score = np.random.default_rng(0).random(300)
    part = Scored(labels, score, score > (0.9 if flagged else 2.0), 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = measure([part], 5.0)
        random([part], 5.0), all_positive([part], 5.0), sweep([part], 5.0)
    figures = numbers(metrics)
    assert {name for name, number in figures.items() if number is None} == set(metrics.undefined)
    for name in undefined:
        assert figures[name] is None
        assert reason in metrics.undefined[name]


def test_a_constant_score_has_no_volume() -> None:
    metrics = measure([scored(mask("..##" * 30), np.zeros(120))], 1.0)
    assert metrics.ranking.roc_auc == 0.5
    assert metrics.undefined["ranking.vus_pr"] == "the score is the same everywhere"


def test_random_scores_get_what_chance_gives() -> None:
    part = noisy(20_000)
    chance = random([part], 1.0, vus=False)
    prevalence = np.mean(part.labels)
    assert chance.ranking.roc_auc == pytest.approx(0.5, abs=0.05)
    assert chance.points.precision == pytest.approx(prevalence, abs=0.01)
    assert chance.points.true_positive + chance.points.false_positive == np.count_nonzero(part.flags)
    assert chance == random([part], 1.0, vus=False)


def test_flagging_everything_finds_every_event_at_once() -> None:
    part = noisy()
    always = all_positive([part], 1.0)
    assert (always.points.recall, always.points.specificity) == (1.0, 0.0)
    assert always.points.precision == np.mean(part.labels)
    assert (always.events.found, always.events.detections, always.events.delay_max_s) == (2, 1, 0.0)


def test_pooled_figures_are_those_of_all_rows_and_no_detection_spans_two_recordings() -> None:
    one, other = scored(mask("..##"), [0, 0, 1, 1]), scored(mask("##.."), [1, 0, 0, 1])
    pooled = measure([one, other], 10.0)
    assert pooled.points.true_positive == 3
    assert pooled.events.true == 2
    assert pooled.events.detections == 2
    assert "pooled" in pooled.undefined["ranking.vus_pr"]


def test_a_mean_leaves_out_what_is_undefined() -> None:
    known, unknown = (
        measure([scored(mask("..##"), [0, 0, 1, 0])], 1.0),
        measure([scored(mask("...."), [0, 0, 1, 0])], 1.0),
    )
    both = mean([known, unknown])
    assert both.points.recall == 0.5
    assert both.points.false_positive == 0.5
    assert "points.recall" not in both.undefined


def test_a_sweep_rises_in_threshold_and_falls_in_recall_and_holds_the_best_f1() -> None:
    part = noisy()
    points = sweep([part], 1.0)
    thresholds = [point.threshold for point in points]
    recalls = [point.recall for point in points]
    assert 20 < len(points) <= 50
    assert thresholds == sorted(thresholds)
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] == 1.0
    best, _ = best_f1(part.labels, part.score)
    assert max(point.f1 or 0.0 for point in points) == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize(
    ("rule", "flags", "score"), [("any", "###.", 0.9), ("all", "#...", 0.2), ("majority", "##..", 0.6)]
)
def test_combinations_agree_in_score_and_flag(rule: str, flags: str, score: float) -> None:
    scores = [np.array([0.9, 0.9, 0.9, 0.1]), np.array([0.6, 0.6, 0.1, 0.1]), np.array([0.6, 0.2, 0.1, 0.1])]
    combined, flagged = combine(rule, scores, [each >= 0.5 for each in scores])
    assert flagged.tolist() == mask(flags).tolist()
    assert ((combined >= 0.5) == flagged).all()
    assert combine(rule, [np.array([0.9]), np.array([0.2]), np.array([0.6])], [mask("#")] * 3)[0].tolist() == [score]


def test_a_majority_of_two_is_both() -> None:
    _, flagged = combine("majority", [np.zeros(2), np.zeros(2)], [mask("##"), mask("#.")])
    assert flagged.tolist() == [True, False]
