"""Remote control over real brokers: commands, answers, and Home Assistant."""

from __future__ import annotations

import json
import random
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from agent.cli.main import main
from agent.delivery.outbox import Outbox
from agent.delivery.publisher import Publisher
from agent.mqtt.settings import MqttConfig
from tests.support.waiting import wait_for
from tools.testing.mosquitto import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

CMD = "edgewatch/pi4/cmd"
DEVICE = "homeassistant/device/edgewatch_pi4/config"


@pytest.fixture
def listener() -> Iterator[Callable[..., Publisher]]:
    made: list[Publisher] = []

    def make(port: int, *filters: str) -> Publisher:
        made.append(Publisher(MqttConfig(host="127.0.0.1", port=port), "pi4", "7f3a", filters))
        made[-1].start()
        wait_for(lambda: made[-1].connected, what="the connection")
        return made[-1]

    yield make
    for one in made:
        one.stop(Outbox(None))


def settings(folder: Path, port: int, mqtt: str = "", more: str = "") -> Path:
    """A node with a channel that is anomalous every two seconds, more each time so that it never becomes normal."""
    path = folder / "config.yaml"
    rows = "".join(
        f"{i},{500 * 1.7 ** min(i // 100, 100) if i > 200 and i % 100 < 20 else 20 + i % 5}\n" for i in range(20_000)
    )
    (folder / "r.csv").write_text(f"t,oven\n{rows}")
    path.write_text(
        f"node: pi4\nstate_dir: {folder / 'state'}\ninterval_s: 0.02\n"
        f"sources: [{{type: csv, path: {folder / 'r.csv'}}}]\ndetection: {{block_s: 0.02}}\n"
        "alerts: {learning_s: 0, confirm_s: 0.06, clear_s: 0.1, cooldown_s: 0, budget_per_day: 1e9}\n"
        f"mqtt: {{port: {port}, health_interval_s: 0.2{mqtt}}}\n{more}"
    )
    return path


def answers(subscriber: Any, leaf: str = "answer") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = subscriber.json(leaf)
    return found


def test_what_is_said_arrives_with_where_to_answer_and_again_after_a_broker_restart(
    broker: Any, subscribe: Callable[..., Any], listener: Callable[..., Publisher]
) -> None:
    one = listener(broker.port, CMD)
    subscriber = subscribe(broker.port)
    subscriber.say(CMD, b"first", ResponseTopic="edgewatch/me", CorrelationData=b"7")
    (first,) = wait_for(one.received, what="the message")
    assert (first.topic, first.payload, first.retained) == (CMD, b"first", False)
    assert (first.response_topic, first.correlation) == ("edgewatch/me", b"7")
    broker.stop()
    wait_for(lambda: not one.connected, what="the loss")
    broker.start()
    wait_for(lambda: one.connected, what="the second connection")
    subscribe(broker.port).say(CMD, b"second")
    assert [m.payload for m in wait_for(one.received, what="the message")] == [b"second"]


def test_a_retained_message_is_known_as_one_however_it_comes(
    broker: Any, subscribe: Callable[..., Any], listener: Callable[..., Publisher]
) -> None:
    one = listener(broker.port, CMD)
    subscribe(broker.port).say(CMD, b"kept", retain=True)
    assert [m.retained for m in wait_for(one.received, what="the message as it is published")] == [True]
    late = listener(broker.port, CMD)
    assert [m.retained for m in wait_for(late.received, what="the message that was kept")] == [True]


def test_what_is_too_large_or_too_much_is_dropped_and_counted(
    broker: Any, subscribe: Callable[..., Any], listener: Callable[..., Publisher]
) -> None:
    one = listener(broker.port, CMD)
    subscriber = subscribe(broker.port)
    subscriber.say(CMD, b"x" * (1 << 20))  # larger than our maximum packet size: the broker drops it
    subscriber.say(CMD, b"x" * ((1 << 16) + 1))
    for number in range(100):
        subscriber.say(CMD, b"%d" % number)
    wait_for(lambda: one.discarded == 37, what="the last message")
    assert [m.payload for m in one.received()] == [b"%d" % number for number in range(36, 100)]
    assert one.connected
    assert one.reconnects == 0


def test_a_broker_that_does_not_let_us_listen_is_said(caplog: pytest.LogCaptureFixture) -> None:
    one = Publisher(MqttConfig(), "pi4", "7f3a", ["edgewatch/pi4/other", CMD])
    one._on_subscribed({CMD: "Not authorized"})
    assert caplog.messages == [
        f"mqtt: the broker refuses the subscription to {CMD} (Not authorized) – check its ACL",
    ]


def test_commands_are_off_unless_switched_on(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    agent = run_agent(settings(tmp_path, broker.port))
    wait_for(lambda: subscriber.on("health"), what="health")
    subscriber.say(CMD, b'{"command":"silence","channels":["*"],"for_s":60}')
    seen = len(subscriber.on("health"))
    wait_for(lambda: len(subscriber.on("health")) > seen + 2, what="more health")
    assert subscriber.json("state")[-1]["silenced"] == 0
    assert not subscriber.on("answer")
    assert agent.end() == 0


def test_a_silenced_node_raises_no_alert_until_it_is_told_to(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    agent = run_agent(settings(tmp_path, broker.port, ", commands: true"))
    wait_for(lambda: [a for a in subscriber.json("alert") if a["phase"] == "close"], what="an incident")
    silence = b'{"command":"silence","id":"a","channels":["ov*"],"for_s":600}'
    subscriber.say(CMD, silence, ResponseTopic="edgewatch/me/here", CorrelationData=b"\x01")
    (message,) = wait_for(lambda: subscriber.on("here"), what="the answer")
    assert message.properties.CorrelationData == b"\x01"
    answer = json.loads(message.payload)
    assert (answer["ok"], answer["id"], answer["detail"]) == (True, "a", "silenced for 600 s: 1 channel")
    wait_for(lambda: subscriber.json("state")[-1]["silenced"] == 1, what="the state")
    held = subscriber.json("health")[-1]["suppressed"]
    wait_for(lambda: subscriber.json("health")[-1]["suppressed"] > held + 1, what="incidents that are held back")
    alerts = subscriber.json("alert")
    assert len([a for a in alerts if a["phase"] == "open"]) == len([a for a in alerts if a["phase"] == "close"])
    subscriber.say(CMD, b'{"command":"unsilence","channels":["*"]}')
    wait_for(lambda: len(subscriber.json("alert")) > len(alerts), what="the next alert")
    assert agent.end() == 0
    assert [a["seq"] for a in subscriber.json("alert")] == list(range(1, 1 + len(subscriber.json("alert"))))


def test_a_silence_by_command_outlasts_a_restart(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    path = settings(tmp_path, broker.port, ", commands: true")
    agent = run_agent(path)
    wait_for(lambda: subscriber.on("state"), what="the first state")
    subscriber.say(CMD, b'{"command":"silence","channels":["oven"],"for_s":600}')
    wait_for(lambda: subscriber.json("state")[-1]["silenced"] == 1, what="the silence")
    assert agent.end() == 0
    subscriber.messages.clear()
    again = run_agent(path)
    assert wait_for(lambda: subscriber.json("state"), what="the first state")[0]["silenced"] == 1
    assert again.end() == 0


def test_an_incident_is_acknowledged_and_a_node_learns_anew(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    path = settings(tmp_path, broker.port, ", commands: true")
    path.write_text(path.read_text().replace("clear_s: 0.1", "clear_s: 30"))
    agent = run_agent(path)
    name = wait_for(lambda: subscriber.json("alert"), what="an alert")[0]["incident"]
    subscriber.say(CMD, json.dumps({"command": "acknowledge", "incident": name}).encode())
    told = wait_for(lambda: [a for a in subscriber.json("alert") if a["reason"] == "acknowledged"], what="the update")
    assert (told[0]["phase"], told[0]["incident"]) == ("update", name)
    subscriber.say(CMD, b'{"command":"acknowledge","incident":"nonsense"}')
    wait_for(
        lambda: [a for a in answers(subscriber) if "no open incident 'nonsense'" in a["error"]], what="the refusal"
    )
    subscriber.say(CMD, b'{"command":"relearn","channels":["*"]}')
    closed = wait_for(lambda: [a for a in subscriber.json("alert") if a["phase"] == "close"], what="the close")
    assert (closed[0]["reason"], closed[0]["incident"]) == ("relearned", name)
    wait_for(lambda: subscriber.json("state")[-1]["learning_progress"] < 0.9, what="learning")
    assert agent.end() == 0


def test_a_reload_by_command_takes_over_what_changed(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    path = settings(tmp_path, broker.port, ", commands: true")
    agent = run_agent(path)
    wait_for(lambda: subscriber.on("state"), what="the first state")
    silences = "alerts: {silences: [{channels: ['*'], until: 2100-01-01}], "
    path.write_text(path.read_text().replace("alerts: {", silences))
    subscriber.say(CMD, b'{"command":"reload"}')
    wait_for(lambda: subscriber.json("state")[-1]["silenced"] == 1, what="the silence")
    assert "learning continues" in agent.words()
    assert agent.end() == 0


def test_answers_of_an_older_broker_go_to_a_topic_of_their_own(
    subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path, port_of_an_older_broker: int
) -> None:
    subscriber = subscribe(port_of_an_older_broker, version=MQTTProtocolVersion.MQTTv311)
    agent = run_agent(settings(tmp_path, port_of_an_older_broker, ", commands: true"))
    wait_for(lambda: subscriber.on("state"), what="the first state")
    subscriber.say(CMD, b'{"command":"silence","id":"b","channels":["oven"],"for_s":1}')
    wait_for(lambda: [a for a in answers(subscriber) if a["ok"] and a["id"] == "b"], what="the answer")
    assert agent.end() == 0


def test_nothing_that_is_said_stops_the_agent(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    subscriber = subscribe(broker.port)
    agent = run_agent(settings(tmp_path, broker.port, ", commands: true, discovery: true"))
    wait_for(lambda: subscriber.on("health"), what="health")
    chance = random.Random(5)
    for number in range(500):
        payload = chance.choice([chance.randbytes(chance.randrange(6000)), b'{"command":"%s"}' % chance.randbytes(9)])
        where = chance.choice([CMD, "homeassistant/status"])
        subscriber.say(where, payload, retain=number % 50 == 0, CorrelationData=chance.randbytes(20))
    steps = subscriber.json("health")[-1]["steps"]
    wait_for(lambda: subscriber.json("health")[-1]["steps"] > steps + 50, what="more steps")
    assert subscriber.json("state")[-1]["silenced"] == 0
    assert len(subscriber.on("answer")) <= 30
    assert "Traceback" not in agent.words()
    assert max(map(len, agent.words().splitlines())) < 2000
    assert agent.end() == 0


def test_home_assistant_is_told_at_every_connection_and_at_its_own_birth_and_the_device_can_be_removed(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path, capsys: Any
) -> None:
    assistant = subscribe(broker.port, prefix="homeassistant")
    subscriber = subscribe(broker.port)
    path = settings(tmp_path, broker.port, ", discovery: true")
    agent = run_agent(path)

    def told() -> list[bytes]:
        return [m.payload for m in tuple(assistant.messages) if m.topic == DEVICE]

    wait_for(told, what="the discovery message")
    described = json.loads(told()[0])
    for part in described["cmps"].values():
        if "stat_t" in part and not part["stat_t"].endswith("alert"):
            wait_for(lambda part=part: [m for m in subscriber.messages if m.topic == part["stat_t"]], what=part["name"])
    assert described["avty_t"] in {m.topic for m in subscriber.messages}

    begin = time.monotonic()
    assistant.say("homeassistant/status", b"online")
    wait_for(lambda: len(told()) > 1, 8, "the discovery message again")
    assert time.monotonic() - begin > 0.9
    assert told()[1] == told()[0]

    broker.stop()
    broker.start()
    wait_for(lambda: len(told()) > 2, what="the discovery message after a restart")
    assert agent.end() == 0

    assert main(["discovery", "show", "--config", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == described
    assert main(["discovery", "remove", "--config", str(path)]) == 0
    assert "from Home Assistant" in capsys.readouterr().out
    later = subscribe(broker.port, prefix="homeassistant")
    also = subscribe(broker.port)
    later.say("homeassistant/end", b"x")
    also.say("edgewatch/end", b"x")
    wait_for(lambda: later.on("end") and also.on("end"), what="everything that was kept")
    assert {m.topic for m in [*later.messages, *also.messages]} == {"homeassistant/end", "edgewatch/end"}


def test_a_device_cannot_be_removed_where_there_is_no_broker(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"mqtt: {{host: 127.0.0.1, port: {free_port()}}}\n")
    assert main(["discovery", "remove", "--config", str(path)]) == 3
    assert "Connection refused" in capsys.readouterr().err


def test_a_broker_that_refuses_the_removal_is_named(
    make_mosquitto: Callable[..., Any], tmp_path: Path, capsys: Any
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write edgewatch/#\n")
    rules.chmod(0o600)
    broker = make_mosquitto("allow_anonymous true", f"acl_file {rules}", "user root")
    path = tmp_path / "c.yaml"
    path.write_text(f"mqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    assert main(["discovery", "remove", "--config", str(path)]) == 3
    assert "check the broker's access rules" in capsys.readouterr().err


def test_the_page_for_prometheus_says_what_health_says(
    broker: Any, subscribe: Callable[..., Any], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (`make test` installs it)")
    subscriber = subscribe(broker.port)
    port = free_port()
    agent = run_agent(settings(tmp_path, broker.port, more=f"prometheus: {{port: {port}}}\n"))
    wait_for(lambda: subscriber.on("health"), what="health")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert "edgewatch_outbox_durable 1.0" in text
    assert 'edgewatch_channel_value{channel="oven"}' in text
    assert agent.end() == 0
