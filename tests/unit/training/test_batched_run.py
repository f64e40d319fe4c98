from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.detection.settings import DetectionConfig
from training.data.recording import Recording
from training.evaluation.batched_run import Judged, judge_together, side_by_side
from training.evaluation.run import judge

if TYPE_CHECKING:
    from agent.models.bundle import Bundle

ALERTS = AlertsConfig(learning_s=120)


def recording(seed: int, rows: int, interval_s: float = 1.0) -> Recording:
    values = np.random.default_rng(seed).normal(50, 1 + seed, (rows, 1)).astype(np.float32)
    values[400:] += 40
    values[410:420] = np.nan
    return Recording(f"r{seed}", (Channel("value"),), interval_s, 1.7e9 + interval_s * np.arange(rows), values)


def test_a_recording_gets_among_others_what_it_gets_alone(default_bundle: Bundle) -> None:
    # Today's autoencoder looks at channels in turns: one at a multiple of its stride has the turn it has alone.
    stride = default_bundle.manifest.autoencoder.stride
    many = [recording(seed, 550 - 10 * seed) for seed in range(stride + 1)]
    told: list[int] = []
    together = judge_together(many, default_bundle, DetectionConfig(), ALERTS, advance=told.append)
    for index in (0, stride):
        alone = judge(many[index], default_bundle, DetectionConfig(), ALERTS)
        assert together[index].flagged.tolist() == alone.flagged.tolist()
        assert together[index].score == pytest.approx(alone.score, abs=1e-6)
        assert together[index].flagged[404]  # where the block of five is complete
    assert [len(each.score) for each in together] == [one.rows for one in many]
    assert sum(told) == sum(one.rows for one in many)


def test_only_similar_recordings_are_judged_together() -> None:
    broken = replace(recording(5, 300), time=np.append(np.arange(299.0), 900.0))
    wide = Recording("w", (Channel("a"), Channel("b")), 1.0, np.arange(300.0), np.zeros((300, 2), np.float32))
    many = [recording(0, 300), recording(1, 30), recording(2, 300, 60.0), recording(3, 290), recording(4, 120), broken]
    groups = side_by_side([*many, wide], 2)
    assert sorted(map(sorted, groups)) == [[0, 3], [1], [2], [4], [5], [6]]
    assert sorted(map(sorted, side_by_side(many[:5], 9))) == [[0, 3, 4], [1], [2]]


def test_an_onset_is_the_first_row_of_each_run() -> None:
    flagged = np.array([True, True, False, True, False])
    judged = Judged(recording(0, 5), np.zeros(5), np.zeros(5), flagged)
    assert judged.onsets().tolist() == [True, False, False, True, False]
