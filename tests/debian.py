"""Debian trees and wheels to run the agent in, made once and kept in .cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

CACHE = ROOT / ".cache"
# What the wheels of the agent's dependencies are tagged with, and Debian 12 can run.
_GLIBC = ("2014", "_2_17", "_2_24", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34")


def need(*programs: str) -> None:
    """Skip, saying why, where root or a program is missing."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make and run a Debian of its own")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt install debootstrap systemd-container qemu-user-static)")


def tree(architecture: str, *packages: str) -> Path:
    """A Debian 12 of its own with these packages."""
    path = CACHE / f"bookworm-{architecture}"
    made = path / ".packages"
    if not (made.exists() and set(made.read_text().split()) == set(packages)):
        shutil.rmtree(path, ignore_errors=True)
        options = ["--variant=minbase", f"--arch={architecture}", f"--include={','.join(packages)}"]
        command = ["debootstrap", *options, "bookworm", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no Debian to be had: {done.stdout[-300:]}{done.stderr[-300:]}")
        made.write_text(" ".join(packages))
    return path


def wheels(machine: str, *more: str) -> Path:
    """What the agent needs on Debian 12's Python, as wheels, and what builds it; `more` requirements besides."""
    folder = CACHE / f"wheels-{machine}"
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11, to read pyproject.toml")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    platforms = [f"--platform=manylinux{glibc}_{machine}" for glibc in _GLIBC]
    command = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={folder}", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--python-version=3.11", "--implementation=cp", *platforms, "hatchling", *needed, *more],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no wheels to be had: {done.stderr[-500:]}")
    return folder
