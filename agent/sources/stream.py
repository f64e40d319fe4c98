"""Lines that somebody else writes: InfluxDB's line protocol, StatsD, JSON, or names and numbers.

From the standard input, a named pipe, or a socket that is listened on. Formats are told apart line by line unless the
configuration names one.

* Line protocol (docs.influxdata.com, "Line protocol reference"): ``boiler,room=attic t=21.5,p=1.2 1700000000``. A
  channel is called by measurement, values of the tags, and field, with dots between them.
* StatsD (github.com/statsd/statsd, "StatsD Metric Types"): ``queue.length:12|g``. Gauges are set, ``+`` and ``-``
  change them; other types are taken as they come.
* JSON: an object; its numbers are channels by their paths.
* A name, a blank, ``=`` or ``:``, and a number: ``attic.temperature 21.5``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import stat
import sys
import threading
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
)
from urllib.parse import urlsplit

from msgspec import Meta

from agent.core.errors import UserError
from agent.sources.line_formats import STATSD, LineFormat, parsed
from agent.sources.payload import NoReading
from agent.sources.push_buffer import ArrivalsConfig, Arriving

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar

    from agent.sources.base import SourceConfig
    from agent.sources.push_buffer import PushBuffer


__all__ = ["Lines", "StreamConfig", "StreamSource"]

_LOG = logging.getLogger(__name__)
_LONGEST_LINE = 65_536
_AT_ONCE = 65_536
_MOST_WRITERS = 64


class StreamConfig(ArrivalsConfig, frozen=True, kw_only=True):
    """Keys of the `stream` source."""

    listen: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "Input: `stdin`, the path of a named pipe, or an address to listen on: `udp://host:port`, "
                "`tcp://host:port`, `unix:///path` (stream), `unixgram:///path` (datagrams)."
            ),
        ),
    ]
    format: LineFormat = "auto"


class Lines:
    """Takes readings out of what is written, piece by piece.

    Parameters
    ----------
    arrivals
        Where they go.
    form
        Of the lines.
    """

    def __init__(self, arrivals: PushBuffer, form: str) -> None:
        self._arrivals = arrivals
        self._form = form
        # The beginning of a line whose end has not come, and whether it is one that is too long.
        self._rest = b""
        self._skipping = False
        # What StatsD's gauges were last.
        self._gauges: dict[str, float] = {}

    def feed(self, piece: bytes) -> None:
        """Take in a piece of a stream."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if lines and self._skipping:
            self._skipping = False
            del lines[0]
        self.feed_lines(lines)
        if len(self._rest) > _LONGEST_LINE:
            if not self._skipping:
                self._arrivals.leave_out("line longer than 64 KiB")
            self._skipping, self._rest = True, b""

    def feed_lines(self, lines: Sequence[bytes]) -> None:
        """Take in whole lines."""
        readings: list[tuple[str, float]] = []
        for raw in lines:
            if len(raw) > _LONGEST_LINE:
                self._arrivals.leave_out("line longer than 64 KiB")
                continue
            try:
                line = raw.decode("utf-8").strip()
                if line and not line.startswith("#"):
                    readings += self._changes(line, parsed(line, self._form))
            except UnicodeDecodeError:
                self._arrivals.leave_out("not text")
            except NoReading as fault:
                self._arrivals.leave_out(str(fault))
        if readings:
            self._arrivals.take(readings)

    def _changes(self, line: str, readings: list[tuple[str, float]]) -> list[tuple[str, float]]:
        """What a line of StatsD that changes a gauge makes of it; other lines as they are."""
        match = STATSD.fullmatch(line) if "|g" in line else None
        if match is None:
            return readings
        ((name, value),) = readings
        if match[2][0] in "+-":
            value += self._gauges.get(name, 0.0)
        if name in self._gauges or len(self._gauges) < self._arrivals.capacity:
            self._gauges[name] = value
        return [(name, value)]


class StreamSource(Arriving):
    """Reads in a thread of its own, for as long as there is anybody who writes.

    Raises
    ------
    UserError
        It cannot be listened there.
    """

    Config: ClassVar[type[SourceConfig]] = StreamConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: StreamConfig, interval_s: float) -> None:
        del interval_s
        super().__init__(config)
        self._form = config.format
        self._selector = selectors.DefaultSelector()
        self._ours: list[Any] = []
        self._remove = ""
        self._waking, self._wake = os.pipe()
        self._selector.register(self._waking, selectors.EVENT_READ, None)
        try:
            self._listen(config.listen)
        except OSError as error:
            self._release()
            raise UserError(
                f"cannot listen on {config.listen}: {error.strerror or error}",
                location="$.listen",
                remedy="choose a free port or a path in a folder of the agent's user",
            ) from error
        except ValueError as error:
            self._release()
            raise UserError(
                f"cannot listen on {config.listen}: {error}", location="$.listen", remedy="such as udp://127.0.0.1:8125"
            ) from error
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and remove what was made for it."""
        if self._wake >= 0:
            os.write(self._wake, b"\n")
            self._thread.join(1.0)

    def _listen(self, place: str) -> None:
        if place == "stdin":
            self._add(sys.stdin.fileno(), self._stream_reader(sys.stdin.fileno()))
            return
        url = urlsplit(place)
        if url.scheme in {"udp", "tcp"}:
            if not url.hostname or url.port is None:
                raise ValueError("host and port are missing")
            kind = socket.SOCK_DGRAM if url.scheme == "udp" else socket.SOCK_STREAM
            family, _, _, _, address = socket.getaddrinfo(url.hostname, url.port, type=kind)[0]
            self._open_socket(family, kind, address)
        elif url.scheme in {"unix", "unixgram"}:
            path = Path(url.path)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(path.stat().st_mode):
                    path.unlink()  # left behind by a run that was killed
            kind = socket.SOCK_DGRAM if url.scheme == "unixgram" else socket.SOCK_STREAM
            self._open_socket(socket.AF_UNIX, kind, str(path))
            self._remove = str(path)
        elif url.scheme:
            raise ValueError(f"{url.scheme}:// is none of udp, tcp, unix, unixgram")
        else:
            self._open_pipe(Path(place))

    def _open_socket(self, family: int, kind: int, address: Any) -> None:
        opened = socket.socket(family, kind)
        self._ours.append(opened)
        if kind == socket.SOCK_STREAM and family != socket.AF_UNIX:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.setblocking(False)  # noqa: FBT003 - as sockets have it
        #: Where it listens; the port that the system chose, for one of 0.
        self.address = opened.getsockname()
        if kind == socket.SOCK_STREAM:
            opened.listen(_MOST_WRITERS)
            self._add(opened, lambda: self._accept(opened))
        else:
            lines = Lines(self._arrivals, self._form)
            self._add(opened, lambda: lines.feed_lines(opened.recv(_AT_ONCE).split(b"\n")))

    def _open_pipe(self, path: Path) -> None:
        if not path.exists():
            os.mkfifo(path, 0o660)
            self._remove = str(path)
        if not stat.S_ISFIFO(path.stat().st_mode):
            raise ValueError("it is no named pipe")
        # For writing, too: so that it has no end when a writer goes.
        opened = os.fdopen(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
        self._ours.append(opened)
        self._add(opened, self._stream_reader(opened.fileno()))

    def _accept(self, listening: socket.socket) -> None:
        writer, _ = listening.accept()
        if len(self._ours) > _MOST_WRITERS:
            self._arrivals.leave_out("more than 64 connections")
            writer.close()
            return
        writer.setblocking(False)  # noqa: FBT003 - as sockets have it
        self._ours.append(writer)
        self._add(writer, self._stream_reader(writer.fileno(), writer))

    def _stream_reader(self, descriptor: int, writer: socket.socket | None = None) -> Callable[[], None]:
        lines = Lines(self._arrivals, self._form)

        def read() -> None:
            piece = os.read(descriptor, _AT_ONCE)
            if piece:
                lines.feed(piece)
                return
            lines.feed(b"\n")  # the last line may have no end
            self._selector.unregister(descriptor)
            if writer is not None:
                self._ours.remove(writer)
                writer.close()

        return read

    def _add(self, file: Any, read: Callable[[], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, read)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._release()
                    return
                try:
                    key.data()
                except BlockingIOError:
                    continue
                except OSError as error:
                    _LOG.warning("stream: %s", error.strerror or error)
                    with contextlib.suppress(KeyError, ValueError):
                        self._selector.unregister(key.fileobj)

    def _release(self) -> None:
        self._selector.close()
        for opened in self._ours:
            opened.close()
        os.close(self._waking)
        os.close(self._wake)
        self._wake = -1
        if self._remove:
            Path(self._remove).unlink(missing_ok=True)
