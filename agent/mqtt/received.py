"""A message as the broker delivered it."""

from __future__ import annotations

import msgspec

__all__ = ["Received"]


class Received(msgspec.Struct, frozen=True):
    """A message from outside, as the broker delivered it.

    Parameters
    ----------
    retained
        The broker had kept it; it may be old.
    response_topic, correlation
        Where MQTT 5 asks for an answer, and what the answer has to carry; empty where it does not.
    """

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str = ""
    correlation: bytes = b""
