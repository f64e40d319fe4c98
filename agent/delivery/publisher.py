"""Publishes alerts from the outbox, status messages, birth message and last will; receives commands.

Only the outbox stores messages that must not be lost. Received messages wait in a short queue until the sampling loop
fetches them.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from agent.messages.topics import topic
from agent.mqtt.connection import Connection
from agent.mqtt.endpoint import Endpoint
from agent.mqtt.session import MOST_IN_FLIGHT, Callbacks, Profile, RetainedText

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.delivery.outbox import Outbox
    from agent.mqtt.received import Received
    from agent.mqtt.session import Session
    from agent.mqtt.settings import MqttConfig


__all__ = ["Publisher"]

_LOG = logging.getLogger(__name__)
# Alerts read from the outbox in one query; chosen by hand.
_READ_AHEAD = 200
# Acknowledged alerts are deleted together, to spare the disk: once there are this many, or this many seconds after the
# last deletion, or if no alert is in flight. Chosen by hand.
_DELETED_AT_ONCE = 256
_DELETE_S = 1.0
# Seconds until a refused alert is sent again; chosen by hand.
_REFUSED_PAUSE_S = 60.0
# Seconds to wait for the PUBACK of `offline`, and then for the disconnection; chosen by hand for a stop in about 1 s.
_FAREWELL_S = 0.7
_HANG_UP_S = 0.5
# Received messages that wait for the sampling loop at most; chosen by hand.
_MOST_WAITING = 64
# Bytes of a received payload, and of its packet (announced to the broker under MQTT 5); chosen by hand.
_MOST_PAYLOAD = 1 << 16
_MOST_PACKET = 1 << 17


class Publisher:
    """Publishes and receives messages; the network runs in its own thread.

    Parameters
    ----------
    config
        The section ``mqtt``.
    node
        Name of this node.
    instance
        Identifier of the installation, part of the client identifier.
    filters
        Topics to subscribe to.
    on_progress
        Called, in any thread, when `pump` may have work: after an acknowledgement or a new connection.

    Raises
    ------
    UserError
        Password or TLS files cannot be used.
    """

    def __init__(
        self,
        config: MqttConfig,
        node: str,
        instance: str,
        filters: Sequence[str] = (),
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self._node = node
        self._on_progress = on_progress
        status = topic(config.prefix, node, "status")
        self._farewell = RetainedText(status, "offline")
        profile = Profile(
            f"edgewatch-{node}-{instance}",
            birth=RetainedText(status, "online"),
            will=self._farewell,
            filters=tuple(filters),
            most_packet=_MOST_PACKET,
            most_payload=_MOST_PAYLOAD,
        )
        callbacks = Callbacks(
            on_accepted=self._on_accepted,
            on_subscribed=self._on_subscribed,
            on_message=self._on_message,
            on_unusable=self._on_unusable,
            on_published=self._on_published,
        )
        self._connection = Connection(Endpoint.of(config), profile, callbacks, "mqtt", _LOG)
        # Answers of the broker, added by the network thread: session, packet identifier, reason of a refusal or "".
        self._outcomes: deque[tuple[Session, int, str]] = deque()
        # Session through which alerts are sent; rows of the outbox in flight, by packet identifier; rows read ahead,
        # with their payloads; and the last row read.
        self._pumped: Session | None = None
        self._in_flight: dict[int, int] = {}
        self._next: deque[tuple[int, bytes]] = deque()
        self._last_read = 0
        # Acknowledged rows to delete; monotonic times of the last deletion, and of the last refusal (0: none).
        self._delivered: list[int] = []
        self._deleted_at = 0.0
        self._refused_at = 0.0
        #: Times that the broker refused an alert.
        self.refused = 0
        # Session that `renewed` has reported.
        self._greeted: Session | None = None
        # Received messages, added by the network thread.
        self._arrived: deque[Received] = deque(maxlen=_MOST_WAITING)
        #: Received messages that were too large, or displaced from the full queue.
        self.discarded = 0

    def start(self) -> None:
        """Start to connect, and reconnect until `stop`."""
        self._connection.start()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that the broker has accepted."""
        return self._connection.connected

    @property
    def sessions(self) -> int:
        """Connections made so far."""
        return self._connection.sessions

    @property
    def reconnects(self) -> int:
        """Connections made after the first."""
        return max(0, self.sessions - 1)

    def renewed(self) -> bool:
        """Whether there is a new connection since the last call, after which retained messages are published again."""
        session = self._connection.session
        if not self.connected or session is self._greeted:
            return False
        self._greeted = session
        return True

    def publish(self, leaf: str, payload: msgspec.Struct, *, qos: int, retain: bool) -> None:
        """Publish a message on the node's topic ``leaf``; dropped without a connection, as it is sent again later."""
        self.send(topic(self.config.prefix, self._node, leaf), msgspec.json.encode(payload), qos=qos, retain=retain)

    def send(self, name: str, payload: bytes, *, qos: int, retain: bool = False, correlation: bytes = b"") -> None:
        """Publish JSON on any topic; dropped without a connection.

        Parameters
        ----------
        correlation
            Correlation data of an answer, under MQTT 5.
        """
        session = self._connection.session
        if session is not None and self.connected:
            session.publish(name, payload, qos=qos, retain=retain, correlation=correlation)

    def received(self) -> list[Received]:
        """Messages received since the last call, oldest first; of more than 64 the oldest are discarded."""
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def pump(self, outbox: Outbox) -> None:
        """Delete acknowledged alerts from the outbox and send waiting ones, with at most twenty in flight."""
        self._settle(outbox)
        session = self._connection.session
        if session is None or not self.connected:
            return
        if session is not self._pumped:
            self._pumped = session
            self._in_flight.clear()
            self._rewind()
        elif self._refused_at and not self._in_flight and time.monotonic() >= self._refused_at + _REFUSED_PAUSE_S:
            self._rewind()
        name = topic(self.config.prefix, self._node, "alert")
        while len(self._in_flight) < MOST_IN_FLIGHT:
            if not self._next and outbox.depth:
                self._next.extend(outbox.pending(self._last_read, _READ_AHEAD))
            if not self._next:
                return
            rowid, payload = self._next[0]
            mid = session.publish(name, payload, qos=1, expiry_s=self.config.alert_expiry_s)
            if mid is None:
                return
            self._next.popleft()
            self._last_read = max(self._last_read, rowid)
            self._in_flight[mid] = rowid

    def stop(self, outbox: Outbox) -> None:
        """Send waiting alerts, publish `offline` and disconnect; takes little more than a second at most."""
        session = self._connection.session
        if session is not None and self.connected:
            self.pump(outbox)
            failure = session.bid_farewell(self._farewell, _FAREWELL_S)
            if failure:
                _LOG.warning("mqtt: cannot publish 'offline': %s", failure)
        self._settle(outbox)
        self._delete(outbox)
        self._connection.stop(_HANG_UP_S)

    def _rewind(self) -> None:
        """Continue with the oldest waiting alert, so that unacknowledged and refused ones are sent again."""
        self._next.clear()
        self._last_read = 0
        self._refused_at = 0.0

    def _settle(self, outbox: Outbox) -> None:
        """Process the broker's answers, and delete acknowledged alerts if due."""
        while self._outcomes:
            session, mid, refusal = self._outcomes.popleft()
            rowid = self._in_flight.pop(mid, None) if session is self._pumped else None
            if rowid is None:
                continue
            if refusal:
                self.refused += 1
                self._refused_at = time.monotonic()
                _LOG.error("mqtt: the broker refused an alert (%s); it stays in the outbox – check its ACL", refusal)
            else:
                self._delivered.append(rowid)
        if self._delivered and (
            not self._in_flight
            or len(self._delivered) >= _DELETED_AT_ONCE
            or time.monotonic() >= self._deleted_at + _DELETE_S
        ):
            self._delete(outbox)

    def _delete(self, outbox: Outbox) -> None:
        """Delete acknowledged alerts from the outbox."""
        outbox.acknowledge(self._delivered)
        self._delivered = []
        self._deleted_at = time.monotonic()

    def _on_published(self, session: Session, mid: int, refusal: str) -> None:
        self._outcomes.append((session, mid, refusal))
        self._on_progress()

    def _on_accepted(self, session: Session) -> None:
        del session
        self._on_progress()

    @staticmethod
    def _on_subscribed(refused: dict[str, str]) -> None:
        for name, reason in refused.items():
            _LOG.error("mqtt: the broker refuses the subscription to %s (%s) – check its ACL", name, reason)

    def _on_message(self, message: Received) -> None:
        if len(self._arrived) == _MOST_WAITING:
            self.discarded += 1
        self._arrived.append(message)

    def _on_unusable(self, reason: str) -> None:
        del reason
        self.discarded += 1
