from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.config import json_schema, loader
from agent.core.errors import UserError
from agent.mqtt.secrets import read_secret
from agent.sources.host import HostSource
from tests.support.paths import ROOT


def problems(text: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        loader.parse(text.encode() if isinstance(text, str) else text, "c.yaml")
    return str(caught.value)


def test_an_empty_file_is_a_valid_configuration() -> None:
    empty = loader.parse(b"")
    assert empty.interval_s == 1.0
    assert empty.mqtt.address == ("localhost", 1883)
    assert isinstance(empty.sources[0], HostSource.Config)
    assert empty.node


def test_the_shipped_file_says_the_defaults() -> None:
    assert loader.load(ROOT / "config.yaml") == loader.parse(b"")


def test_a_section_whose_keys_are_all_commented_out_is_the_default() -> None:
    assert loader.parse(b"mqtt:\n  # host: x\nalerts:\n") == loader.parse(b"")


def test_every_mistake_is_told_at_once_with_its_line_and_path() -> None:
    told = problems(
        "interval_s: -1\n"
        "intervall_s: 3\n"
        "sources:\n"
        "  - type: hosst\n"
        "  - {typ: host}\n"
        "detection:\n"
        "  threshold: {method: mad, k: 1000}\n"
        "alerts: {learning_s: soon}\n"
        "mqtt:\n"
        "  port: 99999\n"
        "  tls: {ca: x}\n"
    ).splitlines()
    assert [re.match(r"c\.yaml:(\d+): (\S+):", line).groups() for line in told] == [  # type: ignore[union-attr]
        ("1", "$.interval_s"),
        ("2", "$.intervall_s"),
        ("4", "$.sources[0].type"),
        ("5", "$.sources[1]"),
        ("7", "$.detection.threshold.k"),
        ("8", "$.alerts.learning_s"),
        ("10", "$.mqtt.port"),
        ("11", "$.mqtt.tls.ca"),
    ]
    assert "did you mean 'interval_s'?" in told[1]
    assert "did you mean 'host'?" in told[2]
    assert "at most 65,535 (the value is 99999)" in told[6]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x 1\nb: *x", "c.yaml:1: anchors and aliases are not supported"),
        ("node: a\nnode: b", "c.yaml:2: $: key 'node' occurs twice"),
        ("- 1", "expected a mapping"),
        ("mqtt: [", "not valid YAML"),
        ("node: !!python/object/apply:os.getcwd []", "tags are not supported"),
        ("node: a/b", "$.node: expected a text that matches"),
        ("mqtt: 3", "$.mqtt: expected a mapping of keys, got 3"),
        ("sources: []", "$.sources: expected a list of sources"),
        ("? [a]\n: 1", "a key must be a plain word"),
        ("interval_s: .nan", "$.interval_s: expected a number"),
        ("interval_s: .inf", "$.interval_s: expected a number"),
        ("interval_s: 1e400", "$.interval_s: expected a number"),
        ("interval_s: " + "9" * 400, "$.interval_s"),
        ("models: []", "$.models: expected a list of 1 to"),
        ("detection: {threshold: {method: magic}}", "unknown method 'magic'; did you mean"),
        ("x: " + "[" * 60 + "]" * 60, "nested too deeply"),
        ("[" * 5000, "c.yaml"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"node: \x00", "not valid YAML"),
        (b"# " + b"x" * (1 << 18), "larger than 256 KiB"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_place(text: str | bytes, told: str) -> None:
    assert told in problems(text)


def test_scalars_are_read_by_the_core_schema_only() -> None:
    parsed = loader.parse(b'interval_s: 1e1\nnode: NO\nmqtt: {prefix: 12:30, username: "0123"}')
    assert (parsed.interval_s, parsed.node, parsed.mqtt.prefix, parsed.mqtt.username) == (10.0, "NO", "12:30", "0123")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot read the configuration: No such file"):
        loader.load(tmp_path / "nowhere.yaml")


def test_the_password_comes_from_file_credential_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("EDGEWATCH_MQTT_PASSWORD", raising=False)
    assert read_secret(None) is None
    monkeypatch.setenv("EDGEWATCH_MQTT_PASSWORD", "from-environment")
    assert read_secret(None) == "from-environment"
    (tmp_path / "mqtt_password").write_text("from-credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret(None) == "from-credential"
    (tmp_path / "file").write_text("from-file\nrest\n")
    assert read_secret(str(tmp_path / "file")) == "from-file"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_an_unreadable_password_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(UserError, match=r"\$\.mqtt\.password_file: .*secret: "):
        read_secret(str(tmp_path / "secret"))


def test_the_schema_accepts_what_the_agent_accepts_and_refuses_what_it_refuses() -> None:
    schema = json.loads(json.dumps(json_schema.config_schema()))
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load((ROOT / "config.yaml").read_text()))
    assert validator.is_valid({"sources": [{"type": "csv", "path": "x.csv"}]})
    for wrong in ({"nodes": "x"}, {"interval_s": 0}, {"sources": [{"type": "hosst"}]}, {"mqtt": {"port": "a"}}):
        assert not validator.is_valid(wrong)


def test_every_key_in_the_schema_has_a_description_and_a_default() -> None:
    from_machine = {("Config", "node"), ("Config", "state_dir")}
    # In a process of its own: other tests add sources of other packages.
    command = [sys.executable, "-m", "agent", "schema", "config"]
    definitions = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)["$defs"]
    assert {"Config", "TlsConfig", "SilenceConfig", "SpotThreshold", "HostConfig", "ModbusRegister"} <= set(definitions)
    for name, definition in definitions.items():
        for key, part in definition["properties"].items():
            # The name of a method is described by the description of its keys.
            assert key == "method" or re.fullmatch(r"(?!(What|Who|Where|Of|As)\b).+\.", part["description"]), (
                name,
                key,
            )
            assert "default" in part or key in definition["required"] or (name, key) in from_machine, (name, key)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_parse_or_be_refused(raw: bytes) -> None:
    with contextlib.suppress(UserError):
        assert loader.parse(raw)
