"""Speaks MQTT: birth, last will, state, alerts, metrics and health, over a connection that always comes back.

MQTT 5 is tried first and 3.1.1 where the broker does not speak it; what worked is remembered. Every connection is a
new client with an empty queue: what must not be lost waits in the outbox, and nowhere else. What arrives waits in a
short queue until the loop asks for it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.messages.topics import topic
from agent.mqtt.failures import broker_place, remedy_for
from agent.mqtt.received import Received
from agent.mqtt.secrets import read_secret
from agent.mqtt.session import MOST_IN_FLIGHT, VERSIONS, Session, message_properties, version_text
from agent.mqtt.slim_paho import mqtt
from agent.mqtt.tls import ssl_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from paho.mqtt.reasoncodes import ReasonCode

    from agent.delivery.outbox import Outbox
    from agent.mqtt.settings import MqttConfig


__all__ = ["Publisher"]

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_READ_AHEAD = 200
# The outbox is told of deliveries when so many have come together, after so long, or when none is under way.
_TOLD_AT_ONCE = 256
_TELL_S = 1.0
# What the broker refused is offered again after this time.
_REFUSED_PAUSE_S = 60.0
_FAREWELL_S = 0.7
# Of what arrives: messages that wait for the loop, bytes of a payload, and of a packet, which MQTT 5 lets us ask for.
_MOST_WAITING = 64
_MOST_PAYLOAD = 1 << 16


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
        self._filters = tuple(filters)
        self._node = node
        self._client_id = f"edgewatch-{node}-{instance}"
        self._password = read_secret(config.password_file)
        self._context = ssl_context(config.tls) if config.tls else None
        self._version = VERSIONS[0]
        self._session: Session | None = None
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        # Filled by the network thread, emptied by the loop: session, message id, and why it was refused if it was.
        self._outcomes: deque[tuple[Session, int, str]] = deque()
        # Of the session that alerts go to: message id → place in the outbox, what is to be sent next, the last place
        # read; places that the broker has taken since the outbox was last told, and when it last refused one.
        self._pumped: Session | None = None
        self._in_flight: dict[int, int] = {}
        self._next: deque[tuple[int, bytes]] = deque()
        self._last_read = 0
        self._delivered: list[int] = []
        self._told_at = 0.0
        self._refused_at = 0.0
        self._on_progress = on_progress
        #: Alerts that the broker refused to take, so far.
        self.refused = 0
        self._greeted: Session | None = None
        #: Connections made so far.
        self.sessions = 0
        # Filled by the network thread, emptied by the loop.
        self._arrived: deque[Received] = deque(maxlen=_MOST_WAITING)
        #: Messages from outside that were too large, or too many to wait for the loop.
        self.discarded = 0

    def start(self) -> None:
        """Begin to connect, and keep connecting for ever."""
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether the broker has let us in."""
        return self._connected.is_set()

    @property
    def reconnects(self) -> int:
        """Connections made after the first."""
        return max(0, self.sessions - 1)

    def renewed(self) -> bool:
        """Whether there was a new connection since the last call: retained messages must be said again."""
        if not self.connected or self._session is self._greeted:
            return False
        self._greeted = self._session
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
        session = self._session
        if session is not None and self.connected:
            self._send(session, name, payload, qos=qos, retain=retain, correlation=correlation)

    def received(self) -> list[Received]:
        """What has arrived since the last call, oldest first; at most 64 messages wait, the oldest go first."""
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def pump(self, outbox: Outbox) -> None:
        """Delete from the outbox what was delivered, send what waits, at most twenty alerts at once."""
        self._settle(outbox)
        session = self._session
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
            place, payload = self._next[0]
            mid = self._send(session, name, payload, qos=1, expiry_s=self.config.alert_expiry_s)
            if mid is None:
                return
            self._next.popleft()
            self._last_read = max(self._last_read, place)
            self._in_flight[mid] = place

    def stop(self, outbox: Outbox) -> None:
        """Send what waits, say `offline`, hang up; within a second, whatever the broker does."""
        session = self._session
        if session is not None and self.connected:
            self.pump(outbox)
            status = topic(self.config.prefix, self._node, "status")
            info = session.client.publish(status, "offline", qos=1, retain=True)
            try:
                info.wait_for_publish(_FAREWELL_S)
            except (ValueError, RuntimeError) as error:
                _LOG.warning("mqtt: could not say goodbye: %s", error)
        self._settle(outbox)
        self._tell(outbox)
        self._stopping.set()
        if session is not None:
            session.hang_up()
        if self._thread.is_alive():
            self._thread.join(0.5)

    def _rewind(self) -> None:
        """Begin again with the oldest alert that waits: what was under way, or refused, is sent again."""
        self._next.clear()
        self._last_read = 0
        self._refused_at = 0.0

    def _settle(self, outbox: Outbox) -> None:
        """Work through what the network thread reported."""
        while self._outcomes:
            session, mid, refusal = self._outcomes.popleft()
            place = self._in_flight.pop(mid, None) if session is self._pumped else None
            if place is None:
                continue
            if refusal:
                self.refused += 1
                self._refused_at = time.monotonic()
                _LOG.error("mqtt: the broker refused an alert (%s); it stays in the outbox – check its ACL", refusal)
            else:
                self._delivered.append(place)
        # Few transactions wear a disk less than many.
        if self._delivered and (
            not self._in_flight or len(self._delivered) >= _TOLD_AT_ONCE or time.monotonic() >= self._told_at + _TELL_S
        ):
            self._tell(outbox)

    def _tell(self, outbox: Outbox) -> None:
        """Have the outbox forget what the broker has."""
        outbox.acknowledge(self._delivered)
        self._delivered = []
        self._told_at = time.monotonic()

    @staticmethod
    def _send(
        session: Session,
        name: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool = False,
        expiry_s: int = 0,
        correlation: bytes = b"",
    ) -> int | None:
        """Number of the message; None if the broker acknowledges so little that it was not taken."""
        properties = None
        if session.version is MQTTProtocolVersion.MQTTv5:
            properties = message_properties(expiry_s, correlation)
        info = session.client.publish(name, payload, qos=qos, retain=retain, properties=properties)
        return None if info.rc is mqtt.MQTT_ERR_QUEUE_SIZE else info.mid

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        said = ""
        while not self._stopping.is_set():
            session = self._make_session()
            session.run()
            self._connected.clear()
            if self._stopping.is_set():
                return
            if session.speaks_older():
                _LOG.info("mqtt: %s does not speak MQTT 5, trying 3.1.1", broker_place(self.config))
                self._version = MQTTProtocolVersion.MQTTv311
                continue
            if session.accepted:
                pause_s, said = _FIRST_PAUSE_S, ""
            elif self._version is not VERSIONS[0] and not self.sessions:
                self._version = VERSIONS[0]  # perhaps another broker answers next time
            if session.failure != said:
                said = session.failure
                remedy = remedy_for(self.config, said) if not session.accepted else "reconnecting"
                _LOG.warning("mqtt: %s: %s – %s", broker_place(self.config), said, remedy)
            # Full jitter, so that a thousand agents do not come back in the same second.
            self._stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _make_session(self) -> Session:
        session = Session(self.config, self._client_id, self._version, self._password, self._context, self._on_accepted)
        session.client.will_set(topic(self.config.prefix, self._node, "status"), "offline", qos=1, retain=True)

        def published(client: mqtt.Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
            del client, userdata, properties
            self._outcomes.append((session, mid, str(reason) if reason.is_failure else ""))
            self._on_progress()

        session.client.on_publish = published
        session.client.on_message = self._on_message
        session.client.on_subscribe = self._on_subscribe
        return session

    def _on_accepted(self, session: Session) -> None:
        session.client.publish(topic(self.config.prefix, self._node, "status"), "online", qos=1, retain=True)
        if self._filters and session.version is MQTTProtocolVersion.MQTTv5:
            # As published: a command that is to be kept is told from one for now.
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            session.client.subscribe([(name, options) for name in self._filters])
        elif self._filters:
            session.client.subscribe([(name, 1) for name in self._filters])
        self.sessions += 1
        self._session = session
        self._connected.set()
        self._on_progress()
        _LOG.info("mqtt: connected to %s with %s", broker_place(self.config), version_text(session.version))

    def _on_subscribe(
        self, client: mqtt.Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        del client, userdata, mid, properties
        for name, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure:
                _LOG.error("mqtt: the broker does not let us listen to %s (%s) – check its ACL", name, reason)

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        large = len(message.payload) > _MOST_PAYLOAD
        if large or len(self._arrived) == _MOST_WAITING:
            self.discarded += 1
        if large:
            return
        asked = message.properties
        self._arrived.append(
            Received(
                message.topic,
                bytes(message.payload),
                message.retain,
                getattr(asked, "ResponseTopic", ""),
                getattr(asked, "CorrelationData", b""),
            )
        )
