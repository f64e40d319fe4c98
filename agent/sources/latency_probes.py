"""Probes of response times: a TCP connection, an ICMP echo, an HTTP request."""

from __future__ import annotations

import errno
import math
import os
import selectors
import socket
import struct
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from math import nan
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from typing import ClassVar, TypeAlias
    from urllib.parse import SplitResult


__all__ = ["HttpProbe", "IcmpProbe", "Peer", "Probe", "TcpProbe", "look_up"]

# All in seconds, chosen by hand: age at which an address is resolved again, pause after a failed resolution, and the
# longest that one read waits for names without an address.
_ADDRESS_AGE_S = 60.0
_RETRY_S = 5.0
_LOOKUP_WAIT_S = 1.0

#: Address family and socket address.
_Address: TypeAlias = tuple[int, Any]


# Names: resolved in the background; the last addresses are kept.


class Peer:
    """A host and port, with the addresses known so far."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.addresses: list[_Address] = []
        self._thread: threading.Thread | None = None
        self._due = 0.0
        try:
            self.addresses = self._resolve(socket.AI_NUMERICHOST)
            self._due = math.inf
        except OSError:
            pass  # a name, not an address

    def refresh(self) -> threading.Thread | None:
        """Start resolving in a thread if it is due, and return the thread; None if it is not due or still running."""
        if monotonic() < self._due or (self._thread is not None and self._thread.is_alive()):
            return None
        self._thread = threading.Thread(target=self._look_up, name=f"resolve {self.host}", daemon=True)
        self._thread.start()
        return self._thread

    def _look_up(self) -> None:
        try:
            self.addresses = self._resolve(0)
            self._due = monotonic() + _ADDRESS_AGE_S
        except (OSError, UnicodeError):
            self._due = monotonic() + _RETRY_S

    def _resolve(self, flags: int) -> list[_Address]:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)
        return [(family, address) for family, _, _, _, address in found]


def look_up(peers: Sequence[Peer]) -> None:
    """Refresh addresses; wait at most `_LOOKUP_WAIT_S` for peers without any."""
    deadline = monotonic() + _LOOKUP_WAIT_S
    for peer, thread in [(peer, peer.refresh()) for peer in peers]:
        if thread is not None and not peer.addresses:
            thread.join(max(deadline - monotonic(), 0.0))


# Probes: each makes one measurement at a time.


class Probe(ABC):
    """One target and its last measurement.

    Attributes
    ----------
    milliseconds
        The last measurement; NaN if it failed, the time-out if it timed out.
    failure
        Reason of the failure or time-out; empty after success.
    ended
        Set while no measurement is in progress.
    """

    def __init__(self, name: str, timeout_s: float, peer: Peer) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self.peer = peer
        self.milliseconds = nan
        self.failure = ""
        self.ended = threading.Event()
        self.ended.set()

    @abstractmethod
    def start(self, selector: selectors.BaseSelector) -> None:
        """Start a measurement; a probe with sockets registers them in `selector`."""

    def fail(self, reason: str) -> None:
        """End a measurement in progress as failed."""
        if not self.ended.is_set():
            self.failure = reason
            self._end()

    def time_out(self) -> None:
        """End a measurement in progress at its time-out, which becomes its result."""
        reason = f"no answer within {self.timeout_s:g} s"
        self.fail(reason)
        if self.failure == reason:
            self.milliseconds = 1e3 * self.timeout_s

    def _begin(self) -> bool:
        """Reset the result; False if no address is known, which is a failure."""
        self.milliseconds = nan
        self.failure = "" if self.peer.addresses else f"cannot resolve the host name {self.peer.host}"
        if self.peer.addresses:
            self.ended.clear()
        return bool(self.peer.addresses)

    def _succeed(self, seconds: float) -> None:
        if not self.ended.is_set():
            self.milliseconds = 1e3 * seconds
            self._end()

    def _end(self) -> None:
        self.ended.set()


class _SocketProbe(Probe):
    """A probe on one non-blocking socket in the source's selector."""

    _socket: socket.socket | None = None
    _selector: selectors.BaseSelector
    _sent_at: float

    def _watch(self, opened: socket.socket, events: int) -> None:
        opened.settimeout(0.0)
        self._socket = opened
        self._selector.register(opened, events, self._ready)

    @abstractmethod
    def _ready(self, watched: socket.socket) -> None:
        """Continue, as the socket is ready."""

    def _end(self) -> None:
        self._drop()
        super()._end()

    def _drop(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


class TcpProbe(_SocketProbe):
    """Time until a connection is established; tries the next address if one refuses."""

    def start(self, selector: selectors.BaseSelector) -> None:
        """Start connecting to the first address."""
        self._selector = selector
        if self._begin():
            self._untried = list(self.peer.addresses)
            self._connect()

    def _connect(self) -> None:
        family, address = self._untried.pop(0)
        try:
            opened = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._try_next(error.errno or errno.EIO)
            return
        self._watch(opened, selectors.EVENT_WRITE)
        self._sent_at = perf_counter()
        code = opened.connect_ex(address)
        if code not in {0, errno.EINPROGRESS}:
            self._try_next(code)

    def _ready(self, watched: socket.socket) -> None:
        elapsed_s = perf_counter() - self._sent_at
        code = watched.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._try_next(code)
        else:
            self._succeed(elapsed_s)

    def _try_next(self, code: int) -> None:
        self._drop()
        if self._untried:
            self._connect()
        else:
            self.fail(os.strerror(code))


class IcmpProbe(_SocketProbe):
    """Round-trip time of an echo, on a datagram socket, which needs no privilege if the kernel permits it."""

    # Protocol, type of the request, type of the reply (RFC 792, RFC 4443).
    _KINDS: ClassVar[dict[int, tuple[int, int, int]]] = {
        socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0),
        socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129),
    }
    # Type, code, checksum and identifier (both filled in by the kernel), sequence number.
    _HEADER = struct.Struct("!BBHHH")

    def __init__(self, name: str, timeout_s: float, peer: Peer) -> None:
        super().__init__(name, timeout_s, peer)
        self._number = 0
        for family in {family for family, _ in peer.addresses} or {socket.AF_INET}:
            self._open(family).close()

    def start(self, selector: selectors.BaseSelector) -> None:
        """Send an echo request to the first address."""
        self._selector = selector
        if not self._begin():
            return
        family, address = self.peer.addresses[0]
        self._number = (self._number + 1) % 65536
        self._payload = os.urandom(16)
        try:
            opened = self._open(family)
            self._watch(opened, selectors.EVENT_READ)
            opened.connect(address)
            self._sent_at = perf_counter()
            opened.send(self._HEADER.pack(self._KINDS[family][1], 0, 0, 0, self._number) + self._payload)
        except OSError as error:
            self.fail(str(error))

    def _open(self, family: int) -> socket.socket:
        return socket.socket(family, socket.SOCK_DGRAM, self._KINDS[family][0])

    def _ready(self, watched: socket.socket) -> None:
        elapsed_s = perf_counter() - self._sent_at
        try:
            packet = watched.recv(2048)
        except OSError as error:
            self.fail(str(error))
            return
        # The kernel delivers only packets with this socket's identifier; the payload identifies the request.
        if packet[:1] == bytes([self._KINDS[watched.family][2]]) and packet[self._HEADER.size :] == self._payload:
            self._succeed(elapsed_s)


class HttpProbe(Probe):
    """Time until the last header of a response; in a thread, as the standard library's HTTP and TLS block."""

    def __init__(self, name: str, timeout_s: float, url: SplitResult, method: str) -> None:
        super().__init__(name, timeout_s, Peer(str(url.hostname), url.port or (443 if url.scheme == "https" else 80)))
        self._url = url
        self._method = method
        self._thread: threading.Thread | None = None
        self._given_up = False
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None

    def start(self, selector: selectors.BaseSelector) -> None:  # noqa: ARG002 - signals by `ended`
        """Send the request in a thread, unless the previous request still hangs."""
        if self._thread is not None:
            # A finished request ends its thread at once; one that was given up may hang.
            self._thread.join(0.0 if self._given_up else None)
            if self._thread.is_alive():
                self.milliseconds, self.failure = nan, "the previous request still hangs"
                return
        if self._begin():
            self._given_up = False
            self._thread = threading.Thread(target=self._run, name=f"probe {self.name}", daemon=True)
            self._thread.start()

    def fail(self, reason: str) -> None:
        """End a measurement as failed, and wake its thread."""
        self._given_up = self._given_up or not self.ended.is_set()
        super().fail(reason)
        if self._given_up and (hanging := self._socket) is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: it drops the TLS state while the other thread uses it.
                socket.socket.shutdown(hanging, socket.SHUT_RDWR)

    def _run(self) -> None:
        from http.client import HTTPException  # noqa: PLC0415 - 3 MB that only HTTP targets need

        try:
            status, elapsed_s = self._request()
        except (OSError, HTTPException, ValueError) as error:
            super().fail(str(error) or type(error).__name__)
            return
        if status >= 500:
            super().fail(f"status {status}")
        else:
            self._succeed(elapsed_s)

    def _request(self) -> tuple[int, float]:
        """Return the status of the response, and the seconds until its headers were complete."""
        from http.client import HTTPConnection  # noqa: PLC0415 - see above

        url = self._url
        if url.scheme == "https" and self._tls is None:
            import ssl  # noqa: PLC0415 - only https needs it

            self._tls = ssl.create_default_context()
        connection = HTTPConnection(self.peer.host, self.peer.port)
        started = perf_counter()
        try:
            connection.sock = self._connect()
            if self._tls is not None:
                connection.sock = self._socket = self._tls.wrap_socket(connection.sock, server_hostname=self.peer.host)
            target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
            connection.request(self._method, target, headers={"User-Agent": "edgewatch", "Connection": "close"})
            status = connection.getresponse().status
            return status, perf_counter() - started
        finally:
            self._socket = None
            connection.close()

    def _connect(self) -> socket.socket:
        """Connect to the first address that accepts."""
        refusal = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        for family, address in self.peer.addresses:
            if self.ended.is_set():
                break
            opened = self._socket = socket.socket(family, socket.SOCK_STREAM)
            # The source's loop gives up first and wakes this thread; the longer time-out is for a loop that has ended.
            opened.settimeout(self.timeout_s + 1.0)
            try:
                opened.connect(address)
            except OSError as error:
                opened.close()
                refusal = error
            else:
                return opened
        raise refusal
