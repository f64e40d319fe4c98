"""Texts and remedies for failures of a connection to a broker."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.mqtt.endpoint import Endpoint

__all__ = ["HUNG_UP", "NO_ANSWER", "Cause", "cause_of", "cause_of_refusal", "remedy_for", "why"]

# Reason codes of a CONNACK (MQTT 5, section 3.2.2.2), to which paho translates those of MQTT 3.1.1: unsupported
# protocol version; and client identifier not valid, bad user name or password, not authorized, banned.
_UNSUPPORTED_VERSION = 0x84
_DENIED = frozenset({0x85, 0x86, 0x87, 0x8A})


class Cause(Enum):
    """Kind of a failure, by which its remedy is chosen."""

    NONE = auto()
    DENIED = auto()
    VERSION = auto()
    SILENT = auto()
    TLS = auto()
    OTHER = auto()


#: The TCP connection was made, but no CONNACK arrived in time.
NO_ANSWER = "the broker does not answer"
#: The TCP connection was closed before a CONNACK arrived.
HUNG_UP = "the broker hung up without an answer"


def cause_of_refusal(code: int) -> Cause:
    """Give the cause of a refusal by its reason code."""
    if code in _DENIED:
        return Cause.DENIED
    return Cause.VERSION if code == _UNSUPPORTED_VERSION else Cause.OTHER


def cause_of(error: Exception) -> Cause:
    """Give the cause of an exception that ended a connection attempt."""
    if type(error).__module__ == "ssl":  # compared by name, to avoid the import
        return Cause.TLS
    return Cause.SILENT if isinstance(error, ConnectionResetError) else Cause.OTHER


def remedy_for(endpoint: Endpoint, cause: Cause) -> str:
    """Give a remedy for a failure, as part of an error or a log line.

    Parameters
    ----------
    endpoint
        The broker.
    cause
        Kind of the failure.
    """
    section = endpoint.section
    if cause is Cause.DENIED:
        return f"check {section}.username and the password file, and the broker's access rules"
    silent = cause is Cause.SILENT
    if cause is Cause.TLS or (endpoint.context and silent):
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
