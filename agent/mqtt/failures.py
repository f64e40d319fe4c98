"""Texts and remedies for failures of a connection to a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.mqtt.endpoint import Endpoint

__all__ = ["HUNG_UP", "NO_ANSWER", "remedy_for", "why"]

# Paho's names of the reason codes of MQTT that concern credentials or access rules.
_DENIED = {"Bad user name or password", "Not authorized", "Client identifier not valid", "Banned"}

#: The TCP connection was made, but no CONNACK arrived in time.
NO_ANSWER = "the broker does not answer"
#: The TCP connection was closed before a CONNACK arrived.
HUNG_UP = "the broker hung up without an answer"


def remedy_for(endpoint: Endpoint, failure: str) -> str:
    """A remedy for a failure, as part of an error or a log line.

    Parameters
    ----------
    endpoint
        The broker.
    failure
        Text of `why`, `NO_ANSWER`, `HUNG_UP`, or the broker's refusal.
    """
    section = endpoint.section
    if any(text.lower() in failure.lower() for text in _DENIED):
        return f"check {section}.username and the password file, and the broker's access rules"
    silent = failure in {HUNG_UP, NO_ANSWER} or "reset" in failure
    if failure.startswith("TLS") or (endpoint.context and silent):
        return f"check {section}.tls.ca_file, that the port is the broker's TLS port, and the name in its certificate"
    if silent:
        return f"is this the broker's plain MQTT port? A TLS port needs a section {section}.tls"
    return f"is a broker running there? Set {section}.host and {section}.port"


def why(error: Exception) -> str:
    """Describe the exception of a failed connection in one line."""
    if type(error).__module__ == "ssl":  # compared by name, to avoid the import
        distrust = getattr(error, "verify_message", "")
        if distrust:
            return f"TLS: the broker's certificate is not trusted: {distrust}"
        return f"TLS: {getattr(error, 'reason', None) or error}"
    return f"{getattr(error, 'strerror', None) or error or type(error).__name__}"
