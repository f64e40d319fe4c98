"""A message that was received from the broker."""

from __future__ import annotations

import msgspec

__all__ = ["Received"]


class Received(msgspec.Struct, frozen=True):
    """A message that was received from the broker.

    Parameters
    ----------
    topic, payload
        As published.
    retained
        Whether the broker had stored it; it may be old.
    response_topic, correlation
        Response topic and correlation data of MQTT 5; empty if absent.
    """

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str = ""
    correlation: bytes = b""
