"""Subscriber as recommended in the documents: a persistent session, and duplicates recognised by their id."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.messages.alert import Alert

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

__all__ = ["Receiver"]

# Seconds that the broker keeps the session.
_KEPT_S = 86_400
_ALERT = msgspec.json.Decoder(Alert)


class Receiver:
    """Collect alerts, states and health messages of all nodes.

    Parameters
    ----------
    port
        Port of the broker on loopback.
    """

    def __init__(self, port: int) -> None:
        #: All alerts in order of arrival, including duplicates.
        self.alerts: list[Alert] = []
        #: Health messages in order of arrival.
        self.health: list[dict[str, Any]] = []
        #: State messages in order of arrival.
        self.states: list[dict[str, Any]] = []
        self._ready = threading.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="receiver", protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_subscribe = lambda *_: self._ready.set()
        client.reconnect_delay_set(1, 1)
        keep = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        keep.SessionExpiryInterval = _KEPT_S
        client.connect("127.0.0.1", port, clean_start=False, properties=keep)
        client.loop_start()
        self._client = client
        self._ready.wait(10)

    def unique(self) -> list[Alert]:
        """Alerts without duplicates, in order of first arrival."""
        return list({alert.id: alert for alert in reversed(tuple(self.alerts))}.values())[::-1]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    @staticmethod
    def _on_connect(
        client: mqtt.Client, userdata: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        del userdata, flags, properties
        if not reason.is_failure:
            client.subscribe([("+/+/alert", 1), ("+/+/state", 1), ("+/+/health", 0)])

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        if message.topic.endswith("/alert"):
            self.alerts.append(_ALERT.decode(message.payload))
        elif message.topic.endswith("/health"):
            self.health.append(msgspec.json.decode(message.payload))
        else:
            self.states.append(msgspec.json.decode(message.payload))
