"""The files under docs/integrations work with the real messages of an agent."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import paho.mqtt.publish
import pytest
import yaml

from agent.integrations.home_assistant import Discovery
from agent.messages.alert import Alert
from agent.messages.status import Metrics, NodeState
from agent.mqtt import settings
from tests.support.alerts import alert
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.testing.mosquitto import Mosquitto

FOLDER = ROOT / "docs" / "integrations"
PAGE = (ROOT / "docs" / "prometheus.md").read_text()


def known_metrics() -> set[str]:
    """Names of the Prometheus metrics, as documented."""
    names = {name.split("{")[0] for name in re.findall(r"`(edgewatch_[a-z_{},]+)`", PAGE)}
    return names | {f"edgewatch_channel{end}" for end in re.findall(r"`(_[a-z]+)`", PAGE)}


def used_metrics(text: str) -> set[str]:
    return set(re.findall(r"\bedgewatch_[a-z_]+", text))


class TestPrometheus:
    def test_rules_are_about_metrics_that_there_are(self) -> None:
        groups = yaml.safe_load((FOLDER / "prometheus-rules.yaml").read_text())["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) >= 6
        for rule in rules:
            assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
            assert used_metrics(rule["expr"]) <= known_metrics(), rule["alert"]

    def test_the_dashboard_shows_metrics_that_there_are(self) -> None:
        dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        queries = [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
        used = set().union(*map(used_metrics, [*expressions, *queries]))
        assert used <= known_metrics()
        assert {"edgewatch_channel_value", "edgewatch_channel_lower", "edgewatch_open_incidents"} <= used
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


class TestTelegraf:
    def test_every_path_is_in_the_payload_of_its_topic(self) -> None:
        parsed = pytest.importorskip("tomllib").loads((FOLDER / "telegraf.conf").read_text())
        payloads = {"alert": Alert, "state": NodeState, "metrics": Metrics}
        seen = set()
        for consumer in parsed["inputs"]["mqtt_consumer"]:
            (topic,) = consumer["topics"]
            leaf = topic.rsplit("/", 1)[1]
            seen.add(leaf)
            fields = {field.encode_name for field in msgspec.structs.fields(payloads[leaf])}
            for part in consumer.get("json_v2", []):
                paths = [
                    part["timestamp_path"],
                    *(each["path"] for key in ("tag", "field") for each in part.get(key, [])),
                ]
                assert set(paths) <= fields
            assert consumer.get("json_time_key", "ts") in fields
            assert consumer["topic_parsing"] == [{"topic": "_/+/_", "tags": "_/node/_"}]
        assert seen == set(payloads)


class TestNodeRed:
    def test_the_flow_hangs_together(self) -> None:
        nodes = {node["id"]: node for node in json.loads((FOLDER / "node-red-flow.json").read_text())}
        for node in nodes.values():
            for target in (target for output in node.get("wires", []) for target in output):
                assert target in nodes
            assert node.get("z", "ew-tab") == "ew-tab"
        assert nodes["ew-in"]["broker"] in nodes
        fields = {field.encode_name for field in msgspec.structs.fields(Alert)}
        for template in (node["template"] for node in nodes.values() if node["type"] == "template"):
            assert set(re.findall(r"\{\{payload\.(\w+)\}\}", template)) <= fields


class TestHomeAssistant:
    def test_the_card_shows_entities_that_discovery_announces(self) -> None:
        announced = json.loads(Discovery(settings.MqttConfig(), "pi4").payload)["cmps"].values()
        names = {
            f"{part['p']}.edgewatch_pi4_{part['name'].lower().replace(' ', '_')}"
            for part in announced
            if "name" in part
        }
        text = (FOLDER / "home-assistant-card.yaml").read_text()
        yaml.safe_load(text)
        used = set(re.findall(r"(?:binary_)?sensor\.edgewatch_pi4_\w+", text))
        assert used
        assert used <= names


class Heard(http.server.BaseHTTPRequestHandler):
    messages: list[tuple[str, dict[str, str]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.messages.append((body, dict(self.headers)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def phone() -> Iterator[tuple[int, list[tuple[str, dict[str, str]]]]]:
    kind = type("Phone", (Heard,), {"messages": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1], kind.messages
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.broker
def test_what_opens_and_closes_reaches_the_phone_once(broker: Mosquitto, phone: Any) -> None:
    port, messages = phone
    command = [sys.executable, str(FOLDER / "push.py"), "--port", str(broker.port), "--min-severity", "warning"]
    command += ["--ntfy", f"http://127.0.0.1:{port}/topic"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:

        def say(payload: bytes) -> None:
            paho.mqtt.publish.single("edgewatch/pi4/alert", payload, qos=1, port=broker.port, hostname="127.0.0.1")

        opened = msgspec.structs.replace(alert(1), phase="open", severity="critical", summary="cpu.percent 99 %")
        wait_for(lambda: (say(msgspec.json.encode(opened)), messages)[1], 20, what="the first message")
        for payload in (b"nonsense", b"[]", msgspec.json.encode(msgspec.structs.replace(alert(2), severity="info"))):
            say(payload)
        say(msgspec.json.encode(opened))
        say(msgspec.json.encode(msgspec.structs.replace(opened, id="x", phase="close", summary="over")))
        wait_for(lambda: len(messages) == 2, what="the close")
    finally:
        process.terminate()
        process.wait()
    assert [body for body, _ in messages] == ["cpu.percent 99 %", "over"]
    assert messages[0][1]["Priority"] == "5"
