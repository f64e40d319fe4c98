"""The tortures in short: the full ones are run by `make torture`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.errors import EnvironmentFault
from tools.torture import backlog, disk, kill, network
from tools.torture.finding import Findings


@pytest.fixture
def findings(request: pytest.FixtureRequest) -> Findings:
    return Findings(request.node.name)


@pytest.mark.broker
def test_kills_lose_nothing_double_nothing_and_teach_nothing_twice(
    mosquitto_available: None, findings: Findings, tmp_path: Path
) -> None:
    kill.torture(findings, tmp_path, rounds=15, nodes=1)
    # On a slow machine few of its short lives see a fault: how many is for the full torture to tell.
    assert [promise for promise in findings.broken if "most faults" not in promise] == []
    assert findings.figures["node0: incidents"] >= 1


@pytest.mark.broker
def test_what_waited_for_a_broker_is_delivered_in_order_while_the_loop_stays_on_time(
    mosquitto_available: None, findings: Findings, tmp_path: Path
) -> None:
    backlog.torture(findings, tmp_path, alerts=2000)
    # How fast is told by the full torture: a test must not depend on the machine.
    assert [promise for promise in findings.broken if "a second" not in promise] == []


@pytest.mark.broker
def test_a_bad_network_delays_and_loses_nothing(mosquitto_available: None, findings: Findings, tmp_path: Path) -> None:
    network.torture(findings, tmp_path, storm_s=2.0, rounds=1)
    assert "all arrived, in order" in findings.kept


def test_a_full_or_read_only_disk_loses_nothing(findings: Findings, tmp_path: Path) -> None:
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    try:
        disk.full(findings, tmp_path)
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    assert findings.broken == []


def test_damage_stops_nothing_and_costs_only_what_it_hit(findings: Findings, tmp_path: Path) -> None:
    disk.damaged(findings, tmp_path, rounds=60)
    assert findings.broken == []


def test_a_promise_that_is_broken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    findings = Findings("name")
    findings.promise("kept", True)
    findings.promise("not kept", False)
    assert (findings.kept, findings.broken) == (["kept"], ["not kept"])
    assert "BROKEN not kept" in capsys.readouterr().out
