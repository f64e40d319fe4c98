"""A small TCP service on loopback, for the demo to probe and for ``tools.stress latency`` to slow down.

It takes connections and hangs up, one at a time and with a short queue, as the simplest services do.
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

#: Where the demo listens, and what the stress tool slows down unless told otherwise.
DEFAULT_ADDRESS = ("127.0.0.1", 18_831)
_QUEUE = 16
# What serving a connection takes.
_SERVICE_S = 0.002


@contextlib.contextmanager
def listening(address: tuple[str, int] = DEFAULT_ADDRESS) -> Iterator[tuple[str, int]]:
    """Listen until the block ends; gives the address, with another port where the wanted one is taken."""
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
            # A closed socket alone does not wake `accept`.
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
