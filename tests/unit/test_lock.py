"""The locked versions are those that the ranges in pyproject.toml allow, whole, and from no particular index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

if TYPE_CHECKING:
    from packaging.markers import Marker

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11, to read pyproject.toml")
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
GROUPS = PYPROJECT["dependency-groups"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

#: Extras and groups that tools/lock.sh compiles each file from. A file of groups alone lacks the agent.
INPUTS: dict[str, tuple[list[str], list[str]]] = {
    "run": (["tools"], ["build"]),
    "train": (["tools", "training"], ["build"]),
    "test": (["tools", "training", "test"], ["build"]),
    "docs": (["docs"], ["build"]),
    "device": (["prometheus", "modbus", "serial", "signed", "watch"], ["build"]),
    "tflite": ([], ["tflite"]),
    "lock": ([], ["lock"]),
}
MACHINES = [
    {
        "python_version": f"3.{minor}",
        "python_full_version": f"3.{minor}.5",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "extra": "",
    }
    for machine in ("x86_64", "aarch64")
    for minor in (10, 11, 12, 13)
]


def extra(name: str) -> list[str]:
    """The requirements of an extra, with those of the extras that it names."""
    found = []
    for line in PROJECT["optional-dependencies"][name]:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            found += [inner for named in requirement.extras for inner in extra(named)]
        else:
            found.append(line)
    return found


def wanted(name: str) -> list[Requirement]:
    extras, groups = INPUTS[name]
    lines = [line for group in groups for line in GROUPS[group]] + [line for each in extras for line in extra(each)]
    if extras:
        lines += PROJECT["dependencies"]
    return [Requirement(line) for line in lines]


def pins(path: Path) -> list[tuple[Requirement, int, bool]]:
    """Pinned requirements of a file, each with its number of hashes, and whether pyproject.toml names it."""
    found = []
    for entry in re.split(r"\n(?=[A-Za-z0-9])", path.read_text()):
        if not entry.startswith("#"):
            line = entry.partition("\\\n")[0].strip()
            found.append((Requirement(line), entry.count("--hash=sha256:"), "edgewatch (pyproject.toml" in entry))
    return found


def holds(marker: Marker | None, machine: dict[str, str]) -> bool:
    return marker is None or marker.evaluate(machine)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_locked_version_is_one_that_the_ranges_allow(path: Path) -> None:
    for machine in MACHINES:
        locked = {
            canonicalize_name(pin.name): next(iter(pin.specifier)).version
            for pin, _, _ in pins(path)
            if holds(pin.marker, machine)
        }
        for requirement in wanted(path.stem):
            if holds(requirement.marker, machine):
                version = locked.get(canonicalize_name(requirement.name))
                assert version, f"{requirement} is not locked: make lock"
                assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, {version}: make lock"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_what_is_no_longer_required_is_not_locked(path: Path) -> None:
    required = {canonicalize_name(requirement.name) for requirement in wanted(path.stem)}
    locked = {canonicalize_name(pin.name) for pin, _, direct in pins(path) if direct}
    assert locked <= required, f"{sorted(locked - required)}: make lock"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_package_is_locked_once_for_each_machine_with_its_hashes(path: Path) -> None:
    for pin, hashes, _ in pins(path):
        assert re.fullmatch(r"==[\w.+!-]+", str(pin.specifier)), pin
        assert hashes, pin
    for machine in MACHINES:
        names = [pin.name for pin, _, _ in pins(path) if holds(pin.marker, machine)]
        assert len(names) == len(set(names))


def test_one_environment_can_be_installed_from_several_of_them() -> None:
    for machine in MACHINES:
        versions: dict[str, str] = {}
        for path in LOCKS:
            if path.stem not in {"tflite", "lock"}:  # which have environments of their own
                for pin, _, _ in pins(path):
                    if holds(pin.marker, machine):
                        assert versions.setdefault(pin.name, str(pin.specifier)) == str(pin.specifier), pin.name


def test_the_lock_names_no_index_and_no_path() -> None:
    assert {path.stem for path in LOCKS} == set(INPUTS)
    for path in LOCKS:
        assert not re.search(r"https?:|--index-url|--find-links|file:|(?<!\w)/\w", path.read_text()), path.name


def test_what_builds_the_package_is_locked() -> None:
    assert set(PYPROJECT["build-system"]["requires"]) <= set(GROUPS["build"])
