from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.detection import time_scale, universal
from agent.models.loader import builtin_directory
from tools.benchmark import __main__ as command
from tools.benchmark.accuracy import ablation

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2024, 1, 1)  # noqa: DTZ001 - the benchmark's time stamps have no zone


def nab(folder: Path, series: int = 3, rows: int = 400) -> Path:
    """Series of noise, each with a spike inside a labelled window."""
    windows = {}
    (folder / "data" / "made").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number in range(series):
        values = np.random.default_rng(number).normal(50, 1, rows)
        values[300] += 60
        stamps = [START + timedelta(minutes=5 * row) for row in range(rows)]
        lines = ["timestamp,value", *(f"{stamp},{value:.3f}" for stamp, value in zip(stamps, values, strict=True))]
        (folder / "data" / "made" / f"{number}.csv").write_text("\n".join(lines) + "\n")
        windows[f"made/{number}.csv"] = [[f"{stamps[row]}.000000" for row in (295, 310)]]
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(windows))
    return folder


def test_obvious_anomalies_are_found_by_processes_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "nab.json"
    twice = f"{builtin_directory()},{builtin_directory()}"
    arguments = ["nab", "--data", str(nab(tmp_path / "nab")), "--bundle", twice, "--processes", "2"]
    assert command.main([*arguments, "--output", str(output)]) == 0
    entries = {entry["detector"]: entry for entry in json.loads(output.read_text())["figures"]["entries"]}
    assert entries["alert head"]["figures"]["standard"] > 50
    assert entries["alert head"]["spread"]["standard"] == 0.0
    assert entries["alerts"]["figures"]["standard"] > entries["random scores"]["figures"]["standard"]
    assert "| ARTime | published | 74.9 | 65.1 | 80.4 |" in output.with_suffix(".md").read_text()
    assert "3 series" in capsys.readouterr().out


def test_parts_are_left_out_one_by_one_and_only_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, kind_or_scale in ablation.PARTS.items():
        with ablation.without(part):
            left = universal.kinds_at(60.0)
            assert kind_or_scale not in {*left, *(kind for kinds in left.values() for kind in kinds)}
    assert set(ablation.PARTS.values()) < {*universal.kinds_at(60.0), *time_scale.ErrorKind}
    monkeypatch.setattr(ablation, "PARTS", {"level": ablation.PARTS["level"]})
    output = tmp_path / "parts.json"
    arguments = ["parts", "--data", str(nab(tmp_path / "nab")), "--processes", "1", "--output", str(output)]
    assert command.main(arguments) == 0
    everything, fewer = json.loads(output.read_text())["figures"]["entries"]
    bought = everything["figures"]["standard"] - fewer["figures"]["standard"]
    assert fewer["figures"]["bought"] == pytest.approx(bought)
    assert fewer["figures"]["step, µs"] > 0


def test_a_bundle_that_is_not_there_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["nab", "--data", str(nab(tmp_path / "nab")), "--bundle", str(tmp_path / "none")]
    assert command.main(arguments) == 2
    assert "none" in capsys.readouterr().err
