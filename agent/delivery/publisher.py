"""Speaks MQTT: birth, last will, state, alerts, metrics and health, over a connection that always comes back.

A message that must not be lost waits in the outbox, and nowhere else. Messages that arrive wait in a short queue until
the loop asks for them.
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
# Alerts that are read from the outbox at once.
_READ_AHEAD = 200
# Delivered alerts are deleted from the outbox when so many have come together, or the oldest of them has waited so many
# seconds, or none is under way.
_DELETED_AT_ONCE = 256
_DELETE_S = 1.0
# Seconds after which an alert that the broker refused is sent again.
_REFUSED_PAUSE_S = 60.0
# Seconds for the broker to acknowledge `offline`, and then for the connection to end: together little more than 1 s.
_FAREWELL_S = 0.7
_HANG_UP_S = 0.5
# Messages from outside that wait for the loop.
_MOST_WAITING = 64
# Bytes of the payload of one, and of its packet; MQTT 5 lets the broker know.
_MOST_PAYLOAD = 1 << 16
_MOST_PACKET = 1 << 17


class Publisher:
    """Publishes what the daemon says; the network runs in a thread of its own.

    Parameters
    ----------
    config
        The section ``mqtt``.
    node
        Name of this node.
    instance
        Distinguishes this installation's client from another's of the same name.
    filters
        Topics to listen to.
    on_progress
        Called, in any thread, when there may be something for `pump` to do.

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
        # Filled by the network thread, emptied by the loop: session, message id, and why it was refused if it was.
        self._outcomes: deque[tuple[Session, int, str]] = deque()
        # Of the session that alerts go to: message id → row of the outbox, what is to be sent next, the last row
        # read; rows that the broker has taken since the outbox last deleted some, and when it last refused one.
        self._pumped: Session | None = None
        self._in_flight: dict[int, int] = {}
        self._next: deque[tuple[int, bytes]] = deque()
        self._last_read = 0
        self._delivered: list[int] = []
        self._deleted_at = 0.0
        self._refused_at = 0.0
        #: Alerts that the broker refused to take, so far.
        self.refused = 0
        self._greeted: Session | None = None
        # Filled by the network thread, emptied by the loop.
        self._arrived: deque[Received] = deque(maxlen=_MOST_WAITING)
        #: Messages from outside that were too large, or too many to wait for the loop.
        self.discarded = 0

    def start(self) -> None:
        """Begin to connect, and keep connecting for ever."""
        self._connection.start()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the connection."""
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
        """Whether there was a new connection since the last call: retained messages must be published again."""
        session = self._connection.session
        if not self.connected or session is self._greeted:
            return False
        self._greeted = session
        return True

    def publish(self, leaf: str, payload: msgspec.Struct, *, qos: int, retain: bool) -> None:
        """Publish a status of the moment; dropped when there is no connection, since it will be said again."""
        self.send(topic(self.config.prefix, self._node, leaf), msgspec.json.encode(payload), qos=qos, retain=retain)

    def send(self, name: str, payload: bytes, *, qos: int, retain: bool = False, correlation: bytes = b"") -> None:
        """Publish JSON on any topic; dropped when there is no connection.

        Parameters
        ----------
        correlation
            What ties an answer to its question, under MQTT 5.
        """
        session = self._connection.session
        if session is not None and self.connected:
            session.publish(name, payload, qos=qos, retain=retain, correlation=correlation)

    def received(self) -> list[Received]:
        """What has arrived since the last call, oldest first; at most 64 messages wait, the oldest go first."""
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def pump(self, outbox: Outbox) -> None:
        """Delete from the outbox what was delivered, send what waits, at most twenty alerts at once."""
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
        """Send what waits, say `offline`, hang up; within a second, whatever the broker does."""
        session = self._connection.session
        if session is not None and self.connected:
            self.pump(outbox)
            failure = session.bid_farewell(self._farewell, _FAREWELL_S)
            if failure:
                _LOG.warning("mqtt: could not say goodbye: %s", failure)
        self._settle(outbox)
        self._delete(outbox)
        self._connection.stop(_HANG_UP_S)

    def _rewind(self) -> None:
        """Begin again with the oldest alert that waits: what was under way, or refused, is sent again."""
        self._next.clear()
        self._last_read = 0
        self._refused_at = 0.0

    def _settle(self, outbox: Outbox) -> None:
        """Work through what the network thread reported."""
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
        # Few transactions wear a disk less than many.
        if self._delivered and (
            not self._in_flight
            or len(self._delivered) >= _DELETED_AT_ONCE
            or time.monotonic() >= self._deleted_at + _DELETE_S
        ):
            self._delete(outbox)

    def _delete(self, outbox: Outbox) -> None:
        """Delete from the outbox the alerts that the broker has."""
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
            _LOG.error("mqtt: the broker does not let us listen to %s (%s) – check its ACL", name, reason)

    def _on_message(self, message: Received) -> None:
        if len(self._arrived) == _MOST_WAITING:
            self.discarded += 1
        self._arrived.append(message)

    def _on_unusable(self, reason: str) -> None:
        del reason
        self.discarded += 1
