"""Replay is the live loop over a file: the same verdicts, bit for bit."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.alerting.incidents import Incidents
from agent.cli.main import main
from agent.cli.replay import replay
from agent.config import loader
from agent.core.clock import ManualClock
from agent.core.errors import UserError
from agent.detection.ensemble import Ensemble
from agent.models import bundle
from agent.models.last_good import load_bundles
from agent.sampling.sampler import Sampler
from agent.service.pipeline import open_sources
from agent.sources.csv_reader import CsvReader

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from agent.config.schema import Config
    from agent.core.frame import Frame
    from agent.detection.verdict import Verdict

ROWS = 700


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    rows = rng.normal(50, 2, (ROWS, 3)).astype(np.float32)
    rows[:, 1] = np.exp(rows[:, 1] / 8)
    rows[400:430, 0] += 70
    rows[500:520, 2] = np.nan
    lines = ["time,cpu.percent,disk.write,plain"]
    lines += [
        ",".join((str(1_700_000_000 + i), *("" if np.isnan(v) else repr(float(v)) for v in row)))
        for i, row in enumerate(rows)
    ]
    path = tmp_path / "recording.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def live(frames: Iterable[Frame], channels: Any, settings: Config) -> list[tuple[Frame, Verdict, list[Any]]]:
    models = load_bundles(settings)
    monitor = Ensemble(channels, models, settings.detection, settings.alerts, 1.0)
    model = bundle.labels(models)
    incidents = Incidents(channels, settings.alerts, 1.0, node=settings.node, model=model, instance="replay")
    steps = []
    for frame in frames:
        verdict = monitor.step(frame)
        steps.append((frame, verdict, incidents.step(frame, verdict)))
    return steps


def test_replay_gives_the_verdicts_of_the_live_loop_bit_for_bit(recording: Path, tmp_path: Path) -> None:
    settings = loader.parse(
        f"node: n\nsources: [{{type: csv, path: '{recording}'}}]\n"
        "detection: {block_s: 1}\nalerts: {learning_s: 0, budget_per_day: 1e9}".encode()
    )
    sampler = Sampler(open_sources(settings), 1.0, ManualClock(1_700_000_000.0))
    steps = live(sampler.frames(), sampler.channels, settings)
    assert len(steps) == ROWS
    told = replay(settings, recording, output=tmp_path / "out.csv", incidents=tmp_path / "incidents.jsonl")
    alerts = [alert for _, _, some in steps for alert in some]
    opened = sum(alert.phase == "open" for alert in alerts)
    assert f"{opened} incidents at a budget of 1e+09 a day" in told
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == ROWS
    names = [channel.name for channel in sampler.channels]
    for row, (frame, verdict, _) in zip(rows, steps, strict=True):
        expected, lower, upper = verdict.bounds()
        for i, name in enumerate(names):
            columns = {"value": frame.values, "expected": expected, "lower": lower, "upper": upper}
            columns["score"] = verdict.score()
            for column, array in columns.items():
                cell = row[f"{name}.{column}"]
                assert (np.isnan(array[i]) and cell == "") or float(cell) == float(array[i])
            assert float(row[f"{name}.threshold"]) == verdict.threshold
        assert float(row["score"]) == verdict.score().max()
        assert float(row["state_score"]) == verdict.state_score
        assert int(row["anomalous"]) == verdict.anomalous.any()
    lines = [json.loads(line) for line in (tmp_path / "incidents.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [alert.id for alert in alerts]
    assert [line["phase"] for line in lines] == [alert.phase for alert in alerts]
    planted = [line for line in lines if line["phase"] == "open" and 400 <= line["started"] - 1_700_000_000 < 405]
    assert [line["contributors"][0]["channel"] for line in planted] == ["cpu.percent"]


@pytest.mark.parametrize("chunk", [1, 7, 64, 333])
def test_how_a_recording_is_cut_into_chunks_changes_nothing(recording: Path, chunk: int) -> None:
    settings = loader.parse(b"detection: {block_s: 1}\nalerts: {learning_s: 0, budget_per_day: 1e9}")
    reader = CsvReader(recording)
    frames = list(reader)
    whole = live(frames, reader.channels, settings)

    def chunked() -> Iterable[Frame]:
        for start in range(0, ROWS, chunk):
            yield from frames[start : start + chunk]

    for (_, a, some), (_, b, others) in zip(whole, live(chunked(), reader.channels, settings), strict=True):
        assert np.array_equal(a.strength, b.strength)
        assert np.array_equal(a.bounds(), b.bounds(), equal_nan=True)
        assert some == others


def test_columns_named_like_a_sources_channels_get_its_unit_and_scale(recording: Path, tmp_path: Path) -> None:
    replay(
        loader.parse(b"detection: {block_s: 1}\nalerts: {learning_s: 0, budget_per_day: 1e9}"),
        recording,
        incidents=tmp_path / "i.jsonl",
    )
    told = [json.loads(line)["contributors"][0] for line in (tmp_path / "i.jsonl").read_text().splitlines()]
    of_the_host = [contributor for contributor in told if contributor["channel"] == "cpu.percent"]
    assert of_the_host
    assert all(contributor["unit"] == "%" and contributor["upper"] <= 100 for contributor in of_the_host)


@pytest.fixture
def storm(tmp_path: Path) -> Path:
    """Six channels that fail one after the other; the last one the least."""
    rows = np.random.default_rng(7).normal(50, 2, (900, 6))
    for channel, height in enumerate((70, 70, 70, 70, 70, 30)):
        rows[400 + 80 * channel : 430 + 80 * channel, channel] += height
    lines = (f"{1_700_000_000 + seconds},{','.join(map(str, row))}" for seconds, row in enumerate(rows.tolist()))
    path = tmp_path / "storm.csv"
    path.write_text("\n".join(["time,a,b,c,d,e,f", *lines]))
    return path


def test_what_a_storm_holds_back_is_counted_tabulated_and_written_if_asked_for(storm: Path, tmp_path: Path) -> None:
    settings = loader.parse(b"detection: {block_s: 1}\nalerts: {learning_s: 150, budget_per_day: 0.001}")
    sent, both = tmp_path / "sent.jsonl", tmp_path / "both.jsonl"
    told = replay(settings, storm, incidents=sent)
    replay(settings, storm, incidents=both, held=True)
    phases = [json.loads(line)["phase"] for line in both.read_text().splitlines()]
    assert [json.loads(line)["phase"] for line in sent.read_text().splitlines()] == [p for p in phases if p != "held"]
    opened, held = phases.count("open"), phases.count("held")
    assert f"{opened} incidents at a budget of 0.001 a day in 0.0104 days, {held} held back" in told
    assert opened >= 3
    assert held >= 1
    head, counts = told.splitlines()[-2:]
    assert head.split() == ["budget", "a", "day", "1e-05", "0.0001", "0.0003", "0.001", "all"]
    each = [int(count) for count in counts.split()[1:]]
    assert each == sorted(each)
    # All six are rare enough for the configured budget, those held back included.
    assert each[-2:] == [opened + held] * 2


def test_a_recording_with_text_gaps_and_disorder_is_replayed_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("t,a,b\n" + "".join(f"{i},{i % 5},{i % 3}\n" for i in range(120)))
    with path.open("a") as file:
        file.write("130,oops,1e308\n129,1,1\n130,1,1\nsoon,1,1\n131,1\n132,1,2,3\n")
    told = replay(loader.parse(b""), path, output=tmp_path / "out.csv")
    for expected in (
        "1 gap in time (first in line 122)",
        "1 value that is no number",
        "1 value too large",
        "1 row skipped: time going back",
        "1 row skipped: repeated time stamp",
        "1 row skipped: unreadable time stamp",
        "2 rows with a wrong number of fields",
    ):
        assert expected in told
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 123


def test_an_output_that_cannot_be_written_is_named_and_no_half_file_stays(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        replay(loader.parse(b""), recording, output=tmp_path / "nowhere" / "out.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recording.csv"]


@pytest.mark.parametrize("input_path", ["nowhere.csv", "."])
def test_a_missing_input_exits_with_2_and_a_message(
    input_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "--input", str(tmp_path / input_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
