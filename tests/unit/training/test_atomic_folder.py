from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from agent.core.errors import EnvironmentFault, UserError
from training.files.atomic_folder import EVALUATION, refuse_foreign_folder, staged

if TYPE_CHECKING:
    from pathlib import Path


def _write(folder: Path, text: str = "{}") -> None:
    (folder / "manifest.json").write_text(text)


def _fail(target: Path, failure: BaseException | type[BaseException]) -> None:
    with staged(target) as folder:
        _write(folder, "new")
        raise failure


def test_a_finished_folder_appears_whole(tmp_path: Path) -> None:
    with staged(tmp_path / "a" / "bundle") as folder:
        _write(folder)
        assert not (tmp_path / "a" / "bundle").exists()
    assert (tmp_path / "a" / "bundle" / "manifest.json").read_text() == "{}"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["bundle"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_or_ctrl_c_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure):
        _fail(tmp_path / "bundle", failure)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="No space left on device") as fault:
        _fail(tmp_path / "bundle", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert fault.value.location == str(tmp_path / "bundle")
    assert "free disk space" in fault.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_former_bundle_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    _write(target, "former")
    with pytest.raises(RuntimeError):
        _fail(target, RuntimeError)
    assert (target / "manifest.json").read_text() == "former"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_failing_rename_puts_the_former_bundle_back(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    _write(target, "former")
    with pytest.raises(EnvironmentFault), staged(target) as folder:
        folder.rmdir()  # so that there is nothing to rename
    assert (target / "manifest.json").read_text() == "former"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_former_bundle_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    _write(target, "former")
    (target / "stale.tflite").write_bytes(b"x")
    with staged(target) as folder:
        _write(folder, "new")
    assert {p.name: p.read_text() for p in target.iterdir()} == {"manifest.json": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_an_empty_folder_may_be_the_target(tmp_path: Path) -> None:
    refuse_foreign_folder(tmp_path)


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something else"), staged(tmp_path):
        pytest.fail("nothing may be written")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("foreign", ["thesis.txt", "src/"])
def test_a_file_of_our_name_among_others_does_not_give_them_away(tmp_path: Path, foreign: str) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    other = tmp_path / foreign
    other.mkdir() if foreign.endswith("/") else other.write_text("years of work")
    with pytest.raises(UserError, match=foreign.rstrip("/")), staged(tmp_path, EVALUATION):
        pytest.fail("nothing may be written")
    assert other.exists()


def test_an_earlier_evaluation_is_replaced_by_one_and_by_no_bundle(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with staged(target, EVALUATION) as folder:
        (folder / "metrics.json").write_text("former")
        (folder / "roc.png").write_text("former")
    with pytest.raises(UserError, match="holds something else"):
        refuse_foreign_folder(target)
    with staged(target, EVALUATION) as folder:
        (folder / "metrics.json").write_text("new")
    assert {p.name: p.read_text() for p in target.iterdir()} == {"metrics.json": "new"}


def test_a_file_as_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("")
    with pytest.raises(UserError, match="holds something else"):
        refuse_foreign_folder(tmp_path / "bundle")


def test_a_place_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write here"), staged(tmp_path / "file" / "bundle"):
        pytest.fail("nothing may be written")
