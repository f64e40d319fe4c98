"""The agent's behaviour equals the stored digests of many runs."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import HUNG_S
from tools.behaviour import __main__ as command
from tools.behaviour import stored as storing
from tools.behaviour.driving import PACKAGE
from tools.behaviour.fingerprint import fingerprint
from tools.behaviour.outcome import digest
from tools.behaviour.public import data_folder
from tools.behaviour.scenarios import SCENARIOS

QUICK = "threshold_mad"
MACHINE = fingerprint(PACKAGE)
STORED = storing.read()
EXACT, HOW = command.how_to_compare(MACHINE, STORED["fingerprint"])


def tampered(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change a constant in every module of the agent that has it."""
    modules = [module for key, module in list(sys.modules.items()) if key.split(".")[0] == "agent"]
    owners = [module for module in modules if name in vars(module)]
    assert owners, name
    for module in owners:
        monkeypatch.setattr(module, name, value)


def new(name: str) -> dict[str, Any]:
    return digest(SCENARIOS[name].outcome(data_folder()))


def run(*arguments: str) -> tuple[int, str]:
    told: list[str] = []
    return command.main(arguments, told.append), "\n".join(told)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_agent_does_what_it_did(name: str) -> None:
    missing = SCENARIOS[name].missing(data_folder())
    if missing:
        pytest.skip(missing)
    told = command.compared(new(name), STORED["scenarios"].get(name), exact=EXACT)
    assert not told, "\n".join([HOW, *told, f"python -m tools.behaviour --only {name} --dump DIR writes all outputs"])


def test_what_is_stored_is_what_is_run_and_small() -> None:
    assert list(STORED["scenarios"]) == list(SCENARIOS)
    assert storing.STORED.stat().st_size < 300_000


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name.startswith("resume_")])
def test_a_resumed_run_goes_on_as_without_a_break(name: str) -> None:
    parting = STORED["scenarios"][name]["summary"]["against no break"]
    # An absence or a power cut loses some learning.
    differs = name in {"resume_absent", "resume_killed"}
    assert any(part["other"] for part in parting.values()) is differs


class TestTheNetHolds:
    @pytest.mark.parametrize(
        ("constant", "value", "name"),
        [
            ("_WARNING_STRENGTH", 2.5, "hurried"),
            ("_CONFIRMED_SHARE", 0.7, "flicker"),
            ("_MOST_CONTRIBUTORS", 1, "flicker"),
        ],
    )
    def test_a_constant_that_is_changed_is_noticed(
        self, constant: str, value: float, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = new(name)
        tampered(constant, value, monkeypatch)
        told = command.compared(new(name), before, exact=True)
        assert {"incidents", "digest"} <= {line.split(":")[0] for line in told}, told

    def test_the_last_bit_of_one_number_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = new(QUICK)
        tampered("SCORE_THRESHOLD", 0.9950000000000001, monkeypatch)
        told = command.compared(new(QUICK), before, exact=True)
        assert [line.split(":")[0] for line in told] == ["verdicts"]
        assert "score" in told[0].rsplit("columns", 1)[1]

    @pytest.mark.parametrize("part", ["input", "verdicts", "states", "incidents", "texts", "summary"])
    def test_each_part_has_a_hash_of_its_own(self, part: str) -> None:
        before = STORED["scenarios"][QUICK]
        other = copy.deepcopy(before)
        other["parts"][part]["sha256"] = "0" * 64
        pieces = other["parts"][part]["pieces"].split()
        other["parts"][part]["pieces"] = " ".join([*pieces[:-1], "0" * 8])
        (told,) = command.compared(other, before, exact=True)
        assert told.startswith(f"{part}: first difference in line")

    def test_the_command_fails_over_a_digest_that_was_tampered_with(self, tmp_path: Path) -> None:
        path = tmp_path / "stored.json"
        code, _ = run("--update", "--only", QUICK, "--stored", str(path))
        assert code == 0
        assert run("--only", QUICK, "--stored", str(path))[0] == 0
        stored = storing.read(path)
        stored["scenarios"][QUICK]["summary"]["incidents"][0]["text"] += "!"
        storing.write(stored, path)
        code, told = run("--only", QUICK, "--stored", str(path))
        assert code == 1
        assert "digest: incidents[0].text" in told
        assert "DIFFERS" in told

    def test_a_scenario_that_is_gone_or_new_is_a_difference(self, tmp_path: Path) -> None:
        assert command.compared(STORED["scenarios"][QUICK], None, exact=True)
        path = tmp_path / "stored.json"
        storing.write({**STORED, "scenarios": {"gone": STORED["scenarios"][QUICK]}}, path)
        code, told = run("--only", QUICK, "--stored", str(path))
        assert code == 1
        assert "no digest is stored" in told

    def test_a_name_that_is_none_is_refused(self) -> None:
        code, told = run("--only", "nonsense")
        assert code == 2
        assert QUICK in told


class TestAnotherMachine:
    """On a machine with other arithmetic, the summary is compared within tolerances."""

    def test_the_fingerprint_decides_and_says_so_in_one_line(self) -> None:
        assert command.how_to_compare(MACHINE, MACHINE)[0]
        exact, how = command.how_to_compare(MACHINE, {**MACHINE, "algebra": "other"})
        assert (exact, how) == (False, "compared within tolerances: arithmetic differs on this machine (algebra)")

    def test_other_networks_are_no_other_machine(self) -> None:
        exact, how = command.how_to_compare(MACHINE, {**MACHINE, "models": "other", "networks": "other"})
        assert exact
        assert "networks" in how
        assert not command.how_to_compare(MACHINE, {**MACHINE, "models": "other", "functions": "other"})[0]

    @pytest.mark.parametrize(
        ("path", "value", "holds"),
        [
            ("score[6]", 0.995, True),
            ("expected[3]", 1.01, True),
            ("expected[3]", 1.05, False),
            ("anomalous readings", 1, True),
            ("anomalous readings", 40, False),
            ("rows", 1, False),
            ("incidents[0].at", 2.0, True),
            ("incidents[0].at", 4.0, False),
            ("incidents[0].phase", "close", False),
            ("incidents[0].channels", "other", False),
            ("incidents[0].text", ("84.3", "84.9"), True),
            ("incidents[0].text", ("expected", "usually"), False),
            ("incidents[0].text", ("00:0", "01:0"), False),
        ],
    )
    def test_what_may_differ_and_what_may_not(self, path: str, value: Any, holds: bool) -> None:
        before = copy.deepcopy(STORED["scenarios"][QUICK])
        before["summary"]["incidents"][0]["text"] = "c0 84.3 (expected 60.1 – 71), spike at 00:04:19 UTC"
        after = copy.deepcopy(before)
        node: Any = after["summary"]
        *steps, last = path.replace("]", "").replace("[", ".").split(".")
        for step in steps:
            node = node[int(step) if step.isdigit() else step]
        key: Any = int(last) if last.isdigit() else last
        old = node[key]
        if isinstance(value, tuple):
            assert value[0] in old
            node[key] = old.replace(*value)
        elif isinstance(value, str):
            node[key] = value
        elif isinstance(old, float) and last != "at":
            node[key] = old * value
        else:
            node[key] = old + value
        assert bool(command.compared(after, before, exact=False)) is not holds

    def test_incidents_that_are_missing_are_noticed(self) -> None:
        after = copy.deepcopy(STORED["scenarios"][QUICK])
        after["summary"]["incidents"].pop()
        assert command.compared(after, STORED["scenarios"][QUICK], exact=False)


def test_neither_time_zone_nor_folder_nor_threads_matter(tmp_path: Path) -> None:
    stored = tmp_path / "stored.json"
    names = ("hurried", "come_and_go", "resume_spot")

    def done(*arguments: str, **environment: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "tools.behaviour", "--stored", str(stored), *arguments, "--only", *names],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=HUNG_S,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    done("--update", TZ="UTC", OMP_NUM_THREADS="1", PYTHONHASHSEED="1")
    # Not below pytest's folder: the path of a socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="a b") as other:
        printed = done(TZ="Asia/Tokyo", OMP_NUM_THREADS="4", PYTHONHASHSEED="2", TMPDIR=other)
    assert printed.count(" same  ") == len(names)
