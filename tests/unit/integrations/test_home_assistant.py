"""The discovery message against Home Assistant's rules, as its MQTT integration (2025.4) enforces them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import loader
from agent.core.errors import UserError
from agent.integrations.home_assistant import Discovery
from agent.messages.alert import Alert, Contributor
from agent.messages.command import Command
from agent.mqtt.received import Received
from agent.mqtt.settings import MqttConfig
from tests.support.messages import HEALTH, STATE

if TYPE_CHECKING:
    from typing import Any


# Allowed keys by platform, in abbreviated form; any other key is an error.
TOPIC = {"type": "string", "pattern": "^[^+#\\x00-\\x1f\\x7f-\\x9f]+$"}
TEXT = {"type": "string", "minLength": 1}
COMMON = {
    "name": TEXT,
    "uniq_id": TEXT,
    "qos": {"enum": [0, 1, 2]},
    "ent_cat": {"enum": ["config", "diagnostic"]},
    "json_attr_t": TOPIC,
    "json_attr_tpl": TEXT,
}
READING = {**COMMON, "stat_t": TOPIC, "val_tpl": TEXT, "dev_cla": TEXT}
UNITS = {"duration": {"d", "h", "min", "s", "ms"}, "data_size": {"MiB", "MB", "B"}}


def component(platform: str, required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["p", "uniq_id", *required],
        "properties": {"p": {"const": platform}, **properties},
    }


SENSOR = component(
    "sensor",
    ["stat_t"],
    {
        **READING,
        "ops": {"type": "array", "items": TEXT, "minItems": 1},
        "stat_cla": {"enum": ["measurement", "total", "total_increasing"]},
        "sug_dsp_prc": {"type": "integer", "minimum": 0},
        "unit_of_meas": TEXT,
    },
)
# Options belong to enumerations, and those have neither a state class nor a unit.
SENSOR["dependentSchemas"] = {
    "ops": {
        "properties": {"dev_cla": {"const": "enum"}, "stat_cla": False, "unit_of_meas": False},
        "required": ["dev_cla"],
    }
}
PLATFORMS = [
    SENSOR,
    component("binary_sensor", ["stat_t"], {**READING, "dev_cla": {"enum": ["problem"]}}),
    component("event", ["stat_t", "evt_typ"], {**READING, "evt_typ": {"type": "array", "items": TEXT, "minItems": 1}}),
    component("button", ["cmd_t"], {**COMMON, "cmd_t": TOPIC, "pl_prs": TEXT}),
    # A component that is to be removed.
    {"type": "object", "additionalProperties": False, "required": ["p"], "properties": {"p": {"const": "button"}}},
]
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["dev", "o", "cmps"],
    "properties": {
        "dev": {
            "type": "object",
            "additionalProperties": False,
            "required": ["ids"],
            "properties": {
                "ids": {"type": "array", "items": TEXT, "minItems": 1},
                **dict.fromkeys(("name", "mf", "mdl", "sw"), TEXT),
            },
        },
        "o": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {"name": TEXT, "sw": TEXT},
        },
        "avty_t": TOPIC,
        "cmps": {"type": "object", "minProperties": 1, "additionalProperties": {"oneOf": PLATFORMS}},
    },
}
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CONFIG_TOPIC = re.compile(r"[^+#]+/device/[a-zA-Z0-9_-]+/config")
ALERT = Alert(
    v=1,
    id="pi4-7f3a-000001",
    seq=1,
    node="pi4",
    phase="open",
    severity="warning",
    ts=2.0,
    started=1.0,
    clock_synced=True,
    score=0.999,
    threshold=0.995,
    contributors=(Contributor("load", 1.0, 9.0, 1.0, 0.0, 2.0, 0.999),),
    summary='load 9 ("expected" 0 – 2) ' + "x" * 300,
    model="default@1.0.0",
    incident="pi4-7f3a-000001",
    reason="onset",
)


def message(node: str = "pi4", **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Discovery(MqttConfig(**settings), node).payload)
    return found


@pytest.mark.parametrize("commands", [True, False])
def test_the_message_keeps_home_assistants_rules(commands: bool) -> None:
    described = message(commands=commands)
    errors = [f"{list(e.path)}: {e.message}" for e in VALIDATOR.iter_errors(described)]
    assert errors == []
    parts = described["cmps"].values()
    names = [part["uniq_id"] for part in parts if "uniq_id" in part]
    assert len(set(names)) == len(names)
    for part in parts:
        assert part.get("unit_of_meas") in UNITS.get(part.get("dev_cla"), {None, "%"})


@given(
    node=st.from_regex(re.compile(r"[^/+#\s\x00-\x1f\x7f-\x9f]{1,64}"), fullmatch=True),
    prefix=st.from_regex(re.compile(r"[^/$+#\s\x00-\x1f\x7f-\x9f][^+#\s\x00-\x1f\x7f-\x9f]{0,20}"), fullmatch=True),
)
def test_whatever_the_node_is_called_topic_and_message_are_valid(node: str, prefix: str) -> None:
    discovery = Discovery(MqttConfig(prefix=prefix, discovery=True), node)
    assert CONFIG_TOPIC.fullmatch(discovery.topic)
    assert VALIDATOR.is_valid(json.loads(discovery.payload))


def test_nodes_whose_names_differ_in_what_is_escaped_stay_apart() -> None:
    nodes = ["pi.4", "pi_4", "pi:4", "pi 4".replace(" ", "\xb7")]
    assert len({Discovery(MqttConfig(), node).topic for node in nodes}) == len(nodes)
    assert Discovery(MqttConfig(), "pi4").topic == "homeassistant/device/edgewatch_pi4/config"
    assert Discovery(MqttConfig(discovery="ha"), "pi4").topic == "ha/device/edgewatch_pi4/config"


def test_the_message_is_the_same_at_every_start() -> None:
    assert Discovery(MqttConfig(), "pi4").payload == Discovery(MqttConfig(), "pi4").payload


def test_buttons_send_commands_that_the_agent_obeys_and_are_removed_with_them() -> None:
    buttons = {k: c for k, c in message(commands=True)["cmps"].items() if c["p"] == "button"}
    assert buttons
    for button in buttons.values():
        assert button["cmd_t"] == "edgewatch/pi4/cmd"
        msgspec.json.decode(button["pl_prs"], type=Command)
    assert all(message(commands=False)["cmps"][key] == {"p": "button"} for key in buttons)


def rendered(key: str, field: str, payload: msgspec.Struct) -> str:
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed (`make test` installs it)")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["to_json"] = json.dumps
    template = message(commands=True)["cmps"][key][field]
    return str(environment.from_string(template).render(value_json=json.loads(msgspec.json.encode(payload))))


@pytest.mark.parametrize(
    ("key", "payload", "shown"),
    [
        ("state", STATE, "anomalous"),
        ("anomalous", STATE, "ON"),
        ("score", STATE, "0.9991"),
        ("state_score", STATE, "0.25"),
        ("open_incidents", STATE, "1"),
        ("learning_progress", STATE, "50.0"),
        ("silenced", STATE, "3"),
        ("problem", HEALTH, "OFF"),
        ("problem", msgspec.structs.replace(HEALTH, dropped=1), "ON"),
        ("problem", msgspec.structs.replace(HEALTH, outbox_durable=False), "ON"),
        ("step_time", HEALTH, "0.9"),
        ("memory", HEALTH, "57.5"),
        ("outbox_depth", HEALTH, "3"),
        ("dropped", HEALTH, "0"),
        ("held_back", HEALTH, "6"),
        ("missed_ticks", HEALTH, "2"),
        ("source_failures", HEALTH, "5"),
        ("reconnects", HEALTH, "1"),
        ("last_alert", ALERT, ALERT.summary[:250]),
    ],
)
def test_every_entity_shows_what_the_agent_says(key: str, payload: msgspec.Struct, shown: str) -> None:
    assert rendered(key, "val_tpl", payload) == shown


def test_every_template_is_looked_at() -> None:
    marks = test_every_entity_shows_what_the_agent_says.pytestmark  # type: ignore[attr-defined]
    tried = {case[0] for case in marks[0].args[1]}
    assert {key for key, part in message()["cmps"].items() if "val_tpl" in part} - tried == {"alert"}


def test_an_alert_is_an_event_of_its_phase() -> None:
    event = json.loads(rendered("alert", "val_tpl", ALERT))
    assert event["event_type"] in message()["cmps"]["alert"]["evt_typ"]
    assert event["summary"] == ALERT.summary
    attributes = json.loads(rendered("last_alert", "json_attr_tpl", ALERT))
    assert attributes == {**{k: v for k, v in event.items() if k != "event_type"}, "phase": "open"}
    assert json.loads(rendered("open_incidents", "json_attr_tpl", STATE)) == {"incidents": ["pi4-7f3a-000001"]}


def test_home_assistants_birth_is_answered_once_within_seconds() -> None:
    discovery = Discovery(MqttConfig(), "pi4")
    assert not discovery.due(100.0)
    for _ in range(100):
        discovery.hear(Received("homeassistant/status", b"online"), 100.0)
    assert not discovery.due(100.9)
    assert discovery.due(105.0)
    assert not discovery.due(1e9)


@pytest.mark.parametrize(
    "heard",
    [
        Received("homeassistant/status", b"online", retained=True),
        Received("homeassistant/status", b"offline"),
        Received("edgewatch/pi4/cmd", b"online"),
    ],
)
def test_nothing_else_is_taken_for_a_birth(heard: Received) -> None:
    discovery = Discovery(MqttConfig(), "pi4")
    discovery.hear(heard, 100.0)
    assert not discovery.due(1e9)


@pytest.mark.parametrize("text", ["mqtt: {discovery: true}", "mqtt: {discovery: ha}", "mqtt: {discovery: home/ha}"])
def test_discovery_is_a_switch_or_a_prefix(text: str) -> None:
    assert loader.parse(text.encode()).mqtt.discovery in {True, "ha", "home/ha"}


@pytest.mark.parametrize(
    "text", ["{discovery: 'a/#'}", "{discovery: 3}", "{prefix: $SYS}", '{prefix: "a\\x01"}', "{prefix: /a}"]
)
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"\$\.mqtt\.(discovery|prefix): expected"):
        loader.parse(f"mqtt: {text}".encode())
