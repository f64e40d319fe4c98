"""Mistakes in the input of ``python -m training fit``: each error names its location and a remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training needs the training extra")
pytest.importorskip("rich", reason="training needs the training extra")

from training.commands import main
from training.recipes import fit

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.training

BEGIN = 1_700_000_000
HEADER = "time,flow,pressure"


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake has to be found before hours are spent."""

    def train(*_: Any, **__: Any) -> None:
        pytest.fail("the training began")

    monkeypatch.setattr(fit, "train", train)


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return the error of a refused fit, which writes nothing."""

    def run(*options: str, output: Path = tmp_path / "bundle") -> str:
        before = sorted(tmp_path.rglob("*"))
        try:
            code: Any = main.main(["fit", "--output", str(output), "--preset", "tiny", *options])
        except SystemExit as left:  # from argparse
            code = left.code
        told = capsys.readouterr().err
        assert code == 2, told
        assert "Traceback" not in told
        assert sorted(tmp_path.rglob("*")) == before
        return told

    return run


def rows(count: int, step_s: float = 1.0) -> list[str]:
    values = np.random.default_rng(0).normal(50, 4, (count, 2))
    return [f"{BEGIN + step_s * k:.0f},{a:.2f},{b:.2f}" for k, (a, b) in enumerate(values)]


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., str]:
    def write(lines: list[str], name: str = "pump.csv", header: str = HEADER) -> str:
        path = tmp_path / name
        path.write_text("\n".join((header, *lines)) + "\n")
        return str(path)

    return write


def test_an_empty_file(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    told = refused("--data", str(tmp_path / "empty.csv"))
    assert "empty.csv" in told
    assert " – " in told


def test_a_header_alone(refused: Any, data: Any) -> None:
    assert "pump.csv:1: only a header, no rows – record some readings first" in refused("--data", data([]))


@pytest.mark.parametrize("count", [1, 2, 15, 40])
def test_too_few_rows_for_one_window(refused: Any, data: Any, count: int) -> None:
    told = refused("--data", data(rows(count)))
    assert f"pump: {count} rows are too few: the training part has no 33 consecutive usable rows" in told
    assert "record at least 206 rows" in told
    assert "--window" in told


def test_too_few_rows_to_calibrate_on(refused: Any, data: Any) -> None:
    told = refused("--data", data(rows(260)), "--window", "160")
    assert re.search(r"pump: too little data for calibration: \d windows of 160 rows, at least 12 are needed", told)
    assert re.search(r"record about \d{4} rows in total", told)


def test_a_channel_that_is_hardly_read_where_it_is_calibrated(refused: Any, data: Any) -> None:
    lines = rows(600)
    lines[300:] = [line.rpartition(",")[0] + "," for line in lines[300:]]
    told = refused("--data", data(lines))
    assert "pump: too little data of pressure for calibration" in told
    assert "leave out channels" in told


def test_nothing_but_missing_readings(refused: Any, data: Any) -> None:
    told = refused("--data", data([f"{BEGIN + k},nan,{k % 7}" for k in range(400)]))
    assert (
        "pump: channels without a valid reading in the training part: flow – choose other channels with --channels"
        in told
    )


def test_nothing_but_text(refused: Any, data: Any) -> None:
    told = refused("--data", data([f"{BEGIN + k},on,off" for k in range(400)]))
    assert "pump: channels without a valid reading in the training part: flow, pressure" in told


def test_time_that_goes_backwards(refused: Any, data: Any) -> None:
    told = refused("--data", data(rows(400)[::-1]))
    assert "399 of 400 rows have a time stamp that goes back – sort the rows by time" in told
    assert "pump.csv:3" in told


def test_files_whose_channels_differ(refused: Any, data: Any) -> None:
    other = data(rows(400), "other.csv", "time,flow,level")
    told = refused("--data", data(rows(400)), other)
    assert "other: the channels of pump and other differ: only pump has 'pressure'; only other has 'level'" in told
    assert "--channels" in told


def test_files_whose_intervals_differ(refused: Any, data: Any) -> None:
    told = refused("--data", data(rows(400)), data(rows(400, step_s=60.0), "slow.csv"))
    assert "slow: pump has a row every 1 s, slow every 60 s – resample all to the same interval with --interval" in told


def test_readings_rarer_than_an_agent_takes_them(refused: Any, data: Any) -> None:
    told = refused("--data", data(rows(400, step_s=604_800.0)))
    assert "pump: the interval of 604800 s is longer than one day" in told


def test_labels_outside_of_the_data(refused: Any, data: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("begin,end\n1600000000,1600000100\n")
    told = refused("--data", data(rows(400)), "--labels", str(tmp_path / "labels.csv"))
    assert "labels.csv:2: label 2020-09-13 12:26:40Z – 2020-09-13 12:28:20Z lies outside the data of pump" in told


def test_a_channel_that_is_not_there(refused: Any, data: Any) -> None:
    told = refused("--data", data(rows(400)), "--channels", "flwo")
    assert "no channel matches 'flwo' – did you mean 'flow'?" in told


def test_a_file_that_is_not_there(refused: Any, tmp_path: Path) -> None:
    assert "nowhere.csv: no such file or folder" in refused("--data", str(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--window", "3"), "--window: expected a whole number of at least 4"),
        (("--window", "many"), "--window: "),
        (("--head", "median"), "--head: expected one of "),
        (("--layout", "single"), "--layout: expected one of "),
        (("--form", "int4"), "--form: expected one of "),
        (("--layers", "3"), "--layers: expected one of "),
        (("--dropout", "1"), "--dropout: expected a number of at least 0 and below 1"),
        (("--epochs", "0"), "--epochs: expected a whole number of at least 1"),
        (("--look-back", "2"), "--look-back: expected a whole number of at least 4"),
        (("--seed", "-1"), "--seed: expected a whole number of at least 0"),
        (("--window", "12", "--block", "4"), "--window and --block: a window of 12 rows in blocks of 4 has 3 points"),
        (("--window", "9000"), "--window and --block: a window of 9000 rows in blocks of 1 has 9000 points"),
        (("--second-runtime", "/nowhere/python"), "/nowhere/python: no such Python"),
    ],
)
def test_a_choice_that_there_is_not(refused: Any, data: Any, options: tuple[str, ...], told: str) -> None:
    said = refused("--data", data(rows(400)), *options)
    assert told in said
    assert " – " in said


@pytest.mark.parametrize("options", [("--preset", "huge"), ("--interval", "0"), ("--windw", "16")])
def test_an_option_that_there_is_not(refused: Any, data: Any, options: tuple[str, str]) -> None:
    assert options[0] in refused("--data", data(rows(400)), *options)


def test_a_folder_that_holds_something_else(refused: Any, data: Any, tmp_path: Path) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter1.txt").write_text("years of work")
    told = refused("--data", data(rows(400)), output=target)
    assert "thesis: the output folder holds something else ('chapter1.txt')" in told
    assert "name a new or empty folder" in told


def test_a_place_that_cannot_be_written(refused: Any, data: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = refused("--data", data(rows(400)), output=tmp_path / "file" / "bundle")
    assert "file: cannot write here" in told
    assert "name a folder that you may write to" in told
