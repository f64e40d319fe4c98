"""Learned state that cannot be restored or makes a step fail is discarded; the agent continues."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.alerting.settings import AlertsConfig
from agent.config.schema import Config
from agent.core.clock import ManualClock
from agent.core.frame import Frame
from agent.detection.settings import DetectionConfig
from agent.service.pipeline import Pipeline
from agent.sources.simulated import SimulatedConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.messages.alert import Alert
    from agent.models.bundle import Bundle


class Writer:
    def do(self, job: Callable[[], None]) -> None:
        job()


@pytest.fixture
def watch(default_bundle: Bundle, tmp_path: Path) -> Pipeline:
    config = Config(
        node="pi4",
        state_dir=str(tmp_path),
        sources=(SimulatedConfig("simulated", channels=2),),
        detection=DetectionConfig(block_s=1.0),
        alerts=AlertsConfig(learning_s=150, confirm_s=3, budget_per_day=1e9),
    )
    return Pipeline(config, [default_bundle], ManualClock(), Writer(), "7f3a")  # type: ignore[arg-type]


def run(watch: Pipeline, first: int, last: int, shift: float = 0.0) -> list[Alert]:
    rng = np.random.default_rng(first)
    told: list[Alert] = []
    for seq in range(first, last):
        values = rng.normal((50 + shift, 20), 1.0).astype(np.float32)
        told += watch.judge(Frame(seq, seq * 10**9, 1.7e9 + seq, values))[1]
    return told


@pytest.mark.parametrize(
    "spoil",
    [
        lambda watch: setattr(watch.monitor._detectors[0]._blocks, "_rows", 0),
        lambda watch: setattr(watch.monitor._detectors[0]._excursions._recent._state, "next", 10**9),
        lambda watch: setattr(watch.incidents.classifier._state, "next", -(10**9)),
    ],
    ids=["rows", "ring", "kinds"],
)
def test_a_step_that_fails_discards_learned_state(watch: Pipeline, spoil: Any, caplog: Any) -> None:
    run(watch, 0, 200)
    watch.incidents.silences.add(["simulated.2"], 3600.0, 0)
    spoil(watch)
    watch.incidents._state.any_history = True
    assert run(watch, 200, 202) == []
    assert caplog.text.count("learned state is discarded") == 1
    verdict, _ = watch.judge(Frame(202, 0, 0.0, np.array([50.0, 20.0], np.float32)))
    assert verdict.progress().max() < 0.1
    assert watch.incidents.silenced == 1
    assert caplog.text.count("learned state is discarded") == 1


def test_what_was_open_then_is_closed_and_no_number_is_left_out(watch: Pipeline) -> None:
    told = run(watch, 0, 200) + run(watch, 200, 220, shift=60.0)
    assert [alert.phase for alert in told] == ["open"]
    watch.monitor._detectors[0]._blocks._rows = 0  # type: ignore[attr-defined]
    told += run(watch, 220, 221)
    assert [(alert.phase, alert.incident) for alert in told] == [
        ("open", told[0].incident),
        ("close", told[0].incident),
    ]
    assert [alert.seq for alert in told] == [1, 2]
    assert told[1].reason == "stopped"


def test_what_is_replaced_leaves_nothing_to_the_garbage_collector(default_bundle: Bundle, tmp_path: Path) -> None:
    config = Config(state_dir=str(tmp_path), sources=(SimulatedConfig("simulated", channels=2),))
    one = Pipeline(config, [default_bundle], ManualClock(), Writer(), "7f3a")  # type: ignore[arg-type]
    run(one, 0, 50)
    network = weakref.ref(one.monitor._detectors[0]._scales[0].time_scale._forecaster)  # type: ignore[attr-defined]
    assert network() is not None
    gc.disable()
    try:
        one.sampler.close()
        del one
        assert network() is None
    finally:
        gc.enable()


def test_a_step_that_fails_with_nothing_learned_is_not_hidden(watch: Pipeline, monkeypatch: Any) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("agent.detection.ensemble.Ensemble.step", broken)
    with pytest.raises(ZeroDivisionError):
        run(watch, 0, 1)
