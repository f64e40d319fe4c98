"""The version stands in one place, and the changelog has its section."""

from __future__ import annotations

import re

import pytest

import agent
from tests.conftest import ROOT


def test_the_version_stands_in_one_place() -> None:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11, to read pyproject.toml")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in pyproject["project"]
    assert "version" in pyproject["project"]["dynamic"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "agent/__init__.py"


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", changes, re.MULTILINE)
    assert released[0] == agent.__version__
