from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agent.core.errors import UserError
from tools.benchmark import __main__ as command
from tools.benchmark.accuracy import alert_sets
from tools.benchmark.accuracy.alert_score import Event
from tools.benchmark.accuracy.alert_sets import SETS, fleet, read_set
from training.synthetic.host_faults import FAULT_KINDS

HOUR_S = 3600.0


def test_of_a_kpi_two_weeks_are_learned_and_three_scored(tmp_path: Path) -> None:
    (tmp_path / "aiops_kpi").mkdir()
    train, test = 16 * 24, 22 * 24  # days of hourly rows
    labels = np.zeros(test)
    labels[[5, 6, 30]] = 1
    np.savez(
        tmp_path / "aiops_kpi" / "a.npz",
        train=np.arange(train), test=train + np.arange(test), train_label=np.zeros(train), test_label=labels,
        train_timestamp=np.arange(train) * HOUR_S, test_timestamp=(train + np.arange(test)) * HOUR_S,
    )  # fmt: skip
    (node,) = read_set("aiops_kpi", tmp_path, 0)
    assert (node.recording.name, node.recording.interval_s, node.recording.rows) == ("a", HOUR_S, 35 * 24)
    assert node.recording.values[:, 0].tolist() == list(range(2 * 24, 37 * 24))
    assert node.begin == train * HOUR_S
    first = train * HOUR_S
    assert node.events == (
        Event(first + 5 * HOUR_S, first + 6 * HOUR_S),
        Event(first + 30 * HOUR_S, first + 30 * HOUR_S),
    )


def test_of_a_machine_the_training_half_is_learned_and_the_test_half_scored(tmp_path: Path) -> None:
    (tmp_path / "smd").mkdir()
    label = np.array([0, 1, 1, 0])
    np.savez(tmp_path / "smd" / "machine-1-1.npz", train=np.zeros((3, 2)), test=np.ones((4, 2)), test_label=label)
    (node,) = read_set("smd", tmp_path, 0)
    assert [channel.name for channel in node.recording.channels] == ["metric.1", "metric.2"]
    assert node.recording.values[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert (node.begin, node.events) == (180.0, (Event(240.0, 300.0),))


def test_each_mote_is_a_node_with_its_own_labels(tmp_path: Path) -> None:
    (tmp_path / "lwsndr_single_hop").mkdir()
    lines = ["reading,mote_id,indoor,humidity,temperature,label"]
    lines += [
        f"{row},{mote},1,{40 + mote},{20 + row},{int(mote == 2 and row == 3)}" for mote in (1, 2) for row in (1, 2, 3)
    ]
    (tmp_path / "lwsndr_single_hop" / "data.csv").write_text("\n".join(lines) + "\n")
    first, second = read_set("lwsndr_single_hop", tmp_path, 0)
    assert [first.recording.name, second.recording.name] == ["mote 1", "mote 2"]
    assert first.recording.time.tolist() == [5.0, 10.0, 15.0]
    assert second.recording.values.tolist() == [[42, 21], [42, 22], [42, 23]]
    assert (first.events, second.events) == ((), (Event(15.0, 15.0),))
    assert first.begin == 605.0


def test_the_live_host_has_named_events_and_leaves_the_recorder_out(tmp_path: Path) -> None:
    (tmp_path / "host_live").mkdir()
    rows = "".join(f"{1000 + second},{second % 7},0.1\n" for second in range(50))
    (tmp_path / "host_live" / "busy.csv").write_text("t,cpu,late_ms\n" + rows)
    events = [{"kind": "cpu_burn", "a": 1020.0, "b": 1030.0, "ch": ["cpu"]}]
    (tmp_path / "host_live" / "busy.labels.json").write_text(json.dumps(events))
    (node,) = read_set("host_live", tmp_path, 0)
    assert [channel.name for channel in node.recording.channels] == ["cpu"]
    assert node.events == (Event(1020.0, 1030.0, "cpu_burn", ("cpu",)),)
    assert node.begin == 1600.0


def test_a_fleet_has_its_faults_on_the_days_asked_for() -> None:
    nodes = fleet(300.0, len(FAULT_KINDS), 4, (3, 4), 7)
    assert [node.recording.name for node in nodes][:2] == ["host 7", "host 8"]
    assert {event.kind for node in nodes for event in node.events} == set(FAULT_KINDS)
    for node in nodes:
        start = node.recording.time[0]
        assert [int((event.begin - start) // 86400.0) for event in node.events] == [2, 3]
        assert all(event.channels for event in node.events)
        assert node.begin == start + 100 * 300.0


@pytest.mark.parametrize("name", ["aiops_kpi", "smd", "host_live", "lwsndr_single_hop"])
def test_a_set_that_is_not_there_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["alerts", "--data", str(tmp_path), "--sets", name]) == 2
    assert str(tmp_path / name) in capsys.readouterr().err


def test_an_unknown_set_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hosts 60 s quiet"):
        read_set("hosts", tmp_path, 0)


def test_every_set_can_be_named_on_the_command_line() -> None:
    assert not any("," in name for name in SETS)


def test_the_command_scores_a_fleet_beside_the_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(alert_sets.SETS, "tiny", lambda _, seed: fleet(300.0, 2, 4, (4,), seed))
    output = tmp_path / "alerts.json"
    arguments = ["alerts", "--data", str(tmp_path), "--sets", "tiny", "--processes", "1", "--output", str(output)]
    assert command.main([*arguments, "--seed", "3"]) == 0
    figures = json.loads(output.read_text())["figures"]
    entries = {entry["detector"]: entry for entry in figures["entries"]}
    assert list(entries) == [
        "tiny",
        "tiny: robust z",
        "tiny: 2-means of each channel, as Netdata",
        "tiny: static rules",
        "tiny: static rules, as written",
    ]
    assert [entry["kind"] for entry in entries.values()] == ["ours", *["no model"] * 4]
    assert all(entry["figures"]["events"] == 2.0 for entry in entries.values())
    allowed = entries["tiny"]["figures"]["false a day"]
    matched = list(entries.values())[1:4]
    assert all(entry["figures"]["false a day"] <= allowed for entry in matched)
    assert set(figures["series"]["tiny"]) == {"host 3", "host 4", "kinds, told %"}
    assert "false all-clear" in output.with_suffix(".md").read_text()
    assert "2 nodes" in capsys.readouterr().out
