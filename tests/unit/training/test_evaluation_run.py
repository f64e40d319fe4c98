from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from agent.models.bundle import Bundle
from training.data.recording import Recording
from training.evaluation.run import first_counted, fitted, judge

if TYPE_CHECKING:
    from collections.abc import Callable

DETECTION = DetectionConfig(block_s=1.0)
ALERTS = AlertsConfig(learning_s=120)


def recording(rows: int = 400, names: str = "ab", **kwargs: Any) -> Recording:
    values = np.random.default_rng(0).normal(50, 1, (rows, len(names))).astype(np.float32)
    values[300:] += 40
    return Recording("r", tuple(map(Channel, names)), 1.0, 1.7e9 + np.arange(rows, dtype=float), values, **kwargs)


@pytest.fixture
def run(default_bundle: Bundle) -> Callable[..., Any]:
    return lambda given, **kwargs: judge(given, default_bundle, DETECTION, ALERTS, **kwargs)


@pytest.fixture
def trained(default_bundle: Bundle) -> Bundle:
    """The shipped bundle, changed to two fixed channels at 1 Hz."""
    manifest = msgspec.structs.replace(default_bundle.manifest, channels=["a", "b"], interval_s=1.0)
    return Bundle(default_bundle.directory, manifest, b"", b"")


def test_an_outcome_is_what_the_step_said_of_every_row(run: Any, default_bundle: Bundle) -> None:
    given = recording()
    outcome = run(given)
    monitor = Ensemble(given.channels, default_bundle, DETECTION, ALERTS, 1.0)
    for row in range(given.rows):
        verdict = monitor.step(Frame(row, 0, 0.0, given.values[row]))
        assert outcome.score[row] == verdict.score().max()
        assert outcome.state_score[row] == verdict.state_score
        assert outcome.flagged[row] == verdict.anomalous.any()
        assert np.array_equal(outcome.bounds[:, row], verdict.bounds().astype(np.float32), equal_nan=True)
        assert np.array_equal(outcome.errors[:, row], verdict.errors.astype(np.float32), equal_nan=True)
    assert outcome.flagged[300]
    assert outcome.bounds.dtype == outcome.errors.dtype == outcome.channel_score.dtype == np.float32


def test_nothing_of_the_future_is_in_an_outcome(run: Any) -> None:
    whole, head = recording(), recording(350)
    assert np.array_equal(run(whole).score[:350], run(head).score)


def test_rows_count_from_where_the_agent_has_learned(run: Any) -> None:
    assert run(recording()).first == 120
    holed = recording()
    holed.values[:50] = np.nan
    assert run(holed).first == 170


def test_rows_count_from_the_training_part_or_the_share_asked_for() -> None:
    given = recording(train_rows=250)
    assert first_counted(given, None) == 250
    assert first_counted(given, 0.5) == 200
    assert first_counted(recording(), None) is None


def test_every_row_is_told_to_the_progress_bar(run: Any) -> None:
    told: list[int] = []
    run(recording(), advance=told.append)
    assert sum(told) == 400
    assert len(told) == 2


@pytest.mark.parametrize(
    ("rows", "first", "said"), [(90, None, "needs all of them to learn"), (400, 400, "400 of them are for training")]
)
def test_a_recording_without_a_row_that_counts_is_refused(run: Any, rows: int, first: int | None, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        run(recording(rows), first=first)
    assert caught.value.location == "r"


def test_a_bundles_channels_are_taken_by_name_in_its_order(trained: Bundle) -> None:
    given = recording(names="bxa")
    taken = fitted(given, trained)
    assert [channel.name for channel in taken.channels] == ["a", "b"]
    assert np.array_equal(taken.values, given.values[:, [2, 0]])
    assert taken.notes == ("channels left out because the bundle does not have them: x",)


def test_a_bundle_made_for_other_channels_is_refused_by_name(trained: Bundle) -> None:
    with pytest.raises(UserError, match=r"lacks the channel 'b' of default@1.0.0; its channels are a, c"):
        fitted(recording(names="ac"), trained)


def test_a_bundle_made_for_another_interval_is_refused(trained: Bundle) -> None:
    with pytest.raises(UserError, match=r"its interval is 60 s; default@1.0.0 was made for 1 s.*--interval 1"):
        fitted(replace(recording(), interval_s=60.0), trained)
