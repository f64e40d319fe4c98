"""Source `mqtt` with a real broker: channel names, ignored payloads, and outages."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.core.channel import NOBODY
from agent.core.errors import UserError
from agent.sources.mqtt import MqttSource, MqttSourceConfig, TopicConfig, readings
from agent.sources.payload import NoReading
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker


def opened(port: int, *topics: Any, **keys: Any) -> MqttSource:
    named = [{"filter": topic} if isinstance(topic, str) else topic for topic in topics]
    config = msgspec.convert(
        {"type": "mqtt", "port": port, "topics": named, "max_channels": 8, **keys}, MqttSourceConfig
    )
    return MqttSource(config, 1.0)


@pytest.fixture
def listen() -> Iterator[Callable[..., MqttSource]]:
    made: list[MqttSource] = []

    def one(*arguments: Any, **keys: Any) -> MqttSource:
        made.append(opened(*arguments, **keys))
        return made[-1]

    yield one
    for source in made:
        source.close()


class Speaker:
    """Publish a message and wait for its acknowledgement."""

    def __init__(self, port: int) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def says(self, topic: str, payload: Any, *, retain: bool = False) -> None:
        content = json.dumps(payload) if isinstance(payload, dict | list) else payload
        self._client.publish(topic, content, qos=1, retain=retain).wait_for_publish(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def speaker(broker: Any) -> Iterator[Speaker]:
    made = Speaker(broker.port)
    yield made
    made.close()


def found(source: MqttSource) -> dict[str, float]:
    row = source.read().tolist()
    return {c.name: v for c, v in zip(source.channels, row, strict=True) if c is not NOBODY}


def listens(source: MqttSource, speaker: Speaker, topic: str = "ready") -> None:
    """Wait until published readings arrive."""

    def heard() -> bool:
        speaker.says(topic, "1")
        return any(c.name.endswith(topic.rpartition("/")[2]) for c in source.channels)

    wait_for(heard, 10, "the subscription")


SHAPES = [
    ("sensors/attic", b"21.5", {"sensors/attic": 21.5}),
    ("homeassistant/sensor/attic/state", b"21.5 \xc2\xb0C", {"homeassistant/sensor/attic/state": 21.5}),
    ("shellies/plug/relay/0", b"on", {"shellies/plug/relay/0": 1.0}),
    (
        "z/kitchen",
        {"temperature": 21.5, "contact": True, "linkquality": 80, "update": {"state": "idle"}, "last_seen": None},
        {"z/kitchen.temperature": 21.5, "z/kitchen.contact": 1.0, "z/kitchen.linkquality": 80.0},
    ),
    (
        "tele/plug/SENSOR",
        {"Time": "2026-01-01T00:00:00", "ENERGY": {"Power": 12, "Voltage": 230.5}, "TempUnit": "C"},
        {"tele/plug/SENSOR.ENERGY.Power": 12.0, "tele/plug/SENSOR.ENERGY.Voltage": 230.5},
    ),
    (
        "spBv1.0/plant/DDATA/line1",
        {"timestamp": 1, "metrics": [{"name": "speed", "value": 3.5}, {"name": "run", "value": True}], "seq": 5},
        {"spBv1.0/plant/DDATA/line1.speed": 3.5, "spBv1.0/plant/DDATA/line1.run": 1.0},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("topic", "payload", "expected"), SHAPES, ids=lambda value: str(value)[:12])
def test_what_is_usual_needs_no_description(topic: str, payload: Any, expected: dict[str, float]) -> None:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    assert dict(readings(topic, raw, TopicConfig("#"))) == expected


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "unavailable"),
        (b"unavailable", "unavailable"),
        (b"12,5", "not a number"),
        (b"nan", "unavailable"),
        (b"NaN", "unavailable"),
        (b"1e999", "not finite"),
        (b"\xff\xfe", "not text"),
        (b'{"a": ', "damaged JSON"),
        (b"[" * 5000, "damaged JSON"),
        (b'{"a": "text"}', "document without a number"),
        (b"0" * ((1 << 20) + 1), "larger than 1 MiB"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_is_no_reading_is_told_by_kind(payload: bytes, why: str) -> None:
    with pytest.raises(NoReading, match=why):
        readings("t", payload, TopicConfig("#"))


def test_paths_can_be_chosen_and_left_out() -> None:
    payload = b'{"a": {"b": 1, "c": 2}, "d": 3}'
    assert readings("t", payload, TopicConfig("t", values=("a.c", "gone"))) == [("t.a.c", 2.0)]
    assert readings("t", payload, TopicConfig("t", ignore=("a.*",))) == [("t.d", 3.0)]


def test_topics_become_channels_and_each_filter_has_its_own_way(broker: Any, speaker: Speaker, listen: Any) -> None:
    source = listen(
        broker.port,
        {"filter": "ready"},
        {"filter": "plain/+", "strip": 1},
        {"filter": "z2m/+", "strip": 1, "ignore": ["link*"]},
    )
    listens(source, speaker)
    speaker.says("plain/attic", "21.5")
    speaker.says("z2m/kitchen", {"temperature": 19, "linkquality": 80})
    speaker.says("other/thing", "1")
    expected = {"ready": 1.0, "attic": 21.5, "kitchen.temperature": 19.0}
    wait_for(lambda: found(source) == expected, what="the readings")
    speaker.says("plain/attic", "nonsense")
    speaker.says("plain/attic", b"\xff")
    wait_for(lambda: source.left_out == {"not a number": 1, "not text": 1}, what="the counts")
    assert found(source) == expected


def test_what_was_retained_is_a_reading_and_a_flood_of_it_ends_at_the_limit(
    broker: Any, speaker: Speaker, listen: Any
) -> None:
    for number in range(50):
        speaker.says(f"flood/{number}", str(number), retain=True)
    source = listen(broker.port, "flood/#", max_channels=20)
    wait_for(lambda: source.left_out == {"too many names": 30}, 10, "the limit")
    assert len(found(source)) == 20
    assert all(name == f"flood/{value:.0f}" for name, value in found(source).items())


def test_it_listens_again_after_the_broker_was_away(broker: Any, listen: Any, caplog: Any) -> None:
    speaker = Speaker(broker.port)
    source = listen(broker.port, "#")
    listens(source, speaker)
    speaker.close()
    broker.kill()
    wait_for(lambda: "connection lost" in caplog.text or "refused" in caplog.text, 10, "the loss")
    broker.start()
    speaker = Speaker(broker.port)
    listens(source, speaker, "after")
    speaker.close()


def test_agents_of_one_group_divide_the_messages(broker: Any, speaker: Speaker, listen: Any) -> None:
    sources = [listen(broker.port, "load/#", share="gateway", max_channels=64) for _ in range(2)]

    def both() -> bool:
        for number in range(40):
            speaker.says(f"load/{number}", "1")
        return all(len(found(source)) > 5 for source in sources)

    wait_for(both, what="both at work")


def test_stale_readings_are_missing(broker: Any, speaker: Speaker, listen: Any) -> None:
    source = listen(broker.port, "#", stale_s=0.3)
    listens(source, speaker)
    wait_for(lambda: math.isnan(found(source)["ready"]), what="the end of it")


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(msgspec.ValidationError, match="stands for a whole level"):
        opened(1, "a/b+")
    with pytest.raises(msgspec.ValidationError, match="stands for a whole level"):
        opened(1, "a/#/b")
    with pytest.raises(UserError, match=r"\$\.password_file: .*none: .*cannot read"):
        opened(1, "#", password_file=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"\$\.tls\.ca_file: .*cannot use the TLS file"):
        opened(1, "#", tls={"ca_file": str(tmp_path / "none")})
