"""Relations between channels: each is predicted from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.frame import Frame
from agent.detection.cross_channel import CrossChannelForecast
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array
    from agent.detection.verdict import Verdict
    from agent.models.bundle import Bundle

ROWS, BROKEN = 4800, slice(4320, 4440)


def load(n: int, rows: int = ROWS) -> Float64Array:
    """Channels with a common wandering load, and a little own noise."""
    rng = np.random.default_rng(0)
    common = np.convolve(rng.normal(size=rows + 59), np.ones(60) / 60**0.5, "valid")
    return common[:, None] + rng.normal(scale=0.3, size=(rows, n))


def verdicts(bundle: Bundle, values: Float64Array, **detection: Any) -> list[Verdict]:
    channels = [Channel(f"c{index}") for index in range(values.shape[1])]
    settings = DetectionConfig(block_s=1.0, **detection)
    # An alarm an hour, so that an hour's knowledge is enough for one.
    monitor = Ensemble(channels, bundle, settings, AlertsConfig(learning_s=60, budget_per_day=24.0), 1.0)
    rows = values.astype(np.float32)
    return [monitor.step(Frame(i, 0, float(i), row)) for i, row in enumerate(rows)]


def judged(bundle: Bundle, values: Float64Array, **detection: Any) -> Float64Array:
    """Strength of every row and channel."""
    return np.array([verdict.strength for verdict in verdicts(bundle, values, **detection)])


def test_a_channel_that_moves_against_the_others_is_anomalous_though_its_readings_are_usual(
    default_bundle: Bundle,
) -> None:
    values = load(4)
    values[BROKEN, 1] *= -1.0
    together = judged(default_bundle, values)[BROKEN]
    apart = judged(default_bundle, values, relations=False)[BROKEN]
    assert together.max(axis=0).argmax() == 1
    assert together[:, 1].max() > 1.0 > apart[:, 1].max()


def test_it_is_anomalous_for_as_long_as_it_moves_against_them(default_bundle: Bundle) -> None:
    values = load(4)
    values[BROKEN, 1] *= -1.0
    found = verdicts(default_bundle, values)
    anomalous = [row for row, verdict in enumerate(found) if verdict.anomalous[1] and row >= BROKEN.start]
    # Blocks of relations are twelve seconds long.
    assert BROKEN.stop - 12 <= anomalous[-1] < BROKEN.stop + 48
    assert len(anomalous) > 0.8 * (anomalous[-1] + 1 - anomalous[0])
    assert found[BROKEN.stop - 12].courses[1] == "pattern"


def test_a_drift_that_the_others_do_not_share_is_told_as_another_level(default_bundle: Bundle) -> None:
    values = load(4)
    values[BROKEN.start :, 1] += np.minimum(np.arange(ROWS - BROKEN.start) / 20.0, 12.0)
    found = verdicts(default_bundle, values)
    courses = [verdict.courses[1] for verdict in found[BROKEN.start :] if 1 in verdict.courses]
    assert courses[-1] == "level"
    value, _, _, upper, averaged_s = found[-1].evidence()[:, 1]
    assert value > upper
    assert averaged_s in {12.0, 48.0}
    assert not any(verdict.anomalous[[0, 2, 3]].any() for verdict in found[BROKEN.start :])


def test_what_is_usual_together_adds_hardly_an_alarm(default_bundle: Bundle) -> None:
    together, apart = (
        sum(bool(verdict.anomalous.any()) for verdict in verdicts(default_bundle, load(4), relations=relations))
        for relations in (True, False)
    )
    assert together <= apart + 3


def test_nothing_is_said_before_enough_is_known() -> None:
    relation, both = CrossChannelForecast(2), np.ones(2, bool)
    for row in load(2, 99):
        relation.learn(row, both)
    assert np.isnan(relation.unexpected(np.ones(2))).all()
    relation.learn(np.ones(2), both)
    assert np.isfinite(relation.unexpected(np.ones(2))).all()


def learned(n: int, rows: int = 500) -> CrossChannelForecast:
    relation, all_of_them = CrossChannelForecast(n), np.ones(n, bool)
    for row in load(n, rows):
        relation.learn(row, all_of_them)
    return relation


def test_one_that_is_far_off_does_not_make_its_neighbours_strange() -> None:
    relation, usual = learned(5), np.full(5, 0.5)
    absurd = usual.copy()
    absurd[0] = 1e12
    found = relation.unexpected(absurd)
    assert 5.0 < found[0] < 7.0
    assert np.abs(found[1:] - relation.unexpected(usual)[1:]).max() < 0.2


def test_two_that_are_far_off_are_told_apart_from_the_rest() -> None:
    relation, row = learned(6), np.full(6, 0.5)
    row[[1, 4]] = 4.0, -3.0
    found = np.abs(relation.unexpected(row))
    assert found[[1, 4]].min() > 2.0
    assert found[[0, 2, 3, 5]].max() < 0.7


def test_a_channel_that_is_new_means_nothing_to_the_others_until_it_is_known() -> None:
    rows, all_of_them = load(3, 2000), np.ones(3, bool)
    relation = CrossChannelForecast(3)
    for row in rows[:500]:
        relation.learn(row, all_of_them)
    relation.reset(np.array([2]))
    one, other = (relation.unexpected(np.array([1.0, 0.5, last])) for last in (0.0, 5.0))
    assert one[:2].tolist() == other[:2].tolist()
    assert np.isnan(one[2])
    for row in rows[500:]:
        relation.learn(row, all_of_them)
    assert np.isfinite(relation.unexpected(np.array([1.0, 0.5, 0.7]))).all()
    assert relation.unexpected(np.array([0.5, 0.5, 3.0]))[2] > 1.5


def test_channels_that_stand_still_or_are_missing_tell_nothing() -> None:
    relation, which = CrossChannelForecast(3), np.array([True, True, False])
    for row in load(3, 500):
        relation.learn(np.array([row[0], 0.0, 3.0]), which)
    assert np.allclose(relation.unexpected(np.array([2.0, 0.0, 0.0])), [2.0, 0.0, 0.0], atol=1e-6)
