"""Fuzzing of all targets: no input may stop the agent, delay it, or make it grow.

Three engines run on every target, each in its own process: random mutations of valid inputs, structured ones by
hypothesis, and, if installed, coverage-guided ones by atheris.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import logging
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

import msgspec

from agent.core.errors import EnvironmentFault
from tools.fuzzing.examiner import LONGEST_S, Examiner
from tools.fuzzing.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.testing.findings import Findings

__all__ = ["ENGINES", "run"]

ENGINES = ("chance", "hypothesis", "atheris")
_ROOT = Path(__file__).parents[2]
# Allowed growth of memory, the promise in docs/reliability.md.
_MOST_MIB = 100.0
# Inputs between looks at the clock, chosen by hand.
_AT_ONCE = 200
_REPORT = "report.json"
# Packages instrumented for coverage by atheris.
_WATCHED = {"agent", "yaml"}
# Additional seconds for an engine that has not reached its number of inputs, chosen by hand.
_PATIENCE_S = 120.0
# Seconds between saved reports of atheris.
_SAVE_S = 0.5


class _Report(msgspec.Struct):
    """Result of an engine's process; ``skipped`` is the reason for not running."""

    count: int
    slowest_s: float
    growth_mib: float
    failures: dict[str, str]
    skipped: str = ""


def run(
    findings: Findings,
    folder: Path,
    *,
    inputs: int,
    seconds: float,
    targets: Sequence[str] = tuple(TARGETS),
    engines: Sequence[str] = ENGINES,
    seed: int = 0,
) -> None:
    """Run every engine on every target, and random mutations until the total number of inputs is reached.

    Parameters
    ----------
    inputs
        Total number of inputs, at least.
    seconds
        Duration of an engine on a target; random mutations run longer until their share of ``inputs`` is reached.
    targets, engines
        Names of targets and engines.
    seed
        Seed of the engines.
    """
    if importlib.util.find_spec("atheris") is None and "atheris" in engines:
        findings.say("atheris is not installed and left out (pip install atheris)")
        engines = [engine for engine in engines if engine != "atheris"]
    total = 0
    share = inputs // (len(targets) * len(engines))
    for name in targets:
        reports = [_run(name, engine, folder / name / engine, seconds, share, seed) for engine in engines]
        total += _judge(findings, name, reports)
    # The fastest target makes up for slow ones.
    if total < inputs and "command" in targets:
        report = _run("command", "chance", folder / "command" / "more", _PATIENCE_S, inputs - total, seed + 1)
        total += _judge(findings, "command again", [report])
    findings.figure("inputs in total", total)
    findings.promise(f"at least {inputs:,} inputs", total >= inputs)


def _judge(findings: Findings, name: str, reports: Sequence[_Report]) -> int:
    count = sum(report.count for report in reports)
    findings.figure(f"{name}: inputs", count)
    findings.figure(f"{name}: slowest, s", round(max(report.slowest_s for report in reports), 4))
    findings.figure(f"{name}: growth, MiB", round(max(report.growth_mib for report in reports), 1))
    for report in reports:
        if report.skipped:
            findings.say(f"{name}: {report.skipped}")
        for failure, message in report.failures.items():
            findings.say(f"{failure}: {message}")
    findings.promise(f"{name}: used or refused as documented", not any(report.failures for report in reports))
    findings.promise(f"{name}: within {LONGEST_S:g} s", all(report.slowest_s <= LONGEST_S for report in reports))
    findings.promise(f"{name}: within {_MOST_MIB:g} MiB", all(report.growth_mib <= _MOST_MIB for report in reports))
    return count


def _run(name: str, engine: str, folder: Path, seconds: float, inputs: int, seed: int) -> _Report:
    """Run an engine in its own process; an abnormal end is a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    # In memory if possible: thousands of files are written.
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a random folder is created in it
    with tempfile.TemporaryDirectory(dir=parent) as scratch, (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "tools.fuzzing.fuzz", name, engine, str(folder), scratch]
        command += [f"{seconds:g}", str(inputs), str(seed)]
        try:
            limit_s = seconds + 5 * _PATIENCE_S
            code = subprocess.run(command, cwd=_ROOT, stdout=log, stderr=log, check=False, timeout=limit_s).returncode
        except subprocess.TimeoutExpired:
            code = 1
    path = folder / _REPORT
    report = msgspec.json.decode(path.read_bytes(), type=_Report) if path.exists() else _Report(0, 0.0, 0.0, {})
    if code or not path.exists():
        report.failures[f"{engine} ended with {code}"] = str(folder)
    return report


def main() -> None:
    """Run one engine on one target, and write a report to the folder."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzzing.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("inputs", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    target = TARGETS[options.target]
    try:
        examiner = Examiner(target.open(options.scratch), options.folder / "failed")
    except EnvironmentFault as fault:
        _save(options.folder, _Report(0, 0.0, 0.0, {}, str(fault)))
        return
    seeds = target.seeds()
    for data in seeds * 3:
        examiner.examine(data)
    examiner.begin()
    engine = {"chance": _by_mutation, "hypothesis": _by_hypothesis, "atheris": _by_atheris}[options.engine]
    engine(options, examiner, seeds)
    _save(options.folder, _report(examiner))


def _report(examiner: Examiner) -> _Report:
    return _Report(examiner.count, examiner.slowest_s, examiner.growth_mib, examiner.failures)


def _save(folder: Path, report: _Report) -> None:
    (folder / _REPORT).write_bytes(msgspec.json.encode(report))


def _by_mutation(options: argparse.Namespace, examiner: Examiner, seeds: list[bytes]) -> None:
    from tools.fuzzing.mutations import varied  # noqa: PLC0415 - as each engine does

    rng = random.Random(options.seed)
    until = time.monotonic() + options.seconds
    while time.monotonic() < until or examiner.count < options.inputs:
        for _ in range(_AT_ONCE):
            examiner.examine(varied(rng.choice(seeds), rng))
        if time.monotonic() > until + _PATIENCE_S:
            return


def _by_hypothesis(options: argparse.Namespace, examiner: Examiner, seeds: list[bytes]) -> None:
    import hypothesis  # noqa: PLC0415 - of the extra test
    from hypothesis import strategies as st  # noqa: PLC0415 - the same

    from tools.fuzzing.mutations import variations  # noqa: PLC0415 - the same

    warnings.simplefilter("ignore")
    settings = hypothesis.settings(
        max_examples=_AT_ONCE,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    # Let hypothesis build its character tables before memory is measured.
    settings(hypothesis.given(st.text())(_nothing))()
    examiner.begin()
    strategy = variations(TARGETS[options.target], seeds)
    until = time.monotonic() + options.seconds
    number = options.seed
    while time.monotonic() < until:
        number += 1

        def examine(data: bytes) -> None:
            examiner.examine(data)

        hypothesis.seed(number)(settings(hypothesis.given(strategy)(examine)))()


def _nothing(text: str) -> None:
    del text


def _by_atheris(options: argparse.Namespace, examiner: Examiner, seeds: list[bytes]) -> None:
    import atheris  # noqa: PLC0415 - where it is installed

    corpus = options.folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / str(number)).write_bytes(data)
    arguments = [f"-max_total_time={max(1, round(options.seconds))}", f"-artifact_prefix={options.folder}/"]
    arguments += ["-max_len=65536", "-timeout=20", "-rss_limit_mb=0", f"-seed={options.seed + 1}", str(corpus)]

    saved_at = 0.0

    def examine(data: bytes) -> None:
        nonlocal saved_at
        examiner.examine(data)
        if time.monotonic() - saved_at > _SAVE_S:  # atheris ends the process without returning
            saved_at = time.monotonic()
            _save(options.folder, _report(examiner))

    for function in gc.get_objects():
        if isinstance(function, FunctionType) and str(function.__module__).partition(".")[0] in _WATCHED:
            atheris.instrument_func(function)
    examiner.begin()
    atheris.Setup([sys.argv[0], *arguments], examine)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
