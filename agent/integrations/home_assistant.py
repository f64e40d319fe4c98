"""Home Assistant's MQTT discovery: one retained message that describes the node as a device with its entities.

It uses the device-based format of Home Assistant 2024.12 and later, with abbreviated keys: ``dev`` is the device, ``o``
the origin, ``cmps`` the components. Each component has its platform ``p`` and a permanent ``uniq_id``.
"""

from __future__ import annotations

import math
import random
import re
import zlib
from typing import TYPE_CHECKING

import msgspec

from agent import __version__

if TYPE_CHECKING:
    from typing import Any

    from agent.mqtt.received import Received
    from agent.mqtt.settings import MqttConfig


__all__ = ["Discovery"]

_DEFAULT_PREFIX = "homeassistant"
# Bounds of the random delay in seconds between Home Assistant's birth message and discovery; chosen by hand, so that a
# thousand agents do not answer in the same second.
_SOONEST_S, _LATEST_S = 1.0, 5.0
# Seconds of the silence that the button "Silence for an hour" starts.
_SILENCE_S = 3600
# Home Assistant rejects states of more than 255 characters.
_SUMMARY = "{{ value_json.summary[:250] }}"


class Discovery:
    """The discovery message of a node, and the times at which it is due.

    Parameters
    ----------
    config
        The section ``mqtt``.
    node
        Name of this node.

    Examples
    --------
    >>> from agent.mqtt.settings import MqttConfig
    >>> Discovery(MqttConfig(), "pi4").topic
    'homeassistant/device/edgewatch_pi4/config'
    """

    def __init__(self, config: MqttConfig, node: str) -> None:
        prefix = config.discovery if isinstance(config.discovery, str) else _DEFAULT_PREFIX
        identifier = _identifier(f"{config.prefix}_{node}")
        #: Topic of the retained discovery message; an empty message removes the device.
        self.topic = f"{prefix}/device/{identifier}/config"
        #: Topic of Home Assistant's birth message.
        self.birth_topic = f"{prefix}/status"
        #: The discovery message as JSON.
        self.payload = msgspec.json.encode(_message(config, node, identifier))
        self._due_s = math.inf

    def hear(self, message: Received, now_s: float) -> None:
        """Schedule discovery 1 to 5 s after Home Assistant's birth message.

        A retained birth message is ignored: it arrives after connecting, when discovery is published anyway.

        Parameters
        ----------
        message
            Any received message.
        now_s
            Monotonic time in seconds.
        """
        if message.topic == self.birth_topic and message.payload == b"online" and not message.retained:
            at_s = now_s + random.uniform(_SOONEST_S, _LATEST_S)  # noqa: S311 - jitter, not a secret
            self._due_s = min(self._due_s, at_s)

    def due(self, now_s: float) -> bool:
        """Whether discovery is due after a birth message; True once.

        Parameters
        ----------
        now_s
            Monotonic time in seconds.
        """
        if now_s < self._due_s:
            return False
        self._due_s = math.inf
        return True


def _identifier(name: str) -> str:
    """Replace characters that Home Assistant does not allow in topics; a changed name gets a checksum as suffix."""
    escaped = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return escaped if escaped == name else f"{escaped}-{zlib.crc32(name.encode()):08x}"


def _message(config: MqttConfig, node: str, identifier: str) -> dict[str, Any]:
    base = f"{config.prefix}/{node}"
    components = _state(f"{base}/state") | _alerts(f"{base}/alert") | _health(f"{base}/health")
    components |= _buttons(f"{base}/cmd")
    for key, component in components.items():
        component["uniq_id"] = f"{identifier}_{key}"
        if component["p"] == "button" and not config.commands:
            components[key] = {"p": "button"}  # removes the button
    return {
        "dev": {
            "ids": [identifier],
            "name": f"Edgewatch {node}",
            "mf": "Edgewatch",
            "mdl": "Anomaly detection agent",
            "sw": __version__,
        },
        "o": {"name": "edgewatch", "sw": __version__},
        "avty_t": f"{base}/status",
        "cmps": components,
    }


def _state(topic: str) -> dict[str, dict[str, Any]]:
    score = {"stat_cla": "measurement", "sug_dsp_prc": 3}
    return {
        "state": _sensor(
            topic, "State", "{{ value_json.state }}", dev_cla="enum", ops=["learning", "normal", "anomalous"]
        ),
        "anomalous": {
            "p": "binary_sensor",
            "name": "Anomaly",
            "dev_cla": "problem",
            "stat_t": topic,
            "val_tpl": "{{ 'ON' if value_json.state == 'anomalous' else 'OFF' }}",
        },
        "score": _sensor(topic, "Anomaly score", "{{ value_json.score }}", **score),
        "state_score": _sensor(topic, "State score", "{{ value_json.state_score }}", **score),
        "open_incidents": _sensor(
            topic,
            "Open incidents",
            "{{ value_json.open_incidents | length }}",
            stat_cla="measurement",
            json_attr_t=topic,
            # Only the incidents: with the time stamp, Home Assistant would record a new state every minute.
            json_attr_tpl="{{ {'incidents': value_json.open_incidents} | to_json }}",
        ),
        "learning_progress": _diagnostic(
            topic,
            "Learning progress",
            "{{ (value_json.learning_progress * 100) | round }}",
            unit_of_meas="%",
            stat_cla="measurement",
        ),
        "silenced": _diagnostic(topic, "Silenced channels", "{{ value_json.silenced }}", stat_cla="measurement"),
    }


def _alerts(topic: str) -> dict[str, dict[str, Any]]:
    """Describe the alerts as an event and as a sensor; the keys are the abbreviations of MQTT discovery."""
    fields = ("severity", "reason", "summary", "incident", "started", "duration_s", "provisional", "replayed")
    attributes = ", ".join(f"'{field}': value_json.{field}" for field in fields)
    return {
        "alert": {
            "p": "event",
            "name": "Alert",
            "evt_typ": ["open", "update", "close"],
            "stat_t": topic,
            "qos": 1,
            "val_tpl": f"{{{{ {{'event_type': value_json.phase, {attributes}}} | to_json }}}}",
        },
        "last_alert": _sensor(
            topic,
            "Last alert",
            _SUMMARY,
            qos=1,
            json_attr_t=topic,
            json_attr_tpl=f"{{{{ {{'phase': value_json.phase, {attributes}}} | to_json }}}}",
        ),
    }


def _health(topic: str) -> dict[str, dict[str, Any]]:
    growing = {"stat_cla": "total_increasing"}
    now = {"stat_cla": "measurement"}
    return {
        "problem": {
            "p": "binary_sensor",
            "name": "Alert storage",
            "dev_cla": "problem",
            "ent_cat": "diagnostic",
            "stat_t": topic,
            "val_tpl": "{{ 'OFF' if value_json.outbox_durable and not value_json.dropped else 'ON' }}",
        },
        "step_time": _diagnostic(
            topic, "Step time", "{{ value_json.step_ms_p99 }}", dev_cla="duration", unit_of_meas="ms", **now
        ),
        "memory": _diagnostic(
            topic, "Memory", "{{ value_json.rss_mib }}", dev_cla="data_size", unit_of_meas="MiB", **now
        ),
        "outbox_depth": _diagnostic(topic, "Alerts waiting", "{{ value_json.outbox_depth }}", **now),
        "dropped": _diagnostic(topic, "Alerts dropped", "{{ value_json.dropped }}", **growing),
        "held_back": _diagnostic(topic, "Incidents held back", "{{ value_json.suppressed }}", **growing),
        "missed_ticks": _diagnostic(topic, "Missed ticks", "{{ value_json.missed_ticks }}", **growing),
        "source_failures": _diagnostic(
            topic, "Source failures", "{{ value_json.source_failures.values() | sum }}", **growing
        ),
        "reconnects": _diagnostic(topic, "Reconnects", "{{ value_json.reconnects }}", **growing),
    }


def _buttons(topic: str) -> dict[str, dict[str, Any]]:
    everything = {"channels": ["*"]}
    return {
        "silence": _button(topic, "Silence for an hour", {"command": "silence", **everything, "for_s": _SILENCE_S}),
        "unsilence": _button(topic, "End silence", {"command": "unsilence", **everything}),
    }


def _button(topic: str, name: str, command: dict[str, Any]) -> dict[str, Any]:
    return {"p": "button", "name": name, "cmd_t": topic, "qos": 1, "pl_prs": msgspec.json.encode(command).decode()}


def _sensor(topic: str, name: str, template: str, **more: Any) -> dict[str, Any]:
    return {"p": "sensor", "name": name, "stat_t": topic, "val_tpl": template, **more}


def _diagnostic(topic: str, name: str, template: str, **more: Any) -> dict[str, Any]:
    return _sensor(topic, name, template, ent_cat="diagnostic", **more)
