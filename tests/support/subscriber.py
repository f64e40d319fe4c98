from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    from typing import Any


class Subscriber:
    """Client that collects every message below a prefix and can publish."""

    def __init__(
        self, port: int, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5, prefix: str = "edgewatch"
    ) -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self._prefix = prefix
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=version)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _userdata, message: self.messages.append(message)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"{self._prefix}/#", qos=1)

    def say(self, topic: str, payload: bytes, *, retain: bool = False, **properties: Any) -> None:
        asked = None
        if properties:
            asked = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(asked, name, value)
        self._client.publish(topic, payload, qos=1, retain=retain, properties=asked).wait_for_publish(10)

    def on(self, leaf: str) -> list[mqtt.MQTTMessage]:
        return [message for message in tuple(self.messages) if message.topic.endswith(f"/{leaf}")]

    def json(self, leaf: str) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.on(leaf)]

    def texts(self, leaf: str) -> list[str]:
        return [message.payload.decode() for message in self.on(leaf)]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
