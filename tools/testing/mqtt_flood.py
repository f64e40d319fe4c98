"""Fast publisher of many small messages: MQTT 3.1.1 packets, written to the socket in large chunks.

A client library takes tens of microseconds a message; a benchmark would measure the publisher.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

from agent.core.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["MqttFlood", "packet"]

_CONNACK = b"\x20\x02\x00\x00"
_KEEPALIVE_S = 3600
# Writes a second over which packets are spread, chosen by hand.
_PIECES = 50


def packet(topic: bytes, payload: bytes, *, retain: bool = False) -> bytes:
    r"""Encode a PUBLISH packet of quality of service 0.

    Examples
    --------
    >>> packet(b"a/b", b"21.5")
    b'0\t\x00\x03a/b21.5'
    """
    body = struct.pack(">H", len(topic)) + topic + payload
    return bytes((0x30 | retain,)) + _length(len(body)) + body


def _length(size: int) -> bytes:
    """Encode a length as an MQTT variable byte integer."""
    encoded = bytearray()
    while True:
        size, low = divmod(size, 128)
        encoded.append(low | (128 if size else 0))
        if not size:
            return bytes(encoded)


class MqttFlood:
    """A publish-only connection to a broker.

    Parameters
    ----------
    port
        Port of the broker on loopback.
    name
        Client identifier.

    Raises
    ------
    EnvironmentFault
        The broker refuses the connection.
    """

    def __init__(self, port: int, name: str = "wire") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10.0)
        identity = name.encode()
        head = struct.pack(">H4sBBH", 4, b"MQTT", 4, 2, _KEEPALIVE_S)
        body = head + struct.pack(">H", len(identity)) + identity
        self._socket.sendall(b"\x10" + _length(len(body)) + body)
        answer = self._socket.recv(4, socket.MSG_WAITALL)
        if answer != _CONNACK:
            raise EnvironmentFault(f"the broker refused the connection: {answer.hex()}", location=f"127.0.0.1:{port}")

    def send(self, packets: Iterable[bytes]) -> None:
        """Write packets to the socket."""
        self._socket.sendall(b"".join(packets))

    def spread(self, packets: Sequence[bytes], since: float) -> float:
        """Write packets evenly over the second from monotonic time ``since``; return its end."""
        for piece in range(_PIECES):
            self.send(packets[piece::_PIECES])
            since += 1.0 / _PIECES
            time.sleep(max(0.0, since - time.monotonic()))
        return since

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
