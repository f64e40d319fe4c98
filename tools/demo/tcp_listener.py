"""A small TCP service on loopback: the demo probes it, and ``tools.stress latency`` slows it down.

It accepts connections one at a time, with a short queue, and closes each.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEFAULT_ADDRESS", "listening"]

#: Address of the demo's service, the default target of the stress tool.
DEFAULT_ADDRESS = ("127.0.0.1", 18_831)
# Pending connections, chosen by hand: few, so that a flood fills the queue.
_QUEUE = 16
# Seconds to serve a connection, chosen by hand.
_SERVICE_S = 0.002


@contextlib.contextmanager
def listening(address: tuple[str, int] = DEFAULT_ADDRESS) -> Iterator[tuple[str, int]]:
    """Listen until the block ends; yield the address, with another port if the requested one is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.bind((address[0], 0))
        listener.listen(_QUEUE)
        thread = threading.Thread(target=_serve, args=(listener,), name="listener", daemon=True)
        thread.start()
        host, port = listener.getsockname()
        try:
            yield host, port
        finally:
            # Closing a socket does not wake `accept`.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.close()
        time.sleep(_SERVICE_S)
