"""Receives messages for `edgewatch watch` and the dashboard: a connection that reconnects, and a bounded queue."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING

from agent.mqtt.connection import Connection
from agent.mqtt.endpoint import Endpoint
from agent.mqtt.session import VERSIONS, Callbacks, Profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.mqtt.received import Received
    from agent.mqtt.session import Session
    from agent.mqtt.settings import MqttConfig

__all__ = ["Subscriber"]

# Messages in the queue at most; chosen by hand: twenty of each of a thousand nodes.
_MOST_WAITING = 20_000
# Bytes of a payload at most; chosen by hand, above `metrics` of some thousand channels.
_MOST_PAYLOAD = 1 << 20
# Seconds between attempts to connect; chosen by hand, short since a person waits.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 4.0
# Seconds to wait for the session to end; chosen by hand.
_FAREWELL_S = 2.0


class Subscriber:
    """Subscribes to topics from `start` to `stop`, and queues the messages; a context manager.

    Parameters
    ----------
    config
        The section ``mqtt``.
    filters
        Topic filters, with ``+`` and ``#``.

    Raises
    ------
    UserError
        Password or TLS files cannot be used.
    """

    def __init__(self, config: MqttConfig, filters: Sequence[str]) -> None:
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue(_MOST_WAITING)
        #: Whether the broker has answered the subscription of the present session.
        self.connected = False
        #: Why there is no subscription, or why filters were refused; empty without a failure.
        self.failure = ""
        #: Messages that were too large, or found the queue full.
        self.lost = 0
        profile = Profile(
            # 3.1.1 suffices for the agent's messages, and every broker supports it.
            versions=VERSIONS[1:],
            filters=tuple(filters),
            most_payload=_MOST_PAYLOAD,
            first_pause_s=_FIRST_PAUSE_S,
            longest_pause_s=_LONGEST_PAUSE_S,
        )
        callbacks = Callbacks(
            on_accepted=self._on_accepted,
            on_subscribed=self._on_subscribed,
            on_message=self._on_message,
            on_unusable=self._on_unusable,
            on_ended=self._on_ended,
        )
        self._connection = Connection(Endpoint.of(config), profile, callbacks, "mqtt-subscriber")

    def start(self) -> None:
        """Start to connect, and reconnect until `stop`."""
        self._connection.start()

    def stop(self) -> None:
        """Disconnect."""
        self._connection.stop(_FAREWELL_S)
        self.connected = False

    def __enter__(self) -> Subscriber:  # noqa: PYI034 - typing.Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, timeout_s: float) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of each message that arrives within ``timeout_s`` seconds."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                yield self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return

    def waiting(self, most: int) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of queued messages, at most ``most``, without waiting."""
        for _ in range(most):
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish a message with quality of service 1; False if there is no connection or its queue is full."""
        session = self._connection.session
        if session is None or not self.connected:
            return False
        return session.publish(topic, payload, qos=1) is not None

    def _on_accepted(self, session: Session) -> None:
        del session
        self.failure = ""

    def _on_subscribed(self, refused: dict[str, str]) -> None:
        self.failure = f"the broker refuses {', '.join(refused)}" if refused else ""
        self.connected = True

    def _on_ended(self, session: Session) -> None:
        self.connected = False
        if session.accepted:
            self.failure = self.failure or "the connection was lost"
        elif session.refused:
            self.failure = session.failure

    def _on_message(self, message: Received) -> None:
        try:
            self._queue.put_nowait((message.topic, message.payload))
        except queue.Full:
            self.lost += 1

    def _on_unusable(self, reason: str) -> None:
        del reason
        self.lost += 1
