"""Whether the wall clock can be believed, also where the kernel may not be asked."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

from agent import clock

if TYPE_CHECKING:
    from pathlib import Path


class Sandbox:
    """A C library in a sandbox that forbids adjtimex."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def adjtimex(self, _timex: object) -> int:
        return -1


@pytest.mark.parametrize(("files", "believed"), [(None, True), ([], False), (["synchronized"], True)])
def test_in_a_sandbox_the_time_service_is_asked_instead_of_the_kernel(
    files: list[str] | None, believed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", Sandbox)
    monkeypatch.setattr(clock, "_TIMESYNC", tmp_path / "timesync")
    if files is not None:
        (tmp_path / "timesync").mkdir()
        for name in files:
            (tmp_path / "timesync" / name).touch()
    assert clock.SystemClock().synchronised() is believed
