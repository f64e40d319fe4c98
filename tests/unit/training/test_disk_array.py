from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from agent.core.errors import EnvironmentFault
from training.data import disk_array
from training.data.disk_array import DiskArray, empty


@pytest.mark.parametrize("limit", [64 << 20, 100, 0])
def test_rows_come_back_as_they_went_in_memory_or_on_disk(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_array, "_IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(disk_array, "_PIECE_ROWS", 7)
    written = np.arange(60, dtype=np.float32).reshape(20, 3)
    rows = DiskArray(np.float32, 3)
    for first in (0, 4, 4, 11):
        rows.append(written[first : {0: 4, 4: 11, 11: 20}[first]] if len(rows) == first else written[:0])
    assert len(rows) == 20
    assert isinstance(rows.array(), np.memmap) == (limit < 240)
    np.testing.assert_array_equal(rows.array(), written)
    assert [len(piece) for piece in rows.pieces()] == [7, 7, 6]
    np.testing.assert_array_equal(np.concatenate(list(rows.pieces())), written)


def test_a_large_empty_array_is_a_map_of_missing_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_array, "_IN_MEMORY_BYTES", 100)
    assert not isinstance(empty(5, 5), np.memmap)
    large = empty(1000, 3)
    assert isinstance(large, np.memmap)
    assert np.isnan(large).all()
    large[999, 2] = 1.0
    assert large.shape == (1000, 3)


def test_a_full_disk_is_said_and_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk_array, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(EnvironmentFault, match="disk is full") as caught:
        empty(10, 10)
    assert "TMPDIR" in caught.value.remedy
