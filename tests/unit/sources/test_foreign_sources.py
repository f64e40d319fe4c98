"""Sources from other packages."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from agent.config import json_schema, loader
from agent.core.errors import UserError
from agent.sources.registry import REGISTRY, known_sources, source_class

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
    from agent.sources.base import SourceConfig
    from agent.core.channel import Channel
    class DiceConfig(SourceConfig, frozen=True):
        sides: int = 6
    class Dice:
        Config = DiceConfig
        inline = True
        def __init__(self, config, interval_s):
            self.channels = (Channel("dice"),)
            self.sides = config.sides
        def read(self):
            return [self.sides]
        def close(self):
            pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package with a source ``dice``; the test writes its module."""
    info = tmp_path / "edgewatch_dice-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgewatch-dice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgewatch.sources]\ndice = dice_module:Dice\nhost = dice_module:Dice\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "dice_module", raising=False)
    return tmp_path / "dice_module.py"


def test_it_is_a_source_like_any_other(package: Path) -> None:
    package.write_text(textwrap.dedent(GOOD))
    assert known_sources()[-1] == "dice"
    (part,) = loader.parse(b"sources: [{type: dice, sides: 20}]").sources
    source = source_class("dice")(part, 1.0)
    assert list(source.read()) == [20]
    assert json_schema.config_schema()["$defs"]["DiceConfig"]["properties"]["type"]["const"] == "dice"
    with pytest.raises(UserError, match=r"sources.0..side: unknown key; did you mean 'sides'"):
        loader.parse(b"sources: [{type: dice, side: 20}]")


def test_what_comes_with_the_agent_goes_before(package: Path) -> None:
    package.write_text(textwrap.dedent(GOOD))
    assert source_class("host").__module__ == REGISTRY["host"][0]
    assert known_sources().count("host") == 1


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("raise RuntimeError('no driver')", "cannot be loaded: no driver"),
        ("Dice = 5", "is not a class"),
        ("class Dice: pass", "has no Config"),
        (GOOD.replace("inline = True", ""), "has no attribute inline"),
        (GOOD.replace("def close", "def shut"), r"has no close\(\)"),
    ],
)
def test_one_that_cannot_be_used_is_named(package: Path, text: str, wrong: str) -> None:
    package.write_text(textwrap.dedent(text))
    with pytest.raises(UserError, match=rf"sources.0..type.*'dice' of dice_module:Dice {wrong}"):
        loader.parse(b"sources: [{type: dice}]")


def test_a_name_that_nobody_has_is_said_with_what_there_is(package: Path) -> None:
    package.write_text(textwrap.dedent(GOOD))
    with pytest.raises(UserError, match="unknown source 'dise'; did you mean 'dice'"):
        loader.parse(b"sources: [{type: dise}]")
