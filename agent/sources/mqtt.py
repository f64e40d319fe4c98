"""Readings that others publish: every topic that matches becomes a channel, or several where its payload is JSON.

What Zigbee2MQTT, Tasmota, Home Assistant's state stream, Shelly and most others publish needs no description: a payload
that is a number (with or without a unit), a state such as ``ON``, or a JSON document, whose numbers are channels by
their paths. A list of ``{"name": …, "value": …}`` under ``metrics``, as Sparkplug has it, is channels by these names.
"""

from __future__ import annotations

import logging
import threading
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from msgspec import Meta
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.mqtt.bulk_client import BulkClient
from agent.mqtt.failures import why
from agent.mqtt.secrets import secret_in
from agent.mqtt.settings import TlsConfig  # noqa: TC001 - msgspec resolves the hint at run time
from agent.mqtt.slim_paho import mqtt
from agent.mqtt.tls import ssl_context
from agent.sources.payload import NoReading, at_path, decoded, flattened, number
from agent.sources.push_buffer import ArrivalsConfig, Arriving

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

    from agent.sources.base import SourceConfig

__all__ = ["MqttSource", "MqttSourceConfig", "TopicConfig", "readings"]

_LOG = logging.getLogger(__name__)
_PAHO_LOG = logging.getLogger("paho")
_MOST_PAYLOAD = 1 << 20
# With the longest topic there is.
_MOST_PACKET = _MOST_PAYLOAD + (1 << 16) + 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_ANSWER_TIMEOUT_S = 5.0
# A plain number is shorter than this.
_SHORT = 24
_PLAIN = frozenset(b"0123456789+-.eE")
# What agents say, and what Home Assistant is told, is no reading unless a filter names it: an agent that hears itself
# would find itself ever more unusual.
_OF_NOBODY = frozenset({"edgewatch", "homeassistant"})
# Topics whose names are remembered, a place.
_REMEMBERED = 4


class TopicConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topics to listen to.

    Parameters
    ----------
    filter
        As MQTT has it, with ``+`` and ``#``.
    values
        Paths in JSON documents, such as ``ENERGY.Power``; without, all numbers in them.
    ignore
        Paths that are left out; ``*`` and ``?`` stand for others.
    strip
        Leading levels of the topic that are no part of the channel's name.
    """

    filter: Annotated[str, Meta(min_length=1, description="As MQTT has it, with `+` and `#`.")]
    values: Annotated[tuple[str, ...], Meta(description="Paths in JSON documents; without, all numbers in them.")] = ()
    ignore: Annotated[tuple[str, ...], Meta(description="Paths to leave out; `*` and `?` stand for others.")] = ()
    strip: Annotated[
        int, Meta(ge=0, le=32, description="Leading levels of the topic that are no part of the name.")
    ] = 0

    def __post_init__(self) -> None:
        levels = self.filter.split("/")
        if any(("#" in level and (level != "#" or index < len(levels) - 1)) or ("+" in level and level != "+")
               for index, level in enumerate(levels)):  # fmt: skip
            raise ValueError(f"{self.filter!r} is no filter: + stands for a whole level, # for all that follow")


class MqttSourceConfig(ArrivalsConfig, frozen=True, kw_only=True):
    """Keys of the `mqtt` source.

    Parameters
    ----------
    topics
        What to listen to.
    host, port
        The broker; the port is 1883, or 8883 with TLS, unless given.
    username, password_file
        The password is the first line of a file.
    tls
        Present: the connection is encrypted and checked.
    qos
        0 or 1.
    share
        Name of a group of agents that divide the messages among themselves, under MQTT 5.
    """

    topics: Annotated[tuple[TopicConfig, ...], Meta(min_length=1, max_length=256, description="What to listen to.")]
    host: Annotated[str, Meta(min_length=1, description="The broker.")] = "localhost"
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None, Meta(description="1883, or 8883 with TLS, unless given.")
    ] = None
    username: Annotated[str | None, Meta(description="As the broker knows the agent.")] = None
    password_file: Annotated[str | None, Meta(description="Its first line is the password.")] = None
    tls: Annotated[
        TlsConfig | None, Meta(description="`ca_file`, `cert_file`, `key_file`: as in the section `mqtt`.")
    ] = None
    qos: Annotated[int, Meta(ge=0, le=1, description="0 or 1.")] = 0
    share: Annotated[str, Meta(pattern="^[^/+#]*$", description="Agents of one group divide the messages.")] = ""


def readings(topic: str, payload: bytes, spec: TopicConfig) -> list[tuple[str, float]]:
    """Readings in a message, by the names of their channels.

    Raises
    ------
    NoReading
        There is none.

    Examples
    --------
    >>> readings("kitchen", b'{"temperature": 21.5, "linkquality": 80}', TopicConfig("z/+", ignore=("link*",)))
    [('kitchen.temperature', 21.5)]
    """
    if len(payload) > _MOST_PAYLOAD:
        raise NoReading("payload larger than 1 MiB")
    document = decoded(payload)
    if not isinstance(document, dict | list):
        return [(topic, number(document))]
    if spec.values:
        found = [(path, number(at_path(document, path))) for path in spec.values if _is_there(document, path)]
    else:
        found = list(flattened(_by_names(document)))
    kept = [
        (f"{topic}.{path}", value)
        for path, value in found
        if not any(fnmatchcase(path, pattern) for pattern in spec.ignore)
    ]
    if not kept:
        raise NoReading("document without a number")
    return kept


def _is_there(document: Any, path: str) -> bool:
    try:
        number(at_path(document, path))
    except NoReading:
        return False
    return True


def _by_names(document: Any) -> Any:
    """A document whose metrics are listed with their names, by these names; others as they are."""
    metrics = document.get("metrics") if isinstance(document, dict) else None
    if isinstance(metrics, list) and all(isinstance(each, dict) and "name" in each for each in metrics):
        return {str(each["name"]): each.get("value") for each in metrics}
    return document


class MqttSource(Arriving):
    """Listens in a thread of its own, over a connection that always comes back.

    Raises
    ------
    UserError
        Password or TLS files cannot be used.
    """

    Config: ClassVar[type[SourceConfig]] = MqttSourceConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: MqttSourceConfig, interval_s: float) -> None:
        del interval_s
        self._config = config
        super().__init__(config)
        self._password = secret_in(Path(config.password_file), "$") if config.password_file else None
        self._context = ssl_context(config.tls, "$") if config.tls else None
        # By topic: what its channel's name begins with, and how its payloads are read.
        self._known: dict[bytes, tuple[str, TopicConfig]] = {}
        # The properties that MQTT 5 has for each message take longer to read than all else of it.
        self._version = MQTTProtocolVersion.MQTTv5 if config.share else MQTTProtocolVersion.MQTTv311
        self._accepted = False
        self._said = ""
        self._stopping = threading.Event()
        self._client: mqtt.Client | None = None
        self._thread = threading.Thread(target=self._run, name="mqtt-source", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        self._stopping.set()
        if (client := self._client) is not None:
            client.disconnect()
        self._thread.join(1.0)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            self._accepted = False
            failure = self._serve()
            if self._stopping.is_set():
                return
            if self._accepted:
                pause_s = _FIRST_PAUSE_S
            elif self._version is MQTTProtocolVersion.MQTTv5 and "protocol version" in failure.lower():
                self._version = MQTTProtocolVersion.MQTTv311
                continue
            self._say(failure or "the connection was lost")
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _serve(self) -> str:
        """Connect and listen until the connection ends; gives why there was none."""
        config, failure = self._config, ""
        client = BulkClient(
            self._take,
            _MOST_PACKET,
            lambda: self._arrivals.leave_out("too large"),
            callback_api_version=CallbackAPIVersion.VERSION2,
            protocol=self._version,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _ANSWER_TIMEOUT_S
        client.suppress_exceptions = True
        client.enable_logger(_PAHO_LOG)
        if config.username is not None or self._password is not None:
            client.username_pw_set(config.username or "", self._password)
        if self._context is not None:
            client.tls_set_context(self._context)

        def on_connect(client: mqtt.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
            nonlocal failure
            del userdata, flags, properties
            if reason.is_failure:
                failure = f"refused: {reason}"
                client.disconnect()
                return
            self._accepted = True
            client.subscribe([(self._shared(topic.filter), config.qos) for topic in config.topics])

        def on_subscribe(client: Any, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any) -> None:
            del client, userdata, mid, properties
            refused = [topic.filter for topic, reason in zip(config.topics, reasons, strict=False) if reason.is_failure]
            self._say(f"the broker refuses {', '.join(refused)}" if refused else "")

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = self._on_message
        self._client = client
        try:
            client.connect(config.host, config.port or (8883 if config.tls else 1883), keepalive=30)
            client.listen()
        except Exception as error:  # noqa: BLE001 - whatever it is: it is said, and the next try comes
            failure = why(error)
        finally:
            # What refers to itself in a circle keeps its socket until garbage is collected.
            client.on_connect = client.on_subscribe = client.on_message = None
            self._client = None
        return failure

    def _shared(self, name: str) -> str:
        shared = self._config.share and self._version is MQTTProtocolVersion.MQTTv5
        return f"$share/{self._config.share}/{name}" if shared else name

    def _say(self, what: str) -> None:
        if what and what != self._said:
            _LOG.warning("mqtt source, %s: %s", self._config.host, what)
        elif self._said and not what:
            _LOG.info("mqtt source, %s: listens", self._config.host)
        self._said = what

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        try:
            self._take(message.topic.encode(), bytes(message.payload))
        except UnicodeDecodeError:
            self._arrivals.leave_out("topic that is not text")

    def _take(self, topic: bytes, payload: bytes) -> None:
        """Take in a message, whichever way it came."""
        try:
            name, spec = self._known.get(topic) or self._of(topic)
            if len(payload) <= _SHORT and payload and _PLAIN.issuperset(payload):
                value = _plain(payload)
                if value is not None:
                    self._arrivals.take(((name, value),))
                    return
            self._arrivals.take(readings(name, payload, spec))
        except UnicodeDecodeError:
            self._arrivals.leave_out("topic that is not text")
        except NoReading as fault:
            self._arrivals.leave_out(str(fault))

    def _of(self, written: bytes) -> tuple[str, TopicConfig]:
        """What a topic's channels are called, and how its payloads are read."""
        topic = written.decode()
        if len(self._known) >= _REMEMBERED * self._arrivals.capacity:
            self._known.clear()  # topics without end are no readings of a sensor
        match = mqtt.topic_matches_sub
        spec = next((each for each in self._config.topics if match(each.filter, topic)), self._config.topics[0])
        if topic.partition("/")[0] in _OF_NOBODY and spec.filter[:1] in {"#", "+"}:
            raise NoReading("topic of an agent or of Home Assistant's discovery")
        found = self._known[written] = "/".join(topic.split("/")[spec.strip :]) or topic, spec
        return found


def _plain(payload: bytes) -> float | None:
    try:
        value = float(payload)
    except ValueError:
        return None
    return value if isfinite(value) else None
