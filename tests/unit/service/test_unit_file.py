"""The systemd unit is valid, sandboxed as documented, and allows the agent's sources."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

UNIT = ROOT / "systemd" / "edgewatch.service"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with an existing program, which `systemd-analyze verify` requires."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / UNIT.name
    path.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60)


def exposure(unit: Path) -> float:
    said = analyze("security", "--offline=true", "--no-pager", str(unit)).stdout
    return float(re.findall(r"exposure level for \S+: ([\d.]+)", said)[0])


@pytest.mark.parametrize("drop_in", [None, "edgewatch-sensors.conf"])
def test_systemd_has_nothing_to_say_about_the_unit(unit: Path, drop_in: str | None) -> None:
    if drop_in:
        folder = unit.with_name(f"{unit.name}.d")
        folder.mkdir()
        shutil.copy(ROOT / "systemd" / drop_in, folder)
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_is_exposed_no_more_than_promised(unit: Path) -> None:
    assert exposure(unit) <= 1.1


def test_every_setting_of_the_unit_is_explained() -> None:
    explained = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    keys = {line.split("=")[0] for line in lines if re.match(r"^[A-Z]\w+=", line)}
    missing = {key for key in keys - {"Description", "ExecStart", "WantedBy", "After"} if key not in explained}
    assert not missing
