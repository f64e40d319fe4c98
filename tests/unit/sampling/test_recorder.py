from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.core.frame import Frame
from agent.sampling.recorder import Recorder
from agent.sampling.recording import RecordedBlock, read, segments

CHANNELS = (
    Channel("cpu.percent", unit="%", effect=10.0, minimum=0.0, maximum=100.0),
    Channel("disk.read", unit="B/s", effect=2.0, log_reference=256_000.0),
)


def frames(first: int, last: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    rows = rng.normal(50, 5, (last, 2)).astype(np.float32)
    rows[::7, 1] = math.nan
    return [Frame(k, k * 10**9, 1.7e9 + k, rows[k]) for k in range(first, last)]


def recorded(directory: Path) -> list[RecordedBlock]:
    return [block for path in segments(directory) for block in read(path)]


def test_what_was_recorded_is_read_back_with_its_channels(tmp_path: Path) -> None:
    history = Recorder(tmp_path / "h", CHANNELS, 1.0, 10**7)
    given = frames(0, 150)
    for frame in given:
        history.add(frame)
    history.flush()
    blocks = recorded(tmp_path / "h")
    assert [len(block.wall) for block in blocks] == [60, 60, 30]
    assert blocks[0].channels == CHANNELS
    assert blocks[0].interval_s == 1.0
    assert np.concatenate([b.wall for b in blocks]).tolist() == [frame.wall for frame in given]
    np.testing.assert_array_equal(np.concatenate([b.values for b in blocks]), [frame.values for frame in given])


def test_the_disk_is_touched_once_a_minute(tmp_path: Path) -> None:
    history = Recorder(tmp_path / "h", CHANNELS, 0.5, 10**7)
    written = []
    for frame in frames(0, 360):  # three minutes
        history.add(frame)
        written.append(sum(path.stat().st_size for path in segments(tmp_path / "h")))
    assert np.count_nonzero(np.diff([0, *written])) == 3


def test_a_torn_block_loses_itself_and_nothing_before_it(tmp_path: Path) -> None:
    history = Recorder(tmp_path, CHANNELS, 1.0, 10**7)
    for frame in frames(0, 180):
        history.add(frame)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 100, len(whole) - 900):
        path.write_bytes(whole[:cut])
        rows = 0
        with pytest.raises(UserError, match="damaged"):  # noqa: PT012 - blocks come before the error
            for block in read(path):
                rows += len(block.wall)
        assert rows in {60, 120}


@pytest.mark.parametrize("place", range(5, 200, 13))
def test_a_flipped_byte_is_noticed(tmp_path: Path, place: int) -> None:
    history = Recorder(tmp_path, CHANNELS, 1.0, 10**7)
    for frame in frames(0, 60):
        history.add(frame)
    (path,) = segments(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[-place] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(UserError):
        list(read(path))


def test_a_new_start_begins_a_new_segment_and_keeps_the_old_ones(tmp_path: Path) -> None:
    for first in (0, 60):
        history = Recorder(tmp_path, CHANNELS, 1.0, 10**7)
        for frame in frames(first, first + 60):
            history.add(frame)
    assert len(segments(tmp_path)) == 2
    assert [block.wall[0] - 1.7e9 for block in recorded(tmp_path)] == [0.0, 60.0]


def test_it_stays_within_its_room_by_forgetting_the_oldest(tmp_path: Path) -> None:
    room = 40_000
    history = Recorder(tmp_path, CHANNELS, 1.0, room)
    for frame in frames(0, 12_000):
        history.add(frame)
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= room
    walls = np.concatenate([block.wall for block in recorded(tmp_path)])
    assert walls[-1] == 1.7e9 + 11_999
    assert walls[0] > 1.7e9
    assert (np.diff(walls) == 1.0).all()


def test_what_cannot_be_written_is_counted_and_recording_goes_on_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "h"
    blocked.write_text("in the way")
    history = Recorder(blocked, CHANNELS, 1.0, 10**7)
    given = frames(0, 180)
    for frame in given[:120]:
        history.add(frame)
    assert history.lost == 120
    assert len(caplog.records) == 1
    blocked.unlink()
    for frame in given[120:]:
        history.add(frame)
    assert [block.wall[0] for block in recorded(blocked)] == [given[120].wall]


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff\xfe", b'{"format":"x","v":1,"interval_s":1,"channels":[]}\n'])
def test_a_file_that_is_no_segment_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "000001.ewh"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a segment"):
        list(read(path))
