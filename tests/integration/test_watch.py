"""`edgewatch watch` with a real broker, as plain lines, and its subscriber."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import paho.mqtt.publish
import pytest

from agent.mqtt.settings import MqttConfig
from agent.mqtt.subscriber import Subscriber
from tests.support.alerts import alert
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tools.testing.mosquitto import Mosquitto

pytestmark = pytest.mark.broker


def say(broker: Mosquitto, topic: str, payload: bytes, *, retain: bool = False) -> None:
    paho.mqtt.publish.single(topic, payload, qos=1, retain=retain, port=broker.port, hostname="127.0.0.1")


def test_alerts_of_a_node_are_told_line_by_line_each_once(broker: Mosquitto, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"node: mine\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    command = [sys.executable, "-m", "agent", "watch", "pi4", "--config", str(config)]
    lines: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        thread = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        thread.start()
        try:
            opened = msgspec.json.encode(msgspec.structs.replace(alert(1), phase="open", summary="load 9\x1b[2J"))
            for other in ("edgewatch/other/alert", "edgewatch/pi4/alert"):
                wait_for(lambda topic=other: (say(broker, topic, opened), len(lines) > 1 or "other" in topic)[1], 20)
            say(broker, "edgewatch/pi4/alert", opened)
            say(broker, "edgewatch/pi4/alert", b"nonsense")
            closed = msgspec.structs.replace(alert(2), phase="close", summary="it is over")
            say(broker, "edgewatch/pi4/alert", msgspec.json.encode(closed))
            wait_for(lambda: any("it is over" in line for line in lines))
        finally:
            process.terminate()
            thread.join()
    told = [line for line in lines if "load 9" in line]
    assert len(told) == 1
    assert "\x1b" not in told[0]
    assert lines[0].startswith("press Ctrl-C to exit")


def test_a_subscriber_comes_back_with_its_broker(make_mosquitto: Any) -> None:
    broker = make_mosquitto()
    heard: list[tuple[str, bytes]] = []
    with Subscriber(MqttConfig(host="127.0.0.1", port=broker.port), ["a/+"]) as subscriber:
        wait_for(lambda: subscriber.connected)
        say(broker, "a/b", b"1")
        wait_for(lambda: (heard.extend(subscriber.waiting(10)), heard)[1])
        broker.kill()
        wait_for(lambda: not subscriber.connected)
        assert not subscriber.publish("a/c", b"lost")
        broker.start()
        wait_for(lambda: subscriber.connected, 20)
        assert subscriber.publish("a/c", b"2")
        wait_for(lambda: (heard.extend(subscriber.waiting(10)), len(heard) > 1)[1])
    assert heard == [("a/b", b"1"), ("a/c", b"2")]


def test_what_is_too_large_or_too_much_is_counted(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.mqtt.subscriber._MOST_WAITING", 2)
    with Subscriber(MqttConfig(host="127.0.0.1", port=broker.port), ["a/+"]) as subscriber:
        wait_for(lambda: subscriber.connected)
        for payload in (b"x" * (1 << 21), b"1", b"2", b"3"):
            say(broker, "a/b", payload)
        wait_for(lambda: subscriber.lost == 2)
        assert [payload for _, payload in subscriber.waiting(10)] == [b"1", b"2"]
