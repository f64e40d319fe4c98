"""Set-up of the Makefile's targets: it names a missing program and how to install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TOOLS = ("sh", "dirname", "cat", "cksum", "grep", "rm", "tail", "touch", "printf", "ls")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that set-up reads, with the PATH of a bare system."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("agent", "training", "tools", "requirements"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "tools").unlink()
    (tmp_path / "tools").mkdir()
    for name in ("setup.sh", "python.sh"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "/bin/false")
    stub(tmp_path, "id", "echo 1000")
    return tmp_path


def stub(checkout: Path, name: str, script: str) -> None:
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "tools/setup.sh", "run"],
        cwd=checkout,
        env={"PATH": str(checkout / "bin"), "HOME": str(checkout)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_python_it_names_the_package(checkout: Path) -> None:
    done = setup(checkout)
    assert done.returncode == 3
    assert "no Python 3.10 to 3.13 found" in done.stderr
    assert "apt install python3 python3-venv" in done.stderr


def test_too_old_a_python_is_no_python(checkout: Path) -> None:
    stub(checkout, "python3", "exit 1")
    assert "no Python 3.10 to 3.13 found" in setup(checkout).stderr


def test_without_the_venv_module_it_names_the_package(checkout: Path) -> None:
    stub(checkout, "python3", f'case "$2" in *ensurepip*) exit 1 ;; esac; exec {sys.executable} "$@"')
    done = setup(checkout)
    assert done.returncode == 3
    assert "python3 has no venv module" in done.stderr
    assert "sudo apt install python3-venv" in done.stderr


def test_without_a_network_it_says_so_and_goes_on_from_there_the_next_time(checkout: Path) -> None:
    (checkout / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    done = setup(checkout, **offline)
    assert done.returncode == 3
    assert "check the network" in done.stderr
    again = setup(checkout, **offline)
    assert again.returncode == 3
    assert "creating .venv" not in again.stdout


def test_where_no_wheel_is_locked_it_says_so_and_takes_the_ranges(checkout: Path) -> None:
    (checkout / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
    (checkout / "other").mkdir()
    (checkout / "other" / "sitecustomize.py").write_text("import platform\nplatform.machine = lambda: 'armv7l'\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    done = setup(checkout, PYTHONPATH=str(checkout / "other"), **offline)
    assert "requirements/ has no wheels for this machine (armv7l CPython" in done.stdout
    assert "not the tested ones" in done.stdout
    # From ranges it builds the package, which needs the network, too.
    assert done.returncode == 3
    assert "build dependencies" in done.stderr


def test_elsewhere_it_takes_the_locked_versions(checkout: Path) -> None:
    (checkout / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
    (checkout / "requirements").unlink()
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "run.txt").write_text(f"no-such-package==1.2.3 --hash=sha256:{64 * '0'}\n")
    done = setup(checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 3
    assert "no-such-package==1.2.3" in done.stderr
