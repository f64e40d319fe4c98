"""The section ``mqtt`` of the configuration, and its part ``tls``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.core.section import NotNegative, Positive, Section

__all__ = ["MqttConfig", "TlsConfig"]

_Prefix = Annotated[str, msgspec.Meta(pattern=r"^[^/$+#\s\x00-\x1f\x7f-\x9f][^+#\s\x00-\x1f\x7f-\x9f]{0,127}$")]


class MqttConfig(Section, frozen=True):
    """The broker and what is published there.

    Parameters
    ----------
    host, port
        Where the broker listens; the port is 1883, or 8883 with TLS, unless given.
    username, password_file
        The password is the first line of a file, of the systemd credential ``mqtt_password``, or the environment
        variable ``EDGEWATCH_MQTT_PASSWORD``.
    tls
        Present: the connection is encrypted and checked. Absent: plain.
    prefix
        First level of all topics.
    keepalive_s
        The connection is given up when the broker is silent for one and a half times as long.
    metrics_interval_s
        Pace of ``metrics``; 0 publishes none.
    health_interval_s
        Pace of ``health``.
    alert_expiry_s
        Under MQTT 5 the broker drops an alert that it could not deliver for this long.
    commands
        Whether the agent obeys what is said to it on ``cmd``.
    discovery
        Whether the node announces itself to Home Assistant; a text is Home Assistant's discovery prefix, where that is
        not ``homeassistant``.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)] = "localhost"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    username: str | None = None
    password_file: str | None = None
    tls: TlsConfig | None = None
    prefix: _Prefix = "edgewatch"
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=65535)] = 30
    metrics_interval_s: NotNegative = 0.0
    health_interval_s: Positive = 60.0
    alert_expiry_s: Annotated[int, msgspec.Meta(ge=1)] = 7 * 86400
    commands: bool = False
    discovery: bool | _Prefix = False

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, the default port filled in."""
        return self.host, self.port or (8883 if self.tls else 1883)


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Transport security: TLS 1.2 or later, the server's certificate and name always checked.

    Parameters
    ----------
    ca_file
        Certificates to trust; the system's by default.
    cert_file, key_file
        Our own certificate and key, where the broker asks for one.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
