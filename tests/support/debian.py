"""Debian trees for the agent, and packages for their Python, created once and kept in .cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

CACHE = ROOT / ".cache"
# The tags of wheels that Debian 12's C library can run.
_GLIBC = ("2014", "_2_17", "_2_24", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34")


def need(*programs: str) -> None:
    """Skip the test with the reason if root rights or a program are missing."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make and run a Debian of its own")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def tree(architecture: str, *packages: str) -> Path:
    """Create a Debian 12 tree with these packages."""
    path = CACHE / f"bookworm-{architecture}"
    made = path / ".packages"
    if not (made.exists() and set(made.read_text().split()) == set(packages)):
        shutil.rmtree(path, ignore_errors=True)
        options = ["--variant=minbase", f"--arch={architecture}", f"--include={','.join(packages)}"]
        # In its own mount namespace, so that no mount remains.
        command = ["unshare", "--mount", "debootstrap", *options, "bookworm", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no Debian to be had: {done.stdout[-300:]}{done.stderr[-300:]}")
        made.write_text(" ".join(packages))
    return path


def dependencies() -> list[str]:
    """Dependencies of the agent without extras, from `pyproject.toml`."""
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11, to read pyproject.toml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def wheels(machine: str, *requirements: str) -> Path:
    """A folder of wheels for Debian 12's Python on an architecture, with all dependencies."""
    folder = CACHE / f"wheels-{machine}"
    _pip("download", f"--dest={folder}", *_foreign(machine), *requirements)
    return folder


def site(machine: str, *requirements: str) -> Path:
    """A PYTHONPATH folder for Debian 12's Python on an architecture, with these packages and their dependencies."""
    folder = CACHE / f"site-{machine}"
    made = folder / ".requirements"
    if not (made.exists() and made.read_text().splitlines() == list(requirements)):
        shutil.rmtree(folder, ignore_errors=True)
        _pip("install", f"--target={folder}", *_foreign(machine), *requirements)
        made.write_text("\n".join(requirements))
    return folder


def source(requirement: str) -> Path:
    """The source distribution of a package, unpacked."""
    folder = CACHE / f"source-{requirement}"
    if not folder.exists():
        _pip("download", f"--dest={folder}.part", "--no-deps", "--no-binary=:all:", requirement)
        (archive,) = Path(f"{folder}.part").iterdir()
        shutil.unpack_archive(archive, folder, filter="data")
        shutil.rmtree(archive.parent)
    (found,) = folder.iterdir()
    return found


def _foreign(machine: str) -> list[str]:
    platforms = [f"--platform=manylinux{glibc}_{machine}" for glibc in _GLIBC]
    return ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", *platforms]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"packages cannot be had: {done.stderr[-500:]}")
