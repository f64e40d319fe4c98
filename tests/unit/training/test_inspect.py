from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from agent.models.loader import builtin_directory
from training.commands.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        code = main(["inspect", *map(str, arguments)])
        said = capsys.readouterr()
        assert (code, said.err) == (0, "")
        assert "\x1b" not in said.out
        return said.out

    return run


def row(said: str, name: str) -> list[str]:
    """Cells of the row that begins with a name."""
    (line,) = (line for line in said.splitlines() if line.split()[:1] == [name])
    return line.split()[1:]


def test_a_recording_is_shown_with_its_channels_labels_and_notes(inspect: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "pump.csv"
    path.write_text(
        "t,flow,a[b]c,empty,label\n"
        + "".join(f"2026-05-04 12:{minute:02}:00,{minute},7,,{int(minute in {3, 4, 9})}\n" for minute in range(10))
        + "2026-05-04 12:12:00,off,7,,0\n"
    )
    said = inspect(path)
    assert "13, every 60 s" in said
    assert "2026-05-04 12:00:00Z – 2026-05-04 12:12:00Z" in said
    assert "2 events, 23 % of rows" in said
    assert row(said, "flow") == ["0", "4.5", "9", "23", "%"]
    assert row(said, "a[b]c") == ["7", "7", "7", "15", "%", "constant"]
    assert row(said, "empty") == ["–", "–", "–", "1e+02", "%", "no", "readings"]
    assert "1 value is text instead of a number: taken as missing (first in line 12)." in said
    assert "2 ticks without a row were filled with missing values (first in line 12)." in said


def test_many_recordings_have_a_line_each(inspect: Callable[..., str], tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"pump{number}.csv").write_text("t,a\n" + "".join(f"{s},{s}\n" for s in range(10 + number)))
    said = inspect(tmp_path)
    assert row(said, "pump5")[:3] == ["15", "1", "s"]
    assert "6 recordings" in said


def test_a_bundle_is_shown(inspect: Callable[..., str]) -> None:
    said = inspect(builtin_directory())
    assert "default@1.0.0" in said
    assert "dynamic-range int8" in said
    assert "windows of 64 points every 4 rows" in said
    assert row(said, "provenance")[:2] == ["data", "simulated,"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.csv",), "no such file or folder"),
        (("pump.csv", "--channels", "flaw"), "did you mean 'flow'?"),
        (("pump.csv", "--label-column", "bad"), "no label column 'bad'"),
        (("pump.csv", "--labels", "none.json"), "cannot read the labels"),
        (("pump.csv", "--format", "xls"), "unknown format 'xls'"),
        (("bundle",), "the file is truncated or altered"),
        (("bundle", "pump.csv"), "a bundle cannot be shown with other paths"),
    ],
)
def test_a_mistake_is_said_without_a_traceback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pump.csv").write_text("t,flow\n1,2\n2,3\n")
    shutil.copytree(builtin_directory(), tmp_path / "bundle")
    (tmp_path / "bundle" / "autoencoder.tflite").write_bytes(b"short")
    assert main(["inspect", *arguments]) == 2
    assert said in capsys.readouterr().err
