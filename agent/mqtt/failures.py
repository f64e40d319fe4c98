"""Why a connection to a broker failed, in words, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.mqtt.settings import MqttConfig

__all__ = ["HUNG_UP", "NO_ANSWER", "broker_place", "remedy_for", "why"]

_NOT_OURS = {"Bad user name or password", "Not authorized", "Client identifier not valid", "Banned"}

NO_ANSWER = "the broker does not answer"
HUNG_UP = "the broker hung up without an answer"


def broker_place(config: MqttConfig) -> str:
    """The broker's address, as errors name it."""
    host, port = config.address
    return f"$.mqtt: {host}:{port}"


def remedy_for(config: MqttConfig, failure: str) -> str:
    """What to do about a failure."""
    if any(text.lower() in failure.lower() for text in _NOT_OURS):
        return "check $.mqtt.username and the password file, and the broker's access rules"
    silent = failure in {HUNG_UP, NO_ANSWER} or "reset" in failure
    if failure.startswith("TLS") or (config.tls and silent):
        return "check $.mqtt.tls.ca_file, that the port is the broker's TLS port, and the name in its certificate"
    if silent:
        return "is this the broker's plain MQTT port? A TLS port needs a section $.mqtt.tls"
    return "is a broker running there? Set $.mqtt.host and $.mqtt.port"


def why(error: Exception) -> str:
    """Why a connection to a broker failed, in words."""
    if type(error).__module__ == "ssl":  # which is not imported to ask
        distrust = getattr(error, "verify_message", "")
        if distrust:
            return f"TLS: the broker's certificate is not trusted: {distrust}"
        return f"TLS: {getattr(error, 'reason', None) or error}"
    return f"{getattr(error, 'strerror', None) or error or type(error).__name__}"
