"""Short runs of the fault injection experiments; `make torture` runs them in full."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.core.errors import EnvironmentFault
from tools.fault_injection import backlog, disk, gateway, kill, network, soak
from tools.fuzzing import examiner as examiner_module
from tools.fuzzing import fuzz
from tools.fuzzing.examiner import Examiner
from tools.testing.findings import Findings


@pytest.fixture
def findings(request: pytest.FixtureRequest) -> Findings:
    return Findings(request.node.name)


@pytest.mark.broker
def test_kills_lose_nothing_double_nothing_and_teach_nothing_twice(
    mosquitto_available: None, findings: Findings, tmp_path: Path
) -> None:
    kill.run(findings, tmp_path, rounds=15, nodes=1)
    # On a slow machine few short runs see a fault; `make torture` measures how many.
    assert [promise for promise in findings.broken if "most faults" not in promise] == []
    assert findings.figures["node0: incidents"] >= 1


@pytest.mark.broker
def test_what_waited_for_a_broker_is_delivered_in_order_while_the_loop_stays_on_time(
    mosquitto_available: None, findings: Findings, tmp_path: Path
) -> None:
    backlog.run(findings, tmp_path, alerts=2000)
    # `make torture` measures the rate, which depends on the machine.
    assert [promise for promise in findings.broken if "a second" not in promise] == []


@pytest.mark.broker
def test_a_bad_network_delays_and_loses_nothing(mosquitto_available: None, findings: Findings, tmp_path: Path) -> None:
    network.run(findings, tmp_path, storm_s=2.0, rounds=1)
    assert "all alerts arrive, in order" in findings.kept


def test_a_full_or_read_only_disk_loses_nothing(findings: Findings, tmp_path: Path) -> None:
    if shutil.which("mount") is None:
        pytest.skip("mount is not installed")
    try:
        disk.fill(findings, tmp_path)
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    assert findings.broken == []


def test_damage_stops_nothing_and_costs_only_what_it_hit(findings: Findings, tmp_path: Path) -> None:
    disk.damage(findings, tmp_path, rounds=60)
    assert findings.broken == []


def test_nonsense_from_outside_is_refused_as_documented_whatever_engine_makes_it(
    findings: Findings, tmp_path: Path
) -> None:
    fuzz.run(findings, tmp_path, inputs=2000, seconds=1.0, targets=("command", "queued"))
    assert findings.broken == []
    assert findings.figures["inputs in total"] >= 2000


def test_an_input_that_breaks_a_promise_is_told_made_small_and_kept(tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        if b"x" in data:
            raise ZeroDivisionError(len(data))

    examiner = Examiner(check, tmp_path / "failed")
    for data in (b"fine", b"1234567x890", b"x again"):
        examiner.examine(data)
    assert examiner.count == 3
    assert len(examiner.failures) == 1  # both fail in the same way
    assert [path.read_bytes() for path in (tmp_path / "failed").iterdir()] == [b"x"]


def test_what_takes_for_ever_is_ended_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examiner_module, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(examiner_module, "_SMALL_S", 0.0)

    def check(data: bytes) -> None:
        while data:
            pass

    examiner = Examiner(check, tmp_path)
    examiner.examine(b"")
    assert not examiner.failures
    examiner.examine(b"x")
    assert list(examiner.failures) == ["hang"]


@pytest.mark.broker
def test_half_a_simulated_day_of_trouble_leaves_nothing_behind(
    mosquitto_available: None, findings: Findings, tmp_path: Path
) -> None:
    soak.run(findings, tmp_path, days=0.5)
    # Half a day only fills buffers and pools; `make torture` measures growth over a month.
    assert [promise for promise in findings.broken if "do not grow" not in promise] == []
    assert findings.figures["alerts"] > 10


@pytest.mark.broker
def test_a_gateway_hears_its_sensors_through_noise_and_garbage(
    mosquitto_available: None, findings: Findings, tmp_path: Path
) -> None:
    gateway.run(findings, tmp_path, sensors=64, hours=1.2)
    # Ranges learned in half an hour are uncertain; `make torture` measures the share found.
    assert [promise for promise in findings.broken if "nine faults" not in promise] == []
    assert findings.figures["faults found, %"] >= 60


def test_a_promise_that_is_broken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    findings = Findings("name")
    findings.promise("kept", True)
    findings.promise("not kept", False)
    assert (findings.kept, findings.broken) == (["kept"], ["not kept"])
    assert "BROKEN not kept" in capsys.readouterr().out
