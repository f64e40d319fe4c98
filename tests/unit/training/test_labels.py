from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.core.channel import Channel
from agent.core.errors import UserError
from training.data import labels
from training.data.recording import Recording

if TYPE_CHECKING:
    from pathlib import Path

NOON = 1777896000.0  # 2026-05-04 12:00:00 UTC


def recording(*, name: str = "folder/pump", timed: bool = True) -> Recording:
    """Ten rows, a minute apart."""
    time = 60.0 * np.arange(10) + (NOON if timed else 0.0)
    return Recording(name, (Channel("a"),), 60.0, time, np.zeros((10, 1), np.float32), timed=timed)


def written(folder: Path, content: Any, name: str = "labels.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def rows(labelled: Recording) -> list[int]:
    assert labelled.labels is not None
    return np.flatnonzero(labelled.labels).tolist()


@pytest.mark.parametrize(
    "content",
    [
        [["2026-05-04 12:02:00", "2026-05-04 12:04:00"]],
        [["2026-05-04T14:02:00+02:00", NOON + 240]],
        [{"begin": NOON + 120, "end": NOON + 240, "kind": "spike"}],
        {"intervals": [{"begin": "2026-05-04T12:02:00Z", "end": "2026-05-04T12:04:00Z"}]},
        {"other/pump.csv": [], "folder/pump.csv": [["2026-05-04 12:02:00", "2026-05-04 12:04:00"]]},
        {"elsewhere/folder/pump.csv": [[NOON + 120, NOON + 240]]},
        {"pump.csv": [[NOON + 120, NOON + 240]]},
        "begin,end,kind\n2026-05-04 12:02:00,2026-05-04 12:04:00,spike\n",
    ],
)
def test_every_form_of_labels_covers_both_ends(tmp_path: Path, content: Any) -> None:
    path = written(tmp_path, content, "labels.csv" if isinstance(content, str) else "labels.json")
    labelled = labels.apply(recording(), path)
    assert rows(labelled) == [2, 3, 4]
    assert labelled.notes == (f"1 labelled interval from {path.name}.",)


def test_a_label_shorter_than_the_interval_still_covers_a_row(tmp_path: Path) -> None:
    assert rows(labels.apply(recording(), written(tmp_path, [[NOON + 130, NOON + 131]]))) == [2]


def test_without_times_labels_are_row_numbers(tmp_path: Path) -> None:
    assert rows(labels.apply(recording(timed=False), written(tmp_path, [[7, 8]]))) == [7, 8]


@pytest.mark.parametrize("outside", [[NOON - 500, NOON - 400], [NOON + 5000, NOON + 6000]])
def test_a_label_outside_the_data_is_an_error_that_names_both(tmp_path: Path, outside: list[float]) -> None:
    path = written(tmp_path, [[NOON, NOON], outside])
    with pytest.raises(UserError, match="outside the data of folder/pump") as caught:
        labels.apply(recording(), path)
    assert caught.value.location == f"{path}: $[1]"
    assert "2026-05-04 12:00:00Z – 2026-05-04 12:09:00Z" in caught.value.message


def test_labels_behind_rows_that_were_not_read_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, [[NOON, NOON], [NOON + 5000, NOON + 6000]])
    assert rows(labels.apply(recording(), path, whole=False)) == [0]


@pytest.mark.parametrize(
    ("content", "message", "place"),
    [
        ("{", "not readable as labels", ""),
        ({"intervals": 3}, "not a list of intervals", ": $.intervals"),
        ([[1, 2, 3]], "not an interval", ": $[0]"),
        ([["noon", "later"]], "are not times", ": $[0]"),
        ([[True, False]], "are not times", ": $[0]"),
        ([[NOON + 60, NOON]], "ends before it begins", ": $[0]"),
        ({"valve.csv": []}, "no labels for 'folder/pump'", ""),
        ("3", "not a list of intervals", ": $"),
    ],
)
def test_what_is_no_label_is_refused_with_its_place(tmp_path: Path, content: Any, message: str, place: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UserError) as caught:
        labels.apply(recording(), path)
    assert message in caught.value.message
    assert caught.value.location == f"{path}{place}"
    assert caught.value.remedy


def test_a_csv_of_labels_needs_begin_and_end(tmp_path: Path) -> None:
    path = written(tmp_path, "from,to\n1,2\n", "labels.csv")
    with pytest.raises(UserError, match="'begin' and 'end'"):
        labels.apply(recording(), path)


def test_a_missing_file_of_labels_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the labels"):
        labels.apply(recording(), tmp_path / "none.json")
