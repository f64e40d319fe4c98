"""An MQTT client for thousands of small messages a second, which parses PUBLISH packets of QoS 0 itself.

For each message, paho makes four system calls (one ``select``, three reads) and an object with a lock. This client
reads 64 KiB at once and parses messages of quality of service 0 under MQTT 3.1.1 in that buffer. Paho handles all other
packets.

To do so it overrides paho's private method ``_sock_recv``. It handles 685,000 messages a second of processor time; paho
handles 33,000 (``python -m tools.benchmark workarounds``, paho 2.2, one core of a Xeon, busy otherwise). With a version
of paho without this method it uses paho's own loop.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

from agent.mqtt.slim_paho import mqtt

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BulkClient"]

# Bytes that are read at once; chosen by hand: about two thousand readings.
_PIECE = 1 << 16
# Seconds between checks of keep-alive and of `is_over` while nothing arrives; chosen by hand.
_TURN_S = 0.5
# Bytes of the field "remaining length" at most (MQTT 3.1.1, section 2.2.3).
_LENGTH_BYTES = 4
# Results of `_length` in place of a position: more bytes are needed, or the field is longer than allowed.
_INCOMPLETE, _MALFORMED = -1, -2
# First byte of PUBLISH with quality of service 0, and the mask that ignores its retain bit (section 3.3.1).
_PLAIN_PUBLISH, _BUT_RETAINED = 0x30, 0xFE


class BulkClient(mqtt.Client):
    """Paho's client with its own receive loop, for one connection.

    Parameters
    ----------
    take
        Called with topic and payload of each message that this client parses itself.
    most
        Bytes of the largest packet; larger ones are skipped.
    too_large
        Called for each skipped packet.
    more
        Further parameters of paho's client.
    """

    def __init__(
        self,
        take: Callable[[bytes, bytes], None],
        most: int,
        too_large: Callable[[], None],
        *,
        protocol: MQTTProtocolVersion,
        **more: Any,
    ) -> None:
        super().__init__(protocol=protocol, **more)
        self._take = take
        self._most = most
        self._too_large = too_large
        self._plain = protocol is not MQTTProtocolVersion.MQTTv5  # MQTT 5 has properties before the payload
        # Bytes of the packet that `_sock_recv` hands to paho.
        self._packet = b""
        self._ended = False

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._packet and not self._ended:
            raise BlockingIOError
        part, self._packet = self._packet[:bufsize], self._packet[bufsize:]
        return part

    def listen(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Receive and send until the connection ends.

        Parameters
        ----------
        is_over
            Called at least twice a second; the loop stops if it returns True.
        """
        if not hasattr(mqtt.Client, "_sock_recv"):  # another version of paho
            self.loop_forever()
            return
        fault, left, skip = mqtt.MQTT_ERR_SUCCESS, b"", 0
        while fault == mqtt.MQTT_ERR_SUCCESS and (link := self.socket()) is not None and not is_over():
            # `select` does not see bytes that TLS has already decrypted.
            pending = hasattr(link, "pending") and link.pending() > 0
            try:
                ready, able, _ = select.select([link], [link] * self.want_write(), [], 0.0 if pending else _TURN_S)
                piece = super()._sock_recv(_PIECE) if ready or pending else None
            except BlockingIOError:
                piece = None
            except (OSError, ValueError):  # the socket was closed meanwhile
                piece = b""
            if able:
                fault = self.loop_write()
            if piece is not None:
                self._ended = not piece
                skipped = min(skip, len(piece))
                skip -= skipped
                left, skip, fault = self._cut(left + piece[skipped:], skip)
            self.loop_misc()

    def _cut(self, data: bytes, skip: int) -> tuple[bytes, int, MQTTErrorCode]:
        """Process all complete packets; returns the remaining bytes, the bytes to skip, and paho's error code."""
        at, end, fault = 0, len(data), mqtt.MQTT_ERR_SUCCESS
        plain, take = self._plain, self._take
        while at < end and fault == mqtt.MQTT_ERR_SUCCESS:
            size, begin = _length(data, at + 1)
            if begin == _INCOMPLETE:
                break
            if begin == _MALFORMED:
                self.disconnect()
                return b"", 0, mqtt.MQTT_ERR_PROTOCOL
            if size > self._most:
                self._too_large()
                skip = max(0, begin + size - end)
                at = begin + size
                continue
            if begin + size > end:
                break
            whole = begin + size
            body = begin + 2 + (data[begin] << 8 | data[begin + 1]) if size >= 2 else whole + 1
            if plain and data[at] & _BUT_RETAINED == _PLAIN_PUBLISH and body <= whole:
                take(data[begin + 2 : body], data[body:whole])
            else:
                self._packet = data[at:whole]
                fault = self.loop_read()
            at = whole
        if self._ended and fault == mqtt.MQTT_ERR_SUCCESS:
            fault = self.loop_read()  # paho reads the end of the connection, and reports it
        return data[at:], skip, fault


def _length(data: bytes, at: int) -> tuple[int, int]:
    r"""Decode a packet's "remaining length"; returns it and the position after it, `_INCOMPLETE` or `_MALFORMED`.

    Examples
    --------
    >>> _length(b"\x30\x05", 1), _length(b"\x30\x80\x01", 1), _length(b"\x30\x80", 1)
    ((5, 2), (128, 3), (0, -1))
    """
    size = 0
    for group in range(_LENGTH_BYTES):
        if at + group >= len(data):
            return 0, _INCOMPLETE
        byte = data[at + group]
        size |= (byte & 0x7F) << 7 * group
        if byte < 0x80:
            return size, at + group + 1
    return 0, _MALFORMED
