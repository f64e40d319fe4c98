"""How channels go together: what each is expected to be by all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.config import AlertsConfig, DetectionConfig
from agent.lanes import put_lanes
from agent.monitor import Monitor
from agent.relation import Relation
from agent.types import Channel, Frame

if TYPE_CHECKING:
    from agent.bundle import Bundle
    from agent.types import Float64Array

ROWS, BROKEN = 4800, slice(4320, 4440)


def load(n: int, rows: int = ROWS) -> Float64Array:
    """Channels that share a load which wanders, each with a little noise of its own."""
    rng = np.random.default_rng(0)
    common = np.convolve(rng.normal(size=rows + 59), np.ones(60) / 60**0.5, "valid")
    return common[:, None] + rng.normal(scale=0.3, size=(rows, n))


def judged(bundle: Bundle, values: Float64Array, **detection: Any) -> Float64Array:
    """Strength of every row and channel."""
    channels = [Channel(f"c{index}") for index in range(values.shape[1])]
    settings = DetectionConfig(block_s=1.0, **detection)
    monitor = Monitor(channels, bundle, settings, AlertsConfig(learning_s=60), 1.0)
    rows = values.astype(np.float32)
    return np.array([monitor.step(Frame(i, 0, float(i), row)).strength for i, row in enumerate(rows)])


def test_a_channel_that_moves_against_the_others_is_anomalous_though_its_readings_are_usual(
    default_bundle: Bundle,
) -> None:
    values = load(4)
    values[BROKEN, 1] *= -1.0
    together = judged(default_bundle, values)[BROKEN]
    apart = judged(default_bundle, values, relations=False)[BROKEN]
    assert together.max(axis=0).argmax() == 1
    assert together[:, 1].max() > 1.0 > apart[:, 1].max()


def test_what_is_usual_together_adds_hardly_an_alarm(default_bundle: Bundle) -> None:
    together, apart = judged(default_bundle, load(4)), judged(default_bundle, load(4), relations=False)
    assert np.count_nonzero(together >= 1.0) <= np.count_nonzero(apart >= 1.0) + 3


def test_nothing_is_expected_before_enough_is_known() -> None:
    relation, both = Relation(2), np.ones(2, bool)
    for row in load(2, 99):
        relation.learn(row, both)
    assert np.isnan(relation.expected(np.ones(2))).all()
    relation.learn(np.ones(2), both)
    assert np.isfinite(relation.expected(np.ones(2))).all()


def test_one_absurd_value_does_not_move_what_is_expected_of_others_without_bound() -> None:
    relation, all_of_them = Relation(3), np.ones(3, bool)
    for row in load(3, 500):
        relation.learn(row, all_of_them)
    usual = np.array([1.0, 1.0, 1.0])
    absurd = np.array([1e12, 1.0, 1.0])
    assert np.abs(relation.expected(absurd) - relation.expected(usual))[1:].max() < 6.0


def test_a_channel_that_is_new_means_nothing_to_the_others_until_it_is_known() -> None:
    rows, all_of_them = load(3, 2000), np.ones(3, bool)
    relation = Relation(3)
    for row in rows[:500]:
        relation.learn(row, all_of_them)
    put_lanes(relation, 3, Relation(1), np.array([2]))
    one, other = (relation.expected(np.array([1.0, 0.5, last])) for last in (0.0, 5.0))
    assert one[:2].tolist() == other[:2].tolist()
    assert np.isnan(one[2])
    for row in rows[500:]:
        relation.learn(row, all_of_them)
    one, other = (relation.expected(np.array([1.0, 0.5, last])) for last in (0.0, 5.0))
    assert np.isfinite(one).all()
    assert (other[:2] > one[:2] + 0.5).all()


def test_channels_that_stand_still_or_are_missing_tell_nothing() -> None:
    relation, which = Relation(3), np.array([True, True, False])
    for row in load(3, 500):
        relation.learn(np.array([row[0], 0.0, 3.0]), which)
    assert np.allclose(relation.expected(np.array([2.0, 0.0, 0.0])), 0.0, atol=1e-6)
