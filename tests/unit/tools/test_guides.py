"""Examples in the documents: configurations load, commands exist, links resolve."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
import yaml

from agent.config import loader
from agent.config.schema import Config
from agent.integrations.home_assistant import Discovery
from agent.messages.command import Answer, Command
from agent.mqtt.settings import MqttConfig
from agent.sources.registry import REGISTRY, source_class
from tests.support.paths import ROOT
from tools.docs import keys
from tools.docs.config_file import config_file
from tools.docs.reference import ASYNCAPI, CONFIG_FILE, asyncapi, updated
from tools.docs.reference import GUIDES as GENERATED_GUIDES

GUIDES = [
    ROOT / "docs" / name
    for name in ("commands.md", "home-assistant.md", "prometheus.md", "channels.md", "raspberry-pi.md")
]


def blocks(kind: str) -> list[str]:
    return [found for guide in GUIDES for found in re.findall(rf"```{kind}\n(.*?)```", guide.read_text(), re.DOTALL)]


@pytest.mark.parametrize("text", [block for block in blocks("yaml") if not block.startswith("triggers")])
def test_every_configuration_shown_can_be_used(text: str) -> None:
    assert loader.parse(text.encode()) != loader.parse(b"")


SOURCES = (ROOT / "docs" / "sources.md").read_text()


def test_every_source_has_its_section_and_its_samples_can_be_used() -> None:
    for name in (name for name, (module, _) in REGISTRY.items() if module.startswith("agent.")):
        section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", SOURCES, re.MULTILINE | re.DOTALL)
        assert section, name
        samples = re.findall(r"```yaml\n(- .*?)```", section[1], re.DOTALL)
        assert samples, name
        for sample in samples:
            assert all(entry.type == name for entry in loader.parse(f"sources:\n{sample}".encode()).sources)
        for field in msgspec.structs.fields(source_class(name).Config):
            common = field.name in {"type", "interval_s"}
            assert common or f"`{field.name}`" in section[1] or f"{field.name}:" in section[1], field.name


def test_generated_tables_match_the_types_and_the_imports() -> None:
    for guide in GENERATED_GUIDES:
        assert updated(guide.read_text()) == guide.read_text(), "run python -m tools.docs.reference"


def test_every_package_has_its_line_and_its_imports_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for package in (path.parent.name for path in (ROOT / "agent").glob("*/__init__.py")):
        assert f"| `{package}/` |" in text
        assert re.search(rf"^\| `{package}` \| \S", text, re.MULTILINE), package


def test_the_reference_of_the_configuration_has_every_key_with_its_meaning() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    sections = [Config, *config_sections()]
    for section in sections:
        for field in msgspec.structs.fields(section):
            assert re.search(rf"^\| `{field.encode_name}` \| .* \| \S", text, re.MULTILINE), (section, field.name)


def config_sections() -> list[type[msgspec.Struct]]:
    owners = ("alerting", "delivery", "detection", "integrations", "mqtt", "sampling")
    modules = [import_module(f"agent.{owner}.settings") for owner in owners]
    found = [getattr(module, name) for module in modules for name in module.__all__ if name.endswith("Config")]
    return [section for section in found if isinstance(section, type)]


def test_the_description_of_all_topics_is_that_of_the_types_and_whole() -> None:
    assert ASYNCAPI.read_text() == asyncapi(), "run python -m tools.docs.reference"
    document = yaml.safe_load(ASYNCAPI.read_text())
    said = re.findall(r"^\| `([a-z/]+)` \|", (ROOT / "docs" / "mqtt.md").read_text(), re.MULTILINE)
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert sorted(addresses) == sorted(f"{{prefix}}/{{node}}/{leaf}" for leaf in set(said))
    schemas = document["components"]["schemas"]
    for reference in re.findall(r"#/components/schemas/(\w+)", ASYNCAPI.read_text()):
        assert reference in schemas
    for name, schema in schemas.items():
        for key, part in schema["properties"].items():
            # The name of a command, and the phase of a suppressed incident.
            tag = len(part.get("enum", ())) == 1
            assert tag or re.fullmatch(r"(?!(What|Who|Where|Of|As)\b).+\.", part["description"]), (name, key)


def test_the_shipped_file_matches_the_types() -> None:
    assert CONFIG_FILE.read_text() == config_file(), "run python -m tools.docs.reference"


def test_a_key_without_a_description_is_refused() -> None:
    class Section(msgspec.Struct):
        key: int = 1

    with pytest.raises(ValueError, match=r"Section\.key has no Meta\(description=…\)"):
        keys.description(Section, msgspec.structs.fields(Section)[0])


def uncommented(text: str) -> str:
    """The text with the keys that stand in comments, and with the lines that belong to them."""
    known = {field.encode_name for section in (Config, *config_sections()) for field in msgspec.structs.fields(section)}
    lines: list[str] = []
    inside: str | None = None
    for line in text.splitlines():
        key = re.match(r"( *)# (\w+):", line)
        if key and key[2] in known:
            inside = key[1]
        elif inside is None or not line.startswith(f"{inside}#   "):
            inside = None
        lines.append(line if inside is None else line.replace("# ", "", 1))
    return "\n".join(lines)


def test_the_shipped_file_has_every_key_and_those_in_comments_can_be_used() -> None:
    text = uncommented(uncommented(CONFIG_FILE.read_text()))
    used = loader.parse(text.encode(), "config.yaml")
    assert (len(used.alerts.silences), len(used.alerts.maintenance)) == (1, 1)
    assert (len(used.channels), len(used.derived)) == (2, 1)
    tree = yaml.safe_load(text)
    assert list(tree) == [field.encode_name for field in msgspec.structs.fields(Config)]
    for part, whole in ((tree, used), (tree["mqtt"], used.mqtt)):
        for name, section in part.items():
            fields = getattr(type(getattr(whole, name)), "__struct_fields__", ())
            assert not fields or name == "threshold" or list(section) == list(fields), name


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
    parts = json.loads(Discovery(MqttConfig(commands=True), "pi4").payload)["cmps"].values()
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
        (path,) = (ROOT / "tests").glob(f"**/{file}")
        end = "" if name.endswith("…") else r"\("
        assert re.search(rf"def {name.removesuffix('…')}{end}", path.read_text()), f"{file}::{name}"


def test_every_page_is_in_the_sites_navigation() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = re.findall(r"[\w/-]+\.md", str(nav))
    assert sorted(listed) == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as they are on the web."""
    found = re.findall(r"^#+ +(.+?)\s*$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor and path.suffix == ".md":
            assert anchor in slugs(path), f"{page.name}: {target}"
