from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.core.channel import Channel
from agent.core.errors import UserError
from tools.benchmark.accuracy import host
from tools.benchmark.accuracy.host import Event, Opened, Schedule
from training.data.recording import Recording

if TYPE_CHECKING:
    from pathlib import Path

SCHEDULE = Schedule("m", 0.0, 7200.0, (Event("cpu", 1000.0, 1030.0), Event("latency", 2000.0, 2030.0)))


def opened(wall: float, *channels: str, strength: float = 5.0) -> Opened:
    return Opened(wall, set(channels), strength)


def test_found_false_and_aftermath_are_told_apart() -> None:
    raised = [
        *(opened(wall, "disk.read", strength=4.0) for wall in (500.0, 600.0, 700.0)),
        opened(1010.0, "load.1"),
        opened(1060.0, "load.1"),
        opened(2004.0, "memory.percent", strength=7.0),
    ]
    found = host.figures(raised, SCHEDULE, per_day=3.0)
    # Two events of thirty seconds and the minutes after them are no normal time.
    assert found["false an hour"] == pytest.approx(3 * 3600 / (7200 - 180), rel=0.01)
    assert found["events found %"] == 100
    assert found["named right %"] == 50
    assert found["median delay s"] == 7.0
    # The false ones pass and double the bar three times, from 1 to almost 8: neither event passes.
    assert found["false sent a day"] == pytest.approx(3 * 86400 / (7200 - 180), rel=0.01)
    assert found["found at budget %"] == 0
    alone = host.figures(raised[3:], SCHEDULE, per_day=3.0)
    assert alone["found at budget %"] == 100


def test_nothing_raised_finds_nothing() -> None:
    found = host.figures([], SCHEDULE, per_day=3.0)
    assert found["false an hour"] == found["events found %"] == found["found at budget %"] == 0
    assert np.isnan(found["median delay s"])


def test_the_rule_raises_no_more_false_ones_than_allowed() -> None:
    values = np.random.default_rng(0).normal(0, 1, (7200, 2)).astype(np.float32)
    values[1005:1010, 1] += 60
    values[4000, 0] += 40
    recording = Recording("r", (Channel("memory.x"), Channel("cpu.x")), 1.0, np.arange(7200.0), values)
    schedule = Schedule("m", 600.0, SCHEDULE.end, SCHEDULE.events)
    none = host.largest_steps([recording], schedule, 0)
    assert [SCHEDULE.event_at(one.wall) for one in none] == [0]
    assert "cpu.x" in none[0].channels
    one = host.largest_steps([recording], schedule, 1)
    assert sum(SCHEDULE.is_normal(each.wall) for each in one) == 1


def test_a_recording_too_short_for_every_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="record for 43 minutes at least"):
        host.record(tmp_path, 600.0, 600.0)


def test_a_schedule_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_text("[]")
    with pytest.raises(UserError, match="remove the folder"):
        host.read_schedule(path)
