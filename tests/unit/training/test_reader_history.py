from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.core.frame import Frame
from agent.sampling.recorder import Recorder
from agent.sampling.recording import segments
from training.data.readers.options import ReadOptions
from training.data.readers.registry import read

CPU, DISK = Channel("cpu.percent", unit="%", effect=10.0), Channel("disk.read", log_reference=256_000.0, effect=2.0)


def record(directory: Path, channels: tuple[Channel, ...], walls: range) -> None:
    history = Recorder(directory, channels, 1.0, 10**7)
    for wall in walls:
        values = np.arange(len(channels), dtype=np.float32) + wall
        history.add(Frame(wall, wall * 10**9, 1.7e9 + wall, values))
    history.flush()


def test_a_recording_keeps_units_and_scales_and_fills_the_time_the_agent_was_off(tmp_path: Path) -> None:
    record(tmp_path, (CPU, DISK), range(100))
    record(tmp_path, (CPU, DISK), range(110, 200))
    (recording,) = read([tmp_path], ReadOptions())
    assert recording.channels == (CPU, DISK)
    assert recording.rows == 200
    assert np.isnan(recording.values[100:110]).all()
    assert recording.values[110:, 1].tolist() == [k + 1.0 for k in range(110, 200)]
    assert any("10 ticks without a row" in note for note in recording.notes)


def test_other_channels_make_another_recording(tmp_path: Path) -> None:
    record(tmp_path, (CPU,), range(100))
    record(tmp_path, (CPU, DISK), range(100, 220))
    first, second = read([tmp_path], ReadOptions())
    assert (first.channels, first.rows) == ((CPU,), 100)
    assert (second.channels, second.rows) == ((CPU, DISK), 120)


def test_a_torn_segment_is_read_as_far_as_it_is_whole_and_that_is_said(tmp_path: Path) -> None:
    record(tmp_path, (CPU,), range(150))
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-20])
    record(tmp_path, (CPU,), range(150, 250))
    (recording,) = read([tmp_path], ReadOptions())
    assert recording.rows == 250
    assert int(np.isnan(recording.values).sum()) == 30
    assert any("000001.ewh: damaged" in note for note in recording.notes)


def test_channels_can_be_chosen(tmp_path: Path) -> None:
    record(tmp_path, (CPU, DISK), range(60))
    (recording,) = read([tmp_path], ReadOptions(channels=("disk.*",)))
    assert recording.channels == (DISK,)


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    record(tmp_path, (CPU,), range(60))
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes().split(b"\n", 1)[0] + b"\n")
    with pytest.raises(UserError, match="no reading"):
        list(read([tmp_path], ReadOptions()))
