"""The section ``mqtt`` of the configuration, and its part ``tls``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from agent.core.section import NotNegative, Positive, Section

__all__ = ["MqttConfig", "TlsConfig"]

_Prefix = Annotated[str, Meta(pattern=r"^[^/$+#\s\x00-\x1f\x7f-\x9f][^+#\s\x00-\x1f\x7f-\x9f]{0,127}$")]


class MqttConfig(Section, frozen=True):
    """The broker and the messages published there."""

    host: Annotated[str, Meta(min_length=1, description="Host name or address of the broker.")] = "localhost"
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(description="TCP port of the broker. Default: 1883, or 8883 with `tls`."),
    ] = None
    username: Annotated[str | None, Meta(description="User name for the broker. Default: none.")] = None
    password_file: Annotated[
        str | None,
        Meta(
            description=(
                "File with the password for the broker in its first line. Default: the systemd credential "
                "`mqtt_password`, or the environment variable `EDGEWATCH_MQTT_PASSWORD`."
            )
        ),
    ] = None
    tls: Annotated[
        TlsConfig | None,
        Meta(
            description=(
                "Encryption with TLS 1.2 or later; the broker's certificate and name are always verified. Default: "
                "no encryption."
            )
        ),
    ] = None
    prefix: Annotated[_Prefix, Meta(description="First level of all topics.")] = "edgewatch"
    keepalive_s: Annotated[
        int,
        Meta(
            ge=5,
            le=65535,
            description=(
                "Keep-alive interval in seconds. The connection is closed when the broker is silent for one and a "
                "half times as long."
            ),
        ),
    ] = 30
    metrics_interval_s: Annotated[
        NotNegative,
        Meta(
            description=(
                "Seconds between messages with value, expectation and score of all channels; 0 publishes none."
            )
        ),
    ] = 0.0
    health_interval_s: Annotated[
        Positive, Meta(description="Seconds between messages about the agent's own condition.")
    ] = 60.0
    alert_expiry_s: Annotated[
        int, Meta(ge=1, description="Seconds after which the broker drops an undelivered alert, under MQTT 5.")
    ] = 7 * 86400
    commands: Annotated[
        bool,
        Meta(
            description=(
                "Accept commands on the topic `cmd`: silence, unsilence, acknowledge, relearn, reload. Anyone who "
                "may publish there can silence the agent."
            )
        ),
    ] = False
    discovery: Annotated[
        bool | _Prefix,
        Meta(
            description=(
                "Announce the node to Home Assistant: true, or the discovery prefix if it is not `homeassistant`."
            )
        ),
    ] = False

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, the default port filled in."""
        return self.host, self.port or (8883 if self.tls else 1883)


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Transport security: TLS 1.2 or later, with verification of the server's certificate and name."""

    ca_file: Annotated[
        str | None, Meta(description="PEM file with the certificates to trust. Default: those of the system.")
    ] = None
    cert_file: Annotated[
        str | None, Meta(description="PEM file with the client's certificate, if the broker asks for one.")
    ] = None
    key_file: Annotated[
        str | None, Meta(description="PEM file with the client's private key. Default: the key is in `cert_file`.")
    ] = None
