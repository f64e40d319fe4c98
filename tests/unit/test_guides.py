"""What the guides show works: their configurations load, their commands are commands."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from agent import config
from agent.commands import Answer, Command
from agent.discovery import Discovery
from agent.sources import REGISTRY, source_class
from tests.conftest import ROOT
from tools.reference import GUIDES as GUIDES_OF_KEYS
from tools.reference import updated

GUIDES = [ROOT / "docs" / name for name in ("commands.md", "home-assistant.md", "prometheus.md")]


def blocks(kind: str) -> list[str]:
    return [found for guide in GUIDES for found in re.findall(rf"```{kind}\n(.*?)```", guide.read_text(), re.DOTALL)]


@pytest.mark.parametrize("text", [block for block in blocks("yaml") if not block.startswith("triggers")])
def test_every_configuration_shown_can_be_used(text: str) -> None:
    assert config.parse(text.encode()) != config.parse(b"")


SOURCES = (ROOT / "docs" / "sources.md").read_text()


def test_every_source_has_its_section_and_its_samples_can_be_used() -> None:
    for name in (name for name, (module, _) in REGISTRY.items() if module.startswith("agent.")):
        section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", SOURCES, re.MULTILINE | re.DOTALL)
        assert section, name
        samples = re.findall(r"```yaml\n(- .*?)```", section[1], re.DOTALL)
        assert samples, name
        for sample in samples:
            assert all(entry.type == name for entry in config.parse(f"sources:\n{sample}".encode()).sources)
        for field in msgspec.structs.fields(source_class(name).Config):
            assert field.name == "type" or f"`{field.name}`" in section[1] or f"{field.name}:" in section[1], field.name


def test_the_tables_of_keys_are_those_of_the_types() -> None:
    for guide in GUIDES_OF_KEYS:
        assert updated(guide.read_text()) == guide.read_text(), "run python -m tools.reference"


def test_what_the_shipped_file_leaves_in_comments_can_be_used() -> None:
    text = (ROOT / "config.yaml").read_text()
    for start in ("silences:", "maintenance:", "prometheus:"):
        assert f"# {start}" in text
        text = re.sub(rf"# ({start}.*\n)((?: *#   - .*\n)*)", lambda m: m[1] + m[2].replace("# ", ""), text)
    used = config.parse(text.encode(), "config.yaml")
    assert (len(used.alerts.silences), len(used.alerts.maintenance)) == (1, 1)
    assert used.prometheus


def test_every_command_shown_is_one_and_every_answer_too() -> None:
    commands = re.findall(r"-m '(\{.*?\})'", "".join(blocks("sh")))
    assert len(commands) == 2
    for command in commands:
        msgspec.json.decode(command, type=Command)
    for line in "".join(blocks("json")).splitlines():
        msgspec.json.decode(line, type=Answer)


def test_every_command_has_its_line() -> None:
    schema = msgspec.json.schema(Command)
    for name in schema["discriminator"]["mapping"]:
        assert f"| `{name}` |" in GUIDES[0].read_text()


def test_every_entity_for_home_assistant_is_named() -> None:
    parts = json.loads(Discovery(config.MqttConfig(commands=True), "pi4").payload)["cmps"].values()
    guide = GUIDES[1].read_text()
    assert [part["name"] for part in parts if part["name"] not in guide] == []


def test_every_clause_of_reliability_names_a_test_that_there_is() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    file = ""
    named = []
    for reference in re.findall(r"`(test_\w+\.py|…)?(?:::)?((?<=::)\w+…?)?`", text):
        file = reference[0] if reference[0] not in {"", "…"} else file
        named.append((file, reference[1]))
    tests = [(file, name) for file, name in named if name]
    assert len(tests) > 30
    for file, name in tests:
        (path,) = (ROOT / "tests").glob(f"*/{file}")
        end = "" if name.endswith("…") else r"\("
        assert re.search(rf"def {name.removesuffix('…')}{end}", path.read_text()), f"{file}::{name}"
