from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.core.channel import Channel
from agent.core.errors import UserError
from tools.benchmark import __main__ as command
from tools.benchmark.accuracy import aiops, planetlab, skab, smd, ucr
from tools.benchmark.results import Entry, Results, markdown, mean_of, table
from training.data.recording import Recording
from training.evaluation.baselines import linear_residual, range_novelty, step_novelty
from training.evaluation.metrics.tsb import period, vus_pr

DATA = Path(os.environ.get("EDGEWATCH_DATA", Path(__file__).parents[3].parent / "shared" / "data"))


def recording(values: Any, labels: Any = (), train_rows: int | None = None, interval_s: float = 1.0) -> Recording:
    values = np.asarray(values, np.float32).reshape(len(values), -1)
    marks = np.zeros(len(values), bool)
    marks[list(labels)] = True
    channels = tuple(Channel(str(column)) for column in range(values.shape[1]))
    time = interval_s * np.arange(len(values), dtype=float)
    return Recording("r", channels, interval_s, time, values, marks, train_rows)


class TestResults:
    def test_retrained_networks_are_told_as_mean_and_spread(self) -> None:
        entry = mean_of("ours", "ours", [{"f": 1.0}, {"f": 3.0}])
        assert entry.figures == {"f": 2.0}
        assert entry.spread == {"f": pytest.approx(2**0.5)}
        assert mean_of("ours", "ours", [{"f": 1.0}]).spread == {}
        assert mean_of("ours", "ours", [{"f": 1.0}, {"f": np.nan}]) == Entry("ours", "ours", {"f": None})

    def test_a_table_shows_what_is_known_with_its_decimals(self) -> None:
        entries = (mean_of("a", "ours", [{"f": 1.0, "g": 2.0}] * 2), Entry("b", "published", {"f": None}))
        results = Results("Title", {"f": 1, "g": 2}, entries, caption="Why.")
        assert table(results).rows == (("a", "ours", "1.0 ± 0.0", "2.00 ± 0.00"), ("b", "published", None, None))
        assert markdown(results) == (
            "# Title\n\n| detector | kind | f | g |\n|---|---|---:|---:|\n"
            "| a | ours | 1.0 ± 0.0 | 2.00 ± 0.00 |\n| b | published | – | – |\n\nWhy.\n"
        )

    def test_a_benchmark_writes_figures_and_its_table_beside_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        results = Results("Title", {"f": 1}, (Entry("a", "ours", {"f": 1.0}),))
        monkeypatch.setattr(ucr, "run", lambda options: results)
        assert command.main(["ucr", "--data", str(tmp_path), "--output", str(tmp_path / "o" / "ucr.json")]) == 0
        written = json.loads((tmp_path / "o" / "ucr.json").read_text())
        assert written["figures"]["entries"][0]["figures"] == {"f": 1.0}
        assert (tmp_path / "o" / "ucr.md").read_text() == markdown(results)
        assert "Title" in capsys.readouterr().out

    @pytest.mark.parametrize("name", ["nab", "smd", "ucr", "skab", "aiops", "alerts", "planetlab"])
    def test_a_folder_of_something_else_is_refused_without_a_traceback(
        self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main([name, "--data", str(tmp_path)]) == 2
        assert str(tmp_path) in capsys.readouterr().err


class TestVolume:
    def test_a_perfect_ranking_of_one_anomaly_fills_the_volume(self) -> None:
        labels = np.zeros(1000, bool)
        labels[400:450] = True
        assert vus_pr(labels, labels + 0.0, 0) == pytest.approx(1.0)
        assert vus_pr(labels, np.random.default_rng(0).random(1000), 0) < 0.15

    def test_a_near_miss_counts_more_the_wider_an_anomaly_may_be(self) -> None:
        labels = np.zeros(1000, bool)
        labels[400:450] = True
        late = np.roll(labels, 20) + 0.0
        assert vus_pr(labels, late, 60) > vus_pr(labels, late, 10) > vus_pr(labels, late, 0)

    def test_the_period_is_the_lag_of_the_highest_peak(self) -> None:
        assert period(np.sin(np.arange(3000) * 2 * np.pi / 48)) == 48
        assert period(np.ones(3000)) == 125

    def test_published_figures_of_smd_are_reproduced(self) -> None:
        path = DATA / "smd" / "published_vus_pr.csv"
        if not path.exists():
            pytest.skip("the Server Machine Dataset with published figures is not there (EDGEWATCH_DATA)")
        with path.open(encoding="utf-8") as file:
            published = {row["machine"]: float(row["PCA"]) for row in csv.DictReader(file)}
        machines = smd.read_machines(path.parent)
        ours = smd.auc_each(machines, list(map(smd.principal_components, machines)))
        assert ours == pytest.approx([published[machine.name] for machine in machines], abs=0.001)


class TestUcr:
    def test_the_highest_score_counts_within_the_anomalys_length_and_behind_the_training_part(self) -> None:
        one = recording(np.zeros(2000), range(1000, 1010), train_rows=500)
        for row, expected in ((905, True), (1105, True), (880, False), (1120, False)):
            score = np.zeros(2000)
            score[row], score[100] = 1.0, 2.0
            assert ucr.hits([one], [score]) == [expected]
        assert ucr.by_chance(one) == pytest.approx(210 / 1500)


class TestSkab:
    def test_rows_are_flagged_beyond_what_was_seen_while_learning(self) -> None:
        score = np.array([0.0, 0.0, 1.0, 2.0, 2.1, 3.0, 3.0, 1.0])
        assert skab.flags(score, 4, 1, 1.0, 1.2).tolist() == [False] * 5 + [True, True, False]
        assert not skab.flags(score, 2, 1, 1.0, 1.2).any()

    def test_figures_are_those_of_all_files_together(self) -> None:
        parts = [recording(np.zeros(10), range(5)), recording([0.0] * 9 + [np.nan], range(9, 10))]
        flagged = [np.arange(10) < 4, np.arange(10) < 3]
        figures = skab.figures_of(skab.count_each(parts, flagged))
        assert figures == {
            "F1": pytest.approx(8 / 12),
            "false alarms %": pytest.approx(300 / 14),
            "missed alarms %": pytest.approx(20.0),
        }


class TestAiops:
    def test_the_threshold_is_the_lowest_with_one_false_alarm_a_day(self) -> None:
        day = 288
        one = recording(np.zeros(3 * day), [day + 50, day + 150, 2 * day + 100], train_rows=day, interval_s=300.0)
        score = np.zeros(3 * day)
        score[[day + 50, day + 150]] = 0.9
        score[[day + 12, day + 13, day + 100]] = 0.8  # two false alarms: the first two rows lie in one half hour
        score[2 * day + 100] = 0.7
        score[2 * day + 30] = 0.6
        score[0] = 1.0
        found = aiops.at_rate([one], [score])
        assert (len(found.delays_s), found.events, found.false_a_day) == (3, 3, 1.0)
        assert found.threshold == pytest.approx(0.6)

    def test_what_flags_always_is_no_way_around_false_alarms(self) -> None:
        one = recording(np.zeros(576), [300], train_rows=288, interval_s=300.0)
        assert aiops.above([one], [np.ones(576)], 0.5).false_a_day == 48.0
        assert aiops.at_rate([one], [np.ones(576)]).delays_s == ()

    def test_kpis_are_read_as_training_part_and_test_part(self, tmp_path: Path) -> None:
        arrays = {
            "train": np.arange(5.0), "test": np.arange(3.0), "train_label": np.zeros(5), "test_label": np.ones(3),
            "train_timestamp": np.arange(5) * 60, "test_timestamp": 300 + np.arange(3) * 60,
        }  # fmt: skip
        np.savez(tmp_path / "a.npz", **arrays)
        (one,) = aiops.read_recordings(tmp_path)
        assert (one.interval_s, one.train_rows, one.rows) == (60.0, 5, 8)
        assert np.asarray(one.labels).tolist() == [False] * 5 + [True] * 3
        np.savez(tmp_path / "a.npz", **{**arrays, "test_timestamp": np.array([330, 390, 450])})
        with pytest.raises(UserError, match="whole number of intervals"):
            aiops.read_recordings(tmp_path)


class TestPlanetlab:
    def test_machines_are_read_from_the_archive_without_unpacking(self, tmp_path: Path) -> None:
        path = tmp_path / "p.tar.xz"
        with tarfile.open(path, "w:xz") as archive:
            for name, text in (("d/b", b"1\n2\n3\n"), ("d/a", b"4\n5\n")):
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
        machines = list(planetlab.read_recordings(path))
        assert [(one.name, one.values[:, 0].tolist()) for one in machines] == [("d/a", [4, 5]), ("d/b", [1, 2, 3])]

    def test_a_line_that_is_no_number_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "host").write_text("1\nx\n")
        with pytest.raises(UserError, match="host"):
            list(planetlab.read_recordings(tmp_path))


class TestNoModel:
    def test_range_novelty_is_the_excess_over_the_range_before(self) -> None:
        values = np.tile([0.0, 1.0], 100)
        values[150] = 1.28
        novelty = range_novelty(values)
        assert novelty[150] == pytest.approx(2.0)
        assert not novelty[:150].any()

    def test_a_step_is_novel_beyond_the_range_of_steps(self) -> None:
        novelty = step_novelty(np.array([0.0, 1.0, 0.0, 1.0, 4.0]))
        assert novelty[-1] == pytest.approx(1.0)
        assert novelty[3] == 0.0

    def test_a_linear_forecast_is_surprised_by_a_broken_rhythm(self) -> None:
        values = np.sin(np.arange(1000) / 5) + 0.01 * np.random.default_rng(0).normal(size=1000)
        values[700:720] = 0.0
        assert 700 <= int(np.argmax(linear_residual(values, 500))) < 790


def test_fitting_needs_a_folder_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--fit"):
        smd.run(Namespace(fit=True, joint=None, data=tmp_path))
