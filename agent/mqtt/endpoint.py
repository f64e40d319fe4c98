"""Address, credentials and TLS context of a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent.mqtt.secrets import read_secret
from agent.mqtt.tls import ssl_context

if TYPE_CHECKING:
    import ssl

    from agent.mqtt.settings import MqttConfig

__all__ = ["Endpoint"]


class Endpoint(NamedTuple):
    """A broker with the credentials to log in.

    Parameters
    ----------
    host, port
        Address of the broker.
    username, password
        Credentials; None for a broker without login.
    context
        TLS context; None for a plain connection.
    keepalive_s
        Seconds without traffic after which the client sends PINGREQ.
    section
        Path of the configuration's section that describes the broker, for errors and remedies.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    context: ssl.SSLContext | None = None
    keepalive_s: int = 30
    section: str = "$.mqtt"

    @classmethod
    def of(cls, config: MqttConfig) -> Endpoint:
        """Read the password and the certificates that the section ``mqtt`` names.

        Raises
        ------
        UserError
            The password file or a TLS file cannot be used.
        """
        password = read_secret(config.password_file)
        context = ssl_context(config.tls) if config.tls else None
        return cls(*config.address, config.username, password, context, config.keepalive_s)

    @property
    def location(self) -> str:
        """Section and address for errors, such as ``$.mqtt: localhost:1883``."""
        return f"{self.section}: {self.host}:{self.port}"
