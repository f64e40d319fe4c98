"""Probes of latency: a TCP connection, an ICMP echo, an HTTP request."""

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

_ADDRESS_AGE_S = 60.0
_RETRY_S = 5.0
_LOOKUP_WAIT_S = 1.0

#: Address family and socket address.
_Address: TypeAlias = tuple[int, Any]


# Names: looked up in the background, the last answer kept.


class Peer:
    """A host and port with the addresses known for it."""

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
        """Begin a look-up if one is due; the last answer stays until there is a new one."""
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
    """Refresh addresses, waiting a bounded time for those not known at all yet."""
    deadline = monotonic() + _LOOKUP_WAIT_S
    for peer, thread in [(peer, peer.refresh()) for peer in peers]:
        if thread is not None and not peer.addresses:
            thread.join(max(deadline - monotonic(), 0.0))


# Probes: one measurement at a time each.


class Probe(ABC):
    """One target and its last measurement.

    Attributes
    ----------
    milliseconds
        The last measurement, NaN when it failed.
    failure
        Why it failed; empty when it did not.
    ended
        Set while none is under way.
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
        """Begin a measurement."""

    def fail(self, reason: str) -> None:
        """End a measurement that is under way without a result."""
        if not self.ended.is_set():
            self.failure = reason
            self._end()

    def time_out(self) -> None:
        """End a measurement that takes too long: all that is known is that it is no less than the time-out."""
        reason = f"no answer within {self.timeout_s:g} s"
        self.fail(reason)
        if self.failure == reason:
            self.milliseconds = 1e3 * self.timeout_s

    def _begin(self) -> bool:
        """Forget the last measurement; False where no address is known, which ends the new one at once."""
        self.milliseconds = nan
        self.failure = "" if self.peer.addresses else f"{self.peer.host} is not known to the name service"
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
    """A measurement on one non-blocking socket in the source's selector."""

    _socket: socket.socket | None = None
    _selector: selectors.BaseSelector
    _sent_at: float

    def _watch(self, opened: socket.socket, events: int) -> None:
        opened.settimeout(0.0)
        self._socket = opened
        self._selector.register(opened, events, self._ready)

    @abstractmethod
    def _ready(self, watched: socket.socket) -> None:
        """Go on, now that the socket has something."""

    def _end(self) -> None:
        self._drop()
        super()._end()

    def _drop(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


class TcpProbe(_SocketProbe):
    """Time until a connection stands; one address after the other where they refuse."""

    def start(self, selector: selectors.BaseSelector) -> None:
        """Connect to the first address."""
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
    """Time of an echo on a datagram socket, for which no privilege is needed where the kernel allows it."""

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
        """Send a request to the first address."""
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
        # The kernel hands over what bears this socket's identifier; the payload tells that it answers this request.
        if packet[:1] == bytes([self._KINDS[watched.family][2]]) and packet[self._HEADER.size :] == self._payload:
            self._succeed(elapsed_s)


class HttpProbe(Probe):
    """Time until all headers of a response are there; on a thread, as TLS and HTTP come from the standard library."""

    def __init__(self, name: str, timeout_s: float, url: SplitResult, method: str) -> None:
        super().__init__(name, timeout_s, Peer(str(url.hostname), url.port or (443 if url.scheme == "https" else 80)))
        self._url = url
        self._method = method
        self._thread: threading.Thread | None = None
        self._given_up = False
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None

    def start(self, selector: selectors.BaseSelector) -> None:  # noqa: ARG002 - tells through `ended`
        """Send the request from a thread, unless an earlier one still hangs in it."""
        if self._thread is not None:
            # One that has answered is at its last instruction; one that was given up may hang on.
            self._thread.join(0.0 if self._given_up else None)
            if self._thread.is_alive():
                self.milliseconds, self.failure = nan, "the last request still hangs"
                return
        if self._begin():
            self._given_up = False
            self._thread = threading.Thread(target=self._run, name=f"probe {self.name}", daemon=True)
            self._thread.start()

    def fail(self, reason: str) -> None:
        """End without a result, and wake the thread from what it waits for."""
        self._given_up = self._given_up or not self.ended.is_set()
        super().fail(reason)
        if self._given_up and (hanging := self._socket) is not None:
            with suppress(OSError):
                # Not SSLSocket's own shutdown, which takes the TLS state away under the other thread's hands.
                socket.socket.shutdown(hanging, socket.SHUT_RDWR)

    def _run(self) -> None:
        from http.client import HTTPException  # noqa: PLC0415 - 3 MB that only this kind of target needs

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
        """Status of the response and the seconds until its headers were complete."""
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
        """Connect to the first address that does not refuse."""
        refusal = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        for family, address in self.peer.addresses:
            if self.ended.is_set():
                break
            opened = self._socket = socket.socket(family, socket.SOCK_STREAM)
            # The source's loop gives up first and wakes this thread; this bound is for a loop that is gone.
            opened.settimeout(self.timeout_s + 1.0)
            try:
                opened.connect(address)
            except OSError as error:
                opened.close()
                refusal = error
            else:
                return opened
        raise refusal
