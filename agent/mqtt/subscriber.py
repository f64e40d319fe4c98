"""Hears what nodes say, for whoever shows it: a connection that comes back, and a queue that does not grow for ever."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any

from paho.mqtt.enums import CallbackAPIVersion

from agent.mqtt.secrets import read_secret
from agent.mqtt.slim_paho import mqtt
from agent.mqtt.tls import ssl_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.mqtt.settings import MqttConfig

__all__ = ["Subscriber"]

_MOST_WAITING = 20_000
_LARGEST = 1 << 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1, 4


class Subscriber:
    """Listens to topics from `start` to `stop`.

    Parameters
    ----------
    config
        The broker, as in the agent's configuration.
    filters
        As MQTT has them, with ``+`` and ``#``.

    Raises
    ------
    UserError
        Password or TLS files cannot be used.
    """

    def __init__(self, config: MqttConfig, filters: Sequence[str]) -> None:
        self._filters = [(name, 1) for name in filters]
        self._address = config.address
        self._keepalive_s = config.keepalive_s
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue(_MOST_WAITING)
        #: Whether the broker has let us in, and sends us what we listen to.
        self.connected = False
        #: Why it has not, as far as it said.
        self.failure = ""
        #: Messages that were too large, or came faster than they were fetched.
        self.lost = 0
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.suppress_exceptions = True
        password = read_secret(config.password_file)
        if config.username is not None or password is not None:
            client.username_pw_set(config.username or "", password)
        if config.tls is not None:
            client.tls_set_context(ssl_context(config.tls))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.reconnect_delay_set(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._client = client

    def start(self) -> None:
        """Connect, now or as soon as the broker is there."""
        self._client.connect_async(*self._address, self._keepalive_s)
        self._client.loop_start()

    def stop(self) -> None:
        """Hang up."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Subscriber:  # noqa: PYI034 - typing.Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, timeout_s: float) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of what has come by the end of the time."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                yield self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return

    def waiting(self, most: int) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of what has come, at most so many."""
        for _ in range(most):
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return

    def publish(self, topic: str, payload: bytes) -> bool:
        """Say something once; whether it has gone on its way."""
        if not self.connected:
            return False
        return self._client.publish(topic, payload, qos=1).rc == mqtt.MQTT_ERR_SUCCESS

    def _on_connect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        del userdata, flags, properties
        if reason.is_failure:
            self.failure = f"refused: {reason}"
            return
        self.failure = ""
        client.subscribe(self._filters)

    def _on_subscribe(self, client: mqtt.Client, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        del client, userdata, mid, properties
        refused = [name for (name, _), reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        self.failure = f"the broker refuses {', '.join(refused)}" if refused else ""
        self.connected = True

    def _on_disconnect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        del client, userdata, flags, properties
        self.connected = False
        self.failure = self.failure or "the connection was lost" * bool(reason.is_failure)

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        if len(message.payload) > _LARGEST:
            self.lost += 1
            return
        try:
            self._queue.put_nowait((message.topic, bytes(message.payload)))
        except queue.Full:
            self.lost += 1
        except UnicodeDecodeError:  # a topic that is not text
            self.lost += 1
