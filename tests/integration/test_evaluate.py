from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from agent.core.channel import Channel
from training.commands import evaluate as command
from training.commands.main import main
from training.data.recording import Recording
from training.evaluation.results import Evaluation, Result

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
ANOMALIES = ((500, 530), (700, 720))


def recording(name: str = "pump", rows: int = 900, **kwargs: Any) -> Recording:
    """Two sine channels that jump in one anomaly and fall in the other, since a recurring one would become normal."""
    rng = np.random.default_rng(len(name))
    swing = 5 * np.sin(np.arange(rows) / 9)[:, None]
    values = (swing + rng.normal(50, 1, (rows, 2))).astype(np.float32)
    labels = np.zeros(rows, bool)
    for (begin, end), jump in zip(ANOMALIES, (60, -60), strict=True):
        values[begin:end] += jump
        labels[begin:end] = True
    time = 1.7e9 + np.arange(rows, dtype=float)
    given = Recording(name, (Channel("flow", "l/s"), Channel("pressure", "bar")), 1.0, time, values, labels, 300)
    return replace(given, **kwargs)


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    config = tmp_path / "config.yaml"
    config.write_text("detection: {block_s: 1}\nalerts: {learning_s: 200}\n")

    def run(*recordings: Recording, options: tuple[str, ...] = ()) -> int:
        monkeypatch.setattr(command, "recordings", lambda _: iter(recordings))
        arguments = ["--data", "given", "--output", str(tmp_path / "out"), "--config", str(config), *options]
        return main(["evaluate", *arguments])

    return run


def figures(tmp_path: Path) -> Evaluation:
    """Read the written results, validated by their type."""
    return msgspec.json.decode((tmp_path / "out" / "metrics.json").read_bytes(), type=Evaluation)


def single(tmp_path: Path) -> Result:
    (result,) = figures(tmp_path).results
    return result


def test_planted_anomalies_are_found_and_all_of_it_is_written(
    evaluate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(recording()) == 0
    result = single(tmp_path)
    assert (result.rows, result.first, result.anomalous_rows, result.true_intervals) == (900, 300, 50, 2)
    assert result.by_point is not None
    main_detector = result.by_point.detectors["range"]
    assert main_detector.events.found == 2
    assert main_detector.events.delay_max_s == 0.0
    # The alert head reports onsets; the state head ranks rows.
    assert (result.by_point.detectors["state"].ranking.roc_auc or 0.0) > 0.8
    assert (main_detector.points.f1 or 0.0) > 4 * (result.by_point.random.points.f1 or 0.0)
    assert list(result.by_point.detectors) == ["range", "state", "forecaster", "autoencoder", "z_frozen", "z_running"]
    assert result.by_point.all_positive.points.precision == pytest.approx(50 / 600)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json", "report.html", "confusion.png", "precision_recall.png", "roc.png", "thresholds.png",
        "detections.png", "errors.png",
    }  # fmt: skip
    told = capsys.readouterr().out
    assert "range" in told
    assert "all_positive" in told


def test_thresholds_are_compared_and_combined(evaluate: Any, tmp_path: Path) -> None:
    chosen = ("--thresholds", "range,mean_std,percentile,mad", "--combine", "any,all,majority")
    assert evaluate(recording(), options=chosen) == 0
    result = single(tmp_path)
    flagged = {name: alarms.flagged for name, alarms in result.alarms.items()}
    assert list(flagged)[:7] == ["range", "mean_std", "percentile", "mad", "any", "all", "majority"]
    alone = [flagged[name] for name in ("range", "mean_std", "percentile", "mad")]
    assert flagged["any"] >= max(alone)
    assert flagged["all"] <= min(alone)
    assert flagged["all"] <= flagged["majority"] <= flagged["any"]


def test_figures_per_window_count_windows_that_touch_an_anomaly(evaluate: Any, tmp_path: Path) -> None:
    assert evaluate(recording(), options=("--label-window", "60")) == 0
    result = single(tmp_path)
    assert result.by_window is not None
    points = result.by_window.detectors["range"].points
    assert points.true_positive + points.false_negative == 30 + 59 + 20 + 59


def test_several_recordings_are_pooled_and_averaged(evaluate: Any, tmp_path: Path) -> None:
    assert evaluate(recording("one"), recording("another"), recording("quiet", labels=None)) == 0
    evaluation = figures(tmp_path)
    summary = evaluation.summary
    assert summary is not None
    assert (len(evaluation.results), summary.recordings) == (3, 2)
    parts = [result.by_point.detectors["range"] for result in evaluation.results if result.by_point]
    assert summary.pooled.detectors["range"].points.true_positive == sum(part.points.true_positive for part in parts)
    assert summary.mean.detectors["range"].ranking.vus_pr == pytest.approx(
        np.mean([part.ranking.vus_pr for part in parts])
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<details>") == 2
    assert "Mean over recordings" in page


def test_without_labels_alarms_and_scores_are_counted(
    evaluate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(recording(labels=None)) == 0
    evaluation = figures(tmp_path)
    assert evaluation.summary is None
    assert evaluation.results[0].by_point is None
    alarms = evaluation.results[0].alarms["range"]
    assert alarms.alarms >= 2
    assert alarms.alarms_a_day == pytest.approx(alarms.alarms * 86400 / 600)
    assert alarms.score_quantiles["1.0"] > 0.995
    assert "the data has no labels" in capsys.readouterr().out


def test_labels_that_are_all_false_leave_false_alarms_and_reasons(evaluate: Any, tmp_path: Path) -> None:
    assert evaluate(recording(labels=np.zeros(900, bool))) == 0
    result = single(tmp_path)
    assert result.by_point is not None
    metrics = result.by_point.detectors["range"]
    assert (metrics.events.false or 0) >= 2
    assert metrics.points.recall is None
    assert metrics.undefined["points.recall"] == "no row is labelled anomalous"


def test_the_share_asked_for_wins_over_the_data_sets_training_part(evaluate: Any, tmp_path: Path) -> None:
    assert evaluate(recording(), options=("--train-share", "0.5")) == 0
    assert single(tmp_path).first == 450


def test_a_recording_that_is_too_short_is_refused_and_nothing_is_written(
    evaluate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(recording(rows=120, train_rows=None)) == 2
    assert "pump: no rows are left to evaluate: it has 120 rows" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_recording_that_is_too_short_among_others_is_left_out_and_said(
    evaluate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(recording("short", rows=120, train_rows=None), recording()) == 0
    assert list(figures(tmp_path).skipped) == ["short"]
    assert "left out: short: no rows are left" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--thresholds", "range,sigma"),
            "--thresholds: unknown name 'sigma' – choose from range, mean_std, percentile, mad",
        ),
        (
            ("--thresholds", "range,mad", "--combine", "most"),
            "--combine: unknown name 'most' – choose from any, all, majority",
        ),
        (("--combine", "any"), "--combine: a single threshold cannot be combined"),
        (("--bundle", "nowhere"), "nowhere/manifest.json: cannot read the bundle's manifest"),
        (("--config", "nowhere.yaml"), "nowhere.yaml: cannot read the configuration"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(
    evaluate: Any, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(recording(), options=options) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--train-share", "1"), ("--interval", "0"), ("--label-window", "0")])
def test_a_number_out_of_range_is_refused_before_anything_is_read(evaluate: Any, option: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as left:
        evaluate(recording(), options=option)
    assert left.value.code == 2


def test_a_folder_of_somebody_elses_is_left_alone(
    evaluate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    assert evaluate(recording()) == 2
    assert "something else ('thesis.txt')" in capsys.readouterr().err


def test_ctrl_c_leaves_the_former_results_as_they_were(evaluate: Any, tmp_path: Path) -> None:
    assert evaluate(recording()) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    class Stopped(Recording):
        @property
        def rows(self) -> int:
            raise KeyboardInterrupt

    given = recording()
    stopped = Stopped(**{name: getattr(given, name) for name in given.__dataclass_fields__})
    assert evaluate(recording("first"), stopped) == 130
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_same_data_give_the_same_figures(evaluate: Any, tmp_path: Path) -> None:
    assert evaluate(recording()) == 0
    once = (tmp_path / "out" / "metrics.json").read_bytes()
    assert evaluate(recording()) == 0
    assert (tmp_path / "out" / "metrics.json").read_bytes() == once


def test_a_labelled_csv_is_evaluated_without_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("training.data.readers.registry", reason="the readers are not there")
    given = recording()
    lines = [
        f"{time:.0f},{flow},{pressure},{int(label)}"
        for time, (flow, pressure), label in zip(given.time, given.values, given.labels, strict=True)
    ]
    (tmp_path / "pump.csv").write_text("\n".join(("time,flow,pressure,anomaly", *lines)) + "\n")
    code = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
from training.commands.main import main
sys.exit(main(sys.argv[1:]))
"""
    options = ["evaluate", "--data", "pump.csv", "--output", "out", "--train-share", "0.4"]
    command_line = [sys.executable, "-c", code, *options]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command_line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["results"][0]["true_intervals"] == 2


def test_nothing_of_evaluation_imports_tensorflow() -> None:
    code = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
import training.commands.evaluate, training.reports.evaluation, training.reports.page.terminal
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)
