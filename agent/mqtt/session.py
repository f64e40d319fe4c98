"""One connection to a broker from CONNECT to its end.

MQTT 5 or 3.1.1: the caller chooses the version and tries the other where `Session.speaks_older` says so.
"""

from __future__ import annotations

import logging
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.mqtt.failures import HUNG_UP, NO_ANSWER, why
from agent.mqtt.slim_paho import mqtt

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from paho.mqtt.reasoncodes import ReasonCode

    from agent.mqtt.settings import MqttConfig


__all__ = ["ANSWER_TIMEOUT_S", "MOST_IN_FLIGHT", "VERSIONS", "Session", "message_properties", "version_text"]

# Its own level, so that paho's packet-by-packet notes stay out of `--verbose`.
_PAHO_LOG = logging.getLogger("paho")
_PAHO_LOG.setLevel(logging.WARNING)
ANSWER_TIMEOUT_S = 3.0
MOST_IN_FLIGHT = 20
# Messages that the broker has not acknowledged; what is said of the moment beyond that will be said again.
_MOST_QUEUED = 40
_MOST_PACKET = 1 << 17
VERSIONS = (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311)
_UNSUPPORTED_VERSION = "Unsupported protocol version"


class Session:
    """One connection from CONNECT to its end, run in the caller's thread."""

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        version: MQTTProtocolVersion,
        password: str | None,
        context: ssl.SSLContext | None,
        on_accepted: Callable[[Session], None],
    ) -> None:
        self.config = config
        # Called in the network thread as soon as the broker has let us in.
        self._tell_accepted = on_accepted
        self.version = version
        #: Why the session ended or never began; empty while all is well.
        self.failure = ""
        #: Whether the broker let us in.
        self.accepted = False
        # Whether the broker answered at all, be it with a refusal.
        self._answered = threading.Event()
        self._ended = threading.Event()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, reconnect_on_failure=False
        )
        client.connect_timeout = ANSWER_TIMEOUT_S
        # An exception in a callback must not end paho's thread unseen; it is logged by paho instead.
        client.suppress_exceptions = True
        client.enable_logger(_PAHO_LOG)
        client.max_inflight_messages_set(MOST_IN_FLIGHT)
        client.max_queued_messages_set(_MOST_QUEUED)
        if config.username is not None or password is not None:
            client.username_pw_set(config.username or "", password)
        if context is not None:
            client.tls_set_context(context)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        self.client = client

    def run(self) -> None:
        """Connect and serve the connection until it ends."""
        host, port = self.config.address
        properties = None
        if self.version is MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = _MOST_PACKET
        try:
            self.client.connect(host, port, self.config.keepalive_s, properties=properties)
            self.client.loop_start()
            if self._answered.wait(ANSWER_TIMEOUT_S):
                self._ended.wait()
            else:
                self.failure = self.failure or NO_ANSWER
        except Exception as error:  # noqa: BLE001 - whatever it is: it is said, and the next try comes
            self.failure = why(error)
        if self.client.socket() is not None:
            self.client.disconnect()
        self.client.loop_stop()
        self._let_go()

    def _let_go(self) -> None:
        """Part with who was called: what refers to itself in a circle keeps its sockets until garbage is collected."""
        client = self.client
        client.on_connect = client.on_disconnect = client.on_publish = client.on_message = client.on_subscribe = None
        self._tell_accepted = _nobody

    def hang_up(self) -> None:
        """Let `run` end the session; safe in any thread."""
        self._answered.set()
        self._ended.set()

    def speaks_older(self) -> bool:
        """Whether the broker's behaviour suggests that it does not know this version of MQTT."""
        return (
            self.version is MQTTProtocolVersion.MQTTv5
            and not self.accepted
            and (_UNSUPPORTED_VERSION in self.failure or self.failure in {HUNG_UP, NO_ANSWER})
        )

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        del client, userdata, flags, properties
        if reason.is_failure:
            self.failure = f"refused: {reason}"
            self._ended.set()
            self._answered.set()
            return
        self._answered.set()
        self.accepted = True
        self._tell_accepted(self)

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        del client, userdata, flags, properties
        if not self.failure:
            self.failure = HUNG_UP if not self.accepted else f"connection lost: {reason}"
        self._answered.set()
        self._ended.set()


@lru_cache(maxsize=4)
def message_properties(expiry_s: int, correlation: bytes) -> Properties:
    """Properties of a message, which take more memory than it: the same for all like it."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    if correlation:
        properties.CorrelationData = correlation
    return properties


def _nobody(session: Session) -> None:
    """Whom a session tells that is over."""


def version_text(version: MQTTProtocolVersion) -> str:
    """The version of MQTT, for a person."""
    return "MQTT 5" if version is MQTTProtocolVersion.MQTTv5 else "MQTT 3.1.1"
