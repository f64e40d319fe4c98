"""Readings published by other devices: every matching topic is a channel, or several if its payload is JSON.

A payload is a number (with or without a unit), a state such as ``ON``, or a JSON document, whose numbers are channels
named by their paths. This covers Zigbee2MQTT, Tasmota, Shelly and Home Assistant's state stream without further
settings. A list of ``{"name": …, "value": …}`` under ``metrics``, as in Sparkplug, gives channels by these names.
"""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from agent.mqtt.connection import Connection
from agent.mqtt.endpoint import Endpoint
from agent.mqtt.secrets import secret_in
from agent.mqtt.session import VERSIONS, Bulk, Callbacks, Profile, topic_matches
from agent.mqtt.settings import TlsConfig  # noqa: TC001 - msgspec resolves the hint at run time
from agent.mqtt.tls import ssl_context
from agent.sources.payload import NoReading, at_path, decoded, flattened, number
from agent.sources.push_buffer import ArrivalsConfig, Arriving

if TYPE_CHECKING:
    from agent.mqtt.received import Received
    from agent.sources.base import SourceConfig

__all__ = ["MqttSource", "MqttSourceConfig", "TopicConfig", "readings"]

_LOG = logging.getLogger(__name__)
# Bytes of a payload, enough for some ten thousand numbers; chosen by hand.
_MOST_PAYLOAD = 1 << 20
# Bytes of a packet: payload, the longest topic that MQTT allows, and headers.
_MOST_PACKET = _MOST_PAYLOAD + (1 << 16) + 8
# Seconds to wait for an answer of the broker; chosen by hand.
_ANSWER_TIMEOUT_S = 5.0
# Seconds to wait for the session to end; chosen by hand.
_FAREWELL_S = 1.0
# Bytes of a payload up to which a plain number is tried first; chosen by hand.
_SHORT = 24
# First levels ignored unless a filter names them: an agent that read its own messages would score its own anomalies.
_IGNORED_ROOTS = frozenset({"edgewatch", "homeassistant"})
# Bytes of plain numbers.
_PLAIN = frozenset(b"0123456789+-.eE")
# Topics whose channel names are cached, per channel; chosen by hand.
_CACHED_TOPICS = 4


class TopicConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topics to listen to."""

    filter: Annotated[str, Meta(min_length=1, description="Topic filter of MQTT, with `+` and `#`.")]
    values: Annotated[
        tuple[str, ...],
        Meta(description="Paths of numbers in JSON documents, such as `ENERGY.Power`. Default: all numbers."),
    ] = ()
    ignore: Annotated[
        tuple[str, ...], Meta(description="Paths in JSON documents to leave out; `*` and `?` match as in a shell.")
    ] = ()
    strip: Annotated[
        int, Meta(ge=0, le=32, description="Number of leading levels of the topic to leave out of the channel's name.")
    ] = 0

    def __post_init__(self) -> None:
        levels = self.filter.split("/")
        if any(("#" in level and (level != "#" or index < len(levels) - 1)) or ("+" in level and level != "+")
               for index, level in enumerate(levels)):  # fmt: skip
            raise ValueError(f"{self.filter!r} is not a filter: + stands for a whole level, # for all further levels")


class MqttSourceConfig(ArrivalsConfig, frozen=True, kw_only=True):
    """Keys of the `mqtt` source."""

    topics: Annotated[
        tuple[TopicConfig, ...], Meta(min_length=1, max_length=256, description="Topics to subscribe to.")
    ]
    host: Annotated[str, Meta(min_length=1, description="Host name or address of the broker.")] = "localhost"
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(description="TCP port of the broker. Default: 1883, or 8883 with `tls`."),
    ] = None
    username: Annotated[str | None, Meta(description="User name for the broker. Default: none.")] = None
    password_file: Annotated[
        str | None, Meta(description="File with the password for the broker in its first line.")
    ] = None
    tls: Annotated[
        TlsConfig | None,
        Meta(
            description=(
                "Encryption with `ca_file`, `cert_file` and `key_file`, as in the section `mqtt`. Default: no "
                "encryption."
            )
        ),
    ] = None
    qos: Annotated[int, Meta(ge=0, le=1, description="Quality of service of the subscriptions: 0 or 1.")] = 0
    share: Annotated[
        str,
        Meta(
            pattern="^[^/+#]*$",
            description="Name of a group of agents that divide the messages among themselves, under MQTT 5.",
        ),
    ] = ""


def readings(topic: str, payload: bytes, spec: TopicConfig) -> list[tuple[str, float]]:
    """Parse a message into readings, pairs of channel name and finite value.

    Parameters
    ----------
    topic
        Topic without the stripped levels; the channels' names begin with it.
    payload
        At most 1 MiB.
    spec
        Options of the topic's filter.

    Raises
    ------
    NoReading
        The payload holds no usable number.

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
    """Turn a Sparkplug-like list of metrics into a mapping by name; return other documents unchanged."""
    metrics = document.get("metrics") if isinstance(document, dict) else None
    if isinstance(metrics, list) and all(isinstance(each, dict) and "name" in each for each in metrics):
        return {str(each["name"]): each.get("value") for each in metrics}
    return document


class MqttSource(Arriving):
    """Subscribes in a thread of its own; a lost connection is restored.

    Raises
    ------
    UserError
        The password file or a TLS file cannot be used.
    """

    Config: ClassVar[type[SourceConfig]] = MqttSourceConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: MqttSourceConfig, interval_s: float) -> None:
        del interval_s
        self._config = config
        super().__init__(config)
        # Cache: topic → beginning of its channels' names, and options of its filter.
        self._known: dict[bytes, tuple[str, TopicConfig]] = {}
        endpoint = Endpoint(
            config.host,
            config.port or (8883 if config.tls else 1883),
            config.username,
            secret_in(Path(config.password_file), "$") if config.password_file else None,
            ssl_context(config.tls, "$") if config.tls else None,
            section="$.sources[mqtt]",
        )
        profile = Profile(
            # MQTT 3.1.1 unless a shared subscription needs MQTT 5, whose message properties cost more to parse than all
            # the rest of a message.
            versions=VERSIONS if config.share else VERSIONS[1:],
            filters=tuple(topic.filter for topic in config.topics),
            qos=config.qos,
            share=config.share,
            answer_timeout_s=_ANSWER_TIMEOUT_S,
            bulk=Bulk(self._take, _MOST_PACKET),
        )
        callbacks = Callbacks(
            on_subscribed=self._on_subscribed, on_message=self._on_message, on_unusable=self._arrivals.leave_out
        )
        self._connection = Connection(endpoint, profile, callbacks, "mqtt-source", _LOG)
        self._connection.start()

    def close(self) -> None:
        """Disconnect and stop the thread."""
        self._connection.stop(_FAREWELL_S)

    def _on_subscribed(self, refused: dict[str, str]) -> None:
        if refused:
            _LOG.warning(
                "mqtt source: the broker %s refuses the subscription to %s", self._config.host, ", ".join(refused)
            )

    def _on_message(self, message: Received) -> None:
        self._take(message.topic.encode(), message.payload)

    def _take(self, topic: bytes, payload: bytes) -> None:
        """Process a message, received in bulk or singly."""
        try:
            name, spec = self._known.get(topic) or self._look_up(topic)
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

    def _look_up(self, raw_topic: bytes) -> tuple[str, TopicConfig]:
        """Return the beginning of a topic's channel names, and the options of its filter; fills the cache."""
        topic = raw_topic.decode()
        if len(self._known) >= _CACHED_TOPICS * self._arrivals.capacity:
            self._known.clear()  # bounds the memory for endlessly many topics
        topics = self._config.topics
        spec = next((each for each in topics if topic_matches(each.filter, topic)), topics[0])
        if topic.partition("/")[0] in _IGNORED_ROOTS and spec.filter[:1] in {"#", "+"}:
            raise NoReading("topic of an agent or of Home Assistant's discovery")
        found = self._known[raw_topic] = "/".join(topic.split("/")[spec.strip :]) or topic, spec
        return found


def _plain(payload: bytes) -> float | None:
    try:
        value = float(payload)
    except ValueError:
        return None
    return value if isfinite(value) else None
