"""An upgrade loses nothing learned: the agent continues from state directories of earlier versions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from agent.core.persistent_state import pack
from agent.service.snapshot_file import read, write
from tests.support.state_fixture import CONTINUED, LEARNED, START, run, waiting

if TYPE_CHECKING:
    from collections.abc import Callable

WRITTEN = sorted(path for path in (Path(__file__).parents[1] / "fixtures" / "state").glob("*/*") if path.is_dir())
NEW = slice(LEARNED, LEARNED + CONTINUED)


def continued(written: Path, state: Path, wall: float = START + LEARNED) -> list[dict[str, Any]]:
    workspace = state.parent / "workspace"
    workspace.mkdir()
    run(written.name, state, workspace, NEW, wall)
    return waiting(state)


@pytest.fixture(params=WRITTEN, ids=lambda path: f"{path.parent.name}-{path.name}", name="written")
def _written(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(name="state")
def _state(written: Path, tmp_path: Path) -> Path:
    state = tmp_path / "state"
    shutil.copytree(written, state)
    return state


def test_the_agent_continues_from_the_state_of_an_earlier_version(
    written: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = waiting(state)
    alerts = continued(written, state)
    assert "continuing with learned state" in caplog.text
    assert "afresh" not in caplog.text  # no second learning phase, not even of one part
    assert alerts[: len(before)] == before
    (open_before,) = {alert["incident"] for alert in before} - {
        alert["incident"] for alert in before if alert["phase"] == "close"
    }
    new = alerts[len(before) :]
    assert new[0]["incident"] == open_before  # the open incident continues
    closes = [alert for alert in new if alert["phase"] == "close"]
    assert (closes[0]["incident"], closes[0]["reason"]) == (open_before, "recovered")
    # The load returns 60 s after the start, and the temperature jumps after 200 s.
    assert 60.0 <= closes[0]["ts"] - START - LEARNED < 200.0
    jump = next(alert for alert in new if alert["phase"] == "open")
    assert jump["contributors"][0]["channel"] == "temperature"
    assert 200.0 <= jump["ts"] - START - LEARNED < 210.0
    assert [alert["seq"] for alert in alerts] == list(range(1, len(alerts) + 1))


def rewritten(state: Path, change: Callable[[dict[str, Any]], None], **header: Any) -> None:
    """Change the content of both snapshots and keep their checksums correct."""
    for name in ("recent.snapshot", "whole.snapshot"):
        saved, content = read(state / name)
        change(content)
        write(state / name, msgspec.structs.replace(saved, **header), content)


@pytest.fixture(name="present")
def _present(tmp_path: Path) -> Path:
    """A state directory written by this version."""
    state, workspace = tmp_path / "state", tmp_path / "made"
    workspace.mkdir()
    run("one_pace", state, workspace, slice(LEARNED), START)
    return state


def test_a_part_of_a_newer_version_starts_afresh_alone_and_is_named(
    present: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(content: dict[str, Any]) -> None:
        for path, record in content["parts"].items():
            if path.endswith("scale_12.threshold"):
                record["version"] = 99

    rewritten(present, change)
    alerts = continued(Path("one_pace"), present)
    assert "start afresh, 1 in all: detectors.0.scale_12.threshold is of version 99" in caplog.text
    # The incident that was open goes on, and closes when the load is back; the jump stays open.
    assert [alert["phase"] for alert in alerts[-3:]] == ["close", "open", "update"]
    assert "resumed" not in [alert["reason"] for alert in alerts]


@pytest.mark.parametrize(
    ("change", "header", "words"),
    [
        (lambda content: content, {"format": 99}, "of format 99, this agent reads 1 and 2"),
        (lambda content: content.update(parts={}), {}, "the snapshot does not fit this agent"),
        (lambda content: content.update(parts=5), {}, "it has no parts"),
    ],
)
def test_a_snapshot_that_cannot_be_used_is_named_and_the_agent_learns_anew(
    present: Path, change: Any, header: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = waiting(present)
    rewritten(present, change, **header)
    alerts = continued(Path("one_pace"), present)
    assert words in caplog.text
    assert alerts[: len(before)] == before
    assert [alert["seq"] for alert in alerts] == list(range(1, len(alerts) + 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.pop("monitor"), "not a snapshot of format 1"),
        (lambda content: content.update(monitor=[]), "not a snapshot of format 1"),
        (lambda content: content["monitor"].update(_watches=[{"_stages": 5}]), "in all: detectors.0"),
        (lambda content: content["monitor"]["_watches"][0].update(_row="1"), "in all: detectors.0.blocks row is '1'"),
    ],
)
def test_what_is_wrong_with_a_snapshot_of_format_1_is_named(
    tmp_path: Path, change: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    shutil.copytree(WRITTEN[0].parents[1] / "0.1.0" / "one_pace", state)
    rewritten(state, change)
    alerts = continued(Path("one_pace"), state)
    assert words in caplog.text
    assert [alert["seq"] for alert in alerts] == list(range(1, len(alerts) + 1))


def test_nan_where_no_value_may_be_unknown_is_refused_and_detection_goes_on(
    present: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["parts"]["detectors.0.refractory"]["alarm"][:] = np.nan

    rewritten(present, change)
    alerts = continued(Path("one_pace"), present)
    assert "in all: detectors.0.refractory alarm holds NaN" in caplog.text
    assert "temperature" in {c["channel"] for alert in alerts for c in alert["contributors"]}


@pytest.mark.parametrize("incidents", [None, b"", b"garbage"])
def test_incidents_that_a_snapshot_has_lost_are_continued_from_the_outbox(present: Path, incidents: Any) -> None:
    before = waiting(present)
    rewritten(present, lambda content: content.update(incidents=incidents))
    alerts = continued(Path("one_pace"), present)
    assert [a["incident"] for a in alerts[len(before) :] if a["phase"] == "close"][:1] == [before[-1]["incident"]]


def test_truncated_snapshots_are_named_and_the_agent_learns_anew(
    present: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("recent.snapshot", "whole.snapshot"):
        body = (present / name).read_bytes()
        (present / name).write_bytes(body[: len(body) // 2])
    continued(Path("one_pace"), present)
    assert caplog.text.count("cannot be used: damaged") == 2


def test_records_hold_declared_fields_only(present: Path) -> None:
    _, content = read(present / "whole.snapshot")
    assert content["parts"].keys() >= {
        "ensemble",
        "classifier",
        "detectors.0",
        "detectors.0.scale_1.time_scale.normaliser",
    }
    assert all(isinstance(record["version"], int) for record in content["parts"].values())
    assert len(pack(content)) > 0
