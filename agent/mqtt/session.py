"""One session with a broker, from CONNECT to its end.

A session uses one version of MQTT, 5 or 3.1.1; `agent.mqtt.connection` chooses the version and makes new sessions.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.mqtt.bulk_client import BulkClient
from agent.mqtt.failures import HUNG_UP, NO_ANSWER, Cause, cause_of, cause_of_refusal, why
from agent.mqtt.received import Received
from agent.mqtt.slim_paho import mqtt

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from paho.mqtt.reasoncodes import ReasonCode

    from agent.mqtt.endpoint import Endpoint


__all__ = [
    "MOST_IN_FLIGHT",
    "NOT_TEXT",
    "TOO_LARGE",
    "VERSIONS",
    "Bulk",
    "Callbacks",
    "Profile",
    "RetainedText",
    "Session",
    "topic_matches",
    "version_text",
]

# Fixed at WARNING, so that `--verbose` does not log every packet.
_PAHO_LOG = logging.getLogger("paho")
_PAHO_LOG.setLevel(logging.WARNING)
#: Messages of quality of service 1 that await their PUBACK at once; mosquitto's default for `max_inflight_messages`.
MOST_IN_FLIGHT = 20
# Messages of quality of service 1 that paho keeps, those in flight included; chosen by hand. Others are dropped: a
# status is published again later, an alert is still in the outbox.
_MOST_QUEUED = 40
#: Versions of MQTT, in the order of preference.
VERSIONS = (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311)
#: Reasons why a received message cannot be used; see `Callbacks.on_unusable`.
TOO_LARGE = "too large"
NOT_TEXT = "topic that is not text"

#: Whether a topic matches a filter with ``+`` and ``#``: ``topic_matches(filter, topic)``.
topic_matches: Callable[[str, str], bool] = mqtt.topic_matches_sub


class RetainedText(NamedTuple):
    """A short retained message of quality of service 1: a birth message or a last will."""

    topic: str
    payload: str


class Bulk(NamedTuple):
    """Settings to receive thousands of small messages a second; see `agent.mqtt.bulk_client`.

    Parameters
    ----------
    take
        Called with topic and payload of each message of quality of service 0 under MQTT 3.1.1, instead of
        `Callbacks.on_message`.
    most_packet
        Bytes of the largest packet; larger ones are skipped.
    """

    take: Callable[[bytes, bytes], None]
    most_packet: int


class Profile(NamedTuple):
    """Client identifier, last will, subscriptions and limits of a session.

    Parameters
    ----------
    client_id
        Client identifier; empty: a random one.
    versions
        Versions of MQTT to try, in this order.
    birth, will
        Birth message, published at the start of the session; and last will, which the broker publishes if the session
        is lost.
    filters
        Topics to subscribe to, with ``+`` and ``#``.
    qos
        Quality of service of these subscriptions.
    share
        Group of a shared subscription, under MQTT 5; empty: not shared.
    most_packet
        Bytes of the largest packet that the broker may send, under MQTT 5; None: unlimited.
    most_payload
        Bytes of the largest payload that is passed on; None: unlimited.
    answer_timeout_s
        Seconds to wait for a TCP connection, and for the broker's answer.
    first_pause_s, longest_pause_s
        Bounds of the back-off between sessions; it doubles until the broker accepts a session.
    bulk
        Use the client for high message rates; None: paho's own.
    """

    client_id: str = ""
    versions: tuple[MQTTProtocolVersion, ...] = VERSIONS
    birth: RetainedText | None = None
    will: RetainedText | None = None
    filters: tuple[str, ...] = ()
    qos: int = 1
    share: str = ""
    most_packet: int | None = None
    most_payload: int | None = None
    answer_timeout_s: float = 3.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0
    bulk: Bulk | None = None


def _ignore(*_: object) -> None:
    """No-op callback: the default, and that of a closed session."""


class Callbacks(NamedTuple):
    """Functions that a session calls, in the network thread.

    Parameters
    ----------
    on_accepted
        The broker has accepted the session.
    on_subscribed
        The broker has answered the subscription. Argument: reason by refused filter.
    on_message
        A message was received.
    on_unusable
        A received message was discarded. Argument: `TOO_LARGE` or `NOT_TEXT`.
    on_published
        The broker has answered a message of quality of service 1. Arguments: the session, the packet identifier, and
        the reason of a refusal, empty if accepted.
    on_ended
        The session has ended, or could not begin, unless `Session.hang_up` ended it.
    """

    on_accepted: Callable[[Session], None] = _ignore
    on_subscribed: Callable[[dict[str, str]], None] = _ignore
    on_message: Callable[[Received], None] = _ignore
    on_unusable: Callable[[str], None] = _ignore
    on_published: Callable[[Session, int, str], None] = _ignore
    on_ended: Callable[[Session], None] = _ignore


class Session:
    """One session; `run` serves it in the caller's thread.

    Parameters
    ----------
    endpoint
        The broker.
    profile
        Client identifier, last will, subscriptions and limits.
    version
        Version of MQTT.
    callbacks
        Functions to call.
    """

    def __init__(
        self, endpoint: Endpoint, profile: Profile, version: MQTTProtocolVersion, callbacks: Callbacks
    ) -> None:
        self._endpoint = endpoint
        self._profile = profile
        self._callbacks = callbacks
        self.version = version
        #: Why the session ended or could not begin; empty without a failure.
        self.failure = ""
        #: Kind of the failure.
        self.cause = Cause.NONE
        #: Whether the broker has accepted the session, or refused it.
        self.accepted = self.refused = False
        # Set once the broker has answered, also with a refusal.
        self._answered = threading.Event()
        self._ended = threading.Event()
        # None after the end, since the client would keep its sockets open.
        self._client: mqtt.Client | None = self._make_client()

    def _make_client(self) -> mqtt.Client:
        endpoint, profile = self._endpoint, self._profile
        settings: dict[str, Any] = {
            "callback_api_version": CallbackAPIVersion.VERSION2,
            "client_id": profile.client_id,
            "protocol": self.version,
            "reconnect_on_failure": False,
        }
        if profile.bulk is None:
            client = mqtt.Client(**settings)
        else:
            too_large = partial(self._callbacks.on_unusable, TOO_LARGE)
            client = BulkClient(profile.bulk.take, profile.bulk.most_packet, too_large, **settings)
        client.connect_timeout = profile.answer_timeout_s
        # Paho logs exceptions of callbacks; otherwise they would end the network thread silently.
        client.suppress_exceptions = True
        client.enable_logger(_PAHO_LOG)
        client.max_inflight_messages_set(MOST_IN_FLIGHT)
        client.max_queued_messages_set(_MOST_QUEUED)
        if endpoint.username is not None or endpoint.password is not None:
            client.username_pw_set(endpoint.username or "", endpoint.password)
        if endpoint.context is not None:
            client.tls_set_context(endpoint.context)
        if profile.will is not None:
            client.will_set(*profile.will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def run(self) -> None:
        """Connect and serve the session until it ends."""
        client, properties = self._client, None
        if client is None:  # a session runs only once
            return
        if self.version is MQTTProtocolVersion.MQTTv5 and self._profile.most_packet is not None:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = self._profile.most_packet
        try:
            client.connect(self._endpoint.host, self._endpoint.port, self._endpoint.keepalive_s, properties=properties)
            self._serve(client)
        except Exception as error:  # noqa: BLE001 - every failure is reported, and the next session follows
            self.failure, self.cause = why(error), cause_of(error)
        if client.socket() is not None:
            client.disconnect()
        client.loop_stop()
        self._drop(client)

    def _serve(self, client: mqtt.Client) -> None:
        timeout_s = self._profile.answer_timeout_s
        if isinstance(client, BulkClient):
            until = time.monotonic() + timeout_s
            client.listen(lambda: self._ended.is_set() or not (self._answered.is_set() or time.monotonic() < until))
            answered = self._answered.is_set()
        else:
            client.loop_start()
            answered = self._answered.wait(timeout_s)
            if answered:
                self._ended.wait()
        if not answered:
            self._fail(NO_ANSWER, Cause.SILENT)

    def _drop(self, client: mqtt.Client) -> None:
        """Drop client and callbacks: the reference cycle would keep sockets open until garbage collection."""
        client.on_connect = client.on_disconnect = client.on_publish = client.on_message = client.on_subscribe = None
        self._callbacks = Callbacks()
        self._client = None

    def hang_up(self) -> None:
        """Disconnect, which ends `run`; safe in any thread."""
        self._answered.set()
        self._ended.set()
        client = self._client
        if self._profile.bulk is not None and client is not None:  # its loop does not wait for the event
            client.disconnect()

    def publish(
        self,
        topic: str,
        payload: bytes | str,
        *,
        qos: int,
        retain: bool = False,
        expiry_s: int = 0,
        correlation: bytes = b"",
    ) -> int | None:
        """Send a message; returns its packet identifier, None if the queue is full or the session has ended.

        Parameters
        ----------
        expiry_s
            Under MQTT 5, seconds after which the broker drops the undelivered message; 0: never.
        correlation
            Correlation data of an answer, under MQTT 5.
        """
        client, properties = self._client, None
        if client is None:
            return None
        if self.version is MQTTProtocolVersion.MQTTv5:
            properties = _message_properties(expiry_s, correlation)
        info = client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        return None if info.rc is mqtt.MQTT_ERR_QUEUE_SIZE else info.mid

    def bid_farewell(self, message: RetainedText, timeout_s: float) -> str:
        """Send a retained message and wait for its PUBACK; returns the reason of a failure, empty without one.

        Parameters
        ----------
        timeout_s
            Seconds to wait; no PUBACK in this time is no failure.
        """
        client = self._client
        if client is None:
            return "the session has ended"
        try:
            info = client.publish(*message, qos=1, retain=True)
            info.wait_for_publish(timeout_s)
        except (ValueError, RuntimeError) as error:
            return str(error)
        return ""

    def suggests_older(self) -> bool:
        """Whether to try MQTT 3.1.1: the broker refused MQTT 5, hung up, or did not answer."""
        return (
            self.version is MQTTProtocolVersion.MQTTv5
            and not self.accepted
            and (self.cause is Cause.VERSION or self.failure in {HUNG_UP, NO_ANSWER})
        )

    def _fail(self, failure: str, cause: Cause) -> None:
        """Note a failure, unless an earlier one explains the end of the session."""
        if not self.failure:
            self.failure, self.cause = failure, cause

    def _subscribe(self, client: mqtt.Client) -> None:
        profile = self._profile
        if not profile.filters:
            return
        if self.version is MQTTProtocolVersion.MQTTv5:
            group = f"$share/{profile.share}/" if profile.share else ""
            # Keep the retain flag as published: a command with it is refused.
            options = SubscribeOptions(qos=profile.qos, retainAsPublished=True)
            client.subscribe([(f"{group}{name}", options) for name in profile.filters])
        else:
            client.subscribe([(name, profile.qos) for name in profile.filters])

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        del userdata, flags, properties
        if reason.is_failure:
            self._fail(f"refused: {reason}", cause_of_refusal(reason.value))
            self.refused = True
            self.hang_up()
            return
        self._answered.set()
        self.accepted = True
        if self._profile.birth is not None:
            client.publish(*self._profile.birth, qos=1, retain=True)
        self._subscribe(client)
        self._callbacks.on_accepted(self)

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        del client, userdata, flags, properties
        if self.accepted:
            self._fail(f"connection lost: {reason}", Cause.OTHER)
        else:
            self._fail(HUNG_UP, Cause.SILENT)
        self._answered.set()
        self._ended.set()

    def _on_subscribe(
        self, client: mqtt.Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        del client, userdata, mid, properties
        answers = zip(self._profile.filters, reasons, strict=False)
        self._callbacks.on_subscribed({name: str(reason) for name, reason in answers if reason.is_failure})

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        most = self._profile.most_payload
        if most is not None and len(message.payload) > most:
            self._callbacks.on_unusable(TOO_LARGE)
            return
        try:
            name = message.topic
        except UnicodeDecodeError:
            self._callbacks.on_unusable(NOT_TEXT)
            return
        asked = message.properties
        response, correlation = getattr(asked, "ResponseTopic", ""), getattr(asked, "CorrelationData", b"")
        self._callbacks.on_message(Received(name, bytes(message.payload), message.retain, response, correlation))

    def _on_publish(self, client: mqtt.Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        del client, userdata, properties
        self._callbacks.on_published(self, mid, str(reason) if reason.is_failure else "")


@lru_cache(maxsize=4)
def _message_properties(expiry_s: int, correlation: bytes) -> Properties:
    """Properties of a message; cached, since they take more memory than the message itself."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    if correlation:
        properties.CorrelationData = correlation
    return properties


def version_text(version: MQTTProtocolVersion) -> str:
    """``MQTT 5`` or ``MQTT 3.1.1``."""
    return "MQTT 5" if version is MQTTProtocolVersion.MQTTv5 else "MQTT 3.1.1"
