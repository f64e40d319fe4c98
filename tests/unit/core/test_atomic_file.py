from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from agent.core.atomic_file import atomic_file

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def interrupted(path: Path, *, durable: bool) -> None:
    with atomic_file(path, durable=durable) as file:
        file.write(b"half")
        raise KeyboardInterrupt


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"former")
    with atomic_file(path, durable=durable) as file:
        file.write(b"new")
        assert path.read_bytes() == b"former"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["state"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_failure_leaves_the_former_file_and_no_remains(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"former")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, durable=durable)
    assert path.read_bytes() == b"former"
    assert names(tmp_path) == ["state"]


def test_a_disk_that_does_not_take_the_file_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "state"
    path.write_bytes(b"former")
    with pytest.raises(OSError, match="No space left"), atomic_file(path, durable=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"former"
    assert names(tmp_path) == ["state"]


def test_durable_waits_for_the_file_and_for_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        synced.append((tmp_path / "state").exists())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with atomic_file(tmp_path / "state", durable=True) as file:
        file.write(b"new")
    assert synced == [False, True]
    with atomic_file(tmp_path / "state", durable=False) as file:
        file.write(b"new")
    assert len(synced) == 2
