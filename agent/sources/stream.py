"""Lines pushed by other programs through standard input, a named pipe or a socket.

The format is detected for each line, unless the configuration sets it:

* Line protocol (docs.influxdata.com, "Line protocol reference"): ``boiler,room=attic t=21.5,p=1.2 1700000000``. A
  channel's name is measurement, values of the tags, and field, joined by dots.
* StatsD (github.com/statsd/statsd, "StatsD Metric Types"): ``queue.length:12|g``. ``+`` and ``-`` change a gauge;
  other types are readings like any other.
* JSON: an object; each number is a channel named by its path.
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
# Bytes of a line; bounds memory, chosen by hand.
_LONGEST_LINE = 65_536
# Bytes of one read; the largest UDP datagram fits.
_AT_ONCE = 65_536
# Open connections; chosen by hand.
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
    """Extracts readings from the pieces of one stream.

    Parameters
    ----------
    arrivals
        Buffer that receives the readings.
    form
        Format of the lines, see `LineFormat`.
    """

    def __init__(self, arrivals: PushBuffer, form: str) -> None:
        self._arrivals = arrivals
        self._form = form
        # Incomplete last line, and whether the rest of an overlong line is being skipped.
        self._rest = b""
        self._skipping = False
        # Last values of StatsD gauges, which increments refer to.
        self._gauges: dict[str, float] = {}

    def feed(self, piece: bytes) -> None:
        """Process a piece of a stream; it may end within a line."""
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
        """Process complete lines."""
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
        """Apply the increment of a StatsD gauge; return the readings of other lines unchanged."""
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
    """Reads lines in a thread of its own.

    Raises
    ------
    UserError
        The address, socket or pipe cannot be opened.
    """

    Config: ClassVar[type[SourceConfig]] = StreamConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: StreamConfig, interval_s: float) -> None:
        del interval_s
        super().__init__(config)
        self._form = config.format
        self._selector = selectors.DefaultSelector()
        self._open_files: list[Any] = []
        self._created_path = ""
        self._waking, self._wake = os.pipe()
        self._selector.register(self._waking, selectors.EVENT_READ, None)
        try:
            self._listen(config.listen)
        except OSError as error:
            self._release()
            raise UserError(
                f"cannot listen on {config.listen}: {error.strerror or error}",
                location="$.listen",
                remedy="choose a free port, or a path in a folder that the agent's user may write to",
            ) from error
        except ValueError as error:
            self._release()
            raise UserError(
                f"cannot listen on {config.listen}: {error}",
                location="$.listen",
                remedy="give an address such as udp://127.0.0.1:8125, or the path of a pipe",
            ) from error
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; remove the socket file or pipe that this source created."""
        if self._wake >= 0:
            os.write(self._wake, b"\n")
            self._thread.join(1.0)

    def _listen(self, target: str) -> None:
        if target == "stdin":
            self._add(sys.stdin.fileno(), self._stream_reader(sys.stdin.fileno()))
            return
        url = urlsplit(target)
        if url.scheme in {"udp", "tcp"}:
            if not url.hostname or url.port is None:
                raise ValueError("host or port is missing")
            kind = socket.SOCK_DGRAM if url.scheme == "udp" else socket.SOCK_STREAM
            family, _, _, _, address = socket.getaddrinfo(url.hostname, url.port, type=kind)[0]
            self._open_socket(family, kind, address)
        elif url.scheme in {"unix", "unixgram"}:
            path = Path(url.path)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(path.stat().st_mode):
                    path.unlink()  # stale: left by a killed run
            kind = socket.SOCK_DGRAM if url.scheme == "unixgram" else socket.SOCK_STREAM
            self._open_socket(socket.AF_UNIX, kind, str(path))
            self._created_path = str(path)
        elif url.scheme:
            raise ValueError(f"unknown scheme {url.scheme}://; use udp, tcp, unix or unixgram")
        else:
            self._open_pipe(Path(target))

    def _open_socket(self, family: int, kind: int, address: Any) -> None:
        opened = socket.socket(family, kind)
        self._open_files.append(opened)
        if kind == socket.SOCK_STREAM and family != socket.AF_UNIX:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.setblocking(False)  # noqa: FBT003 - the socket interface
        #: Bound address; with the port that the system chose if 0 was given.
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
            self._created_path = str(path)
        if not stat.S_ISFIFO(path.stat().st_mode):
            raise ValueError("it exists and is not a named pipe")
        # Opened for writing as well: otherwise the pipe would end when its last writer leaves.
        opened = os.fdopen(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
        self._open_files.append(opened)
        self._add(opened, self._stream_reader(opened.fileno()))

    def _accept(self, listening: socket.socket) -> None:
        writer, _ = listening.accept()
        if len(self._open_files) > _MOST_WRITERS:
            self._arrivals.leave_out("more than 64 connections")
            writer.close()
            return
        writer.setblocking(False)  # noqa: FBT003 - the socket interface
        self._open_files.append(writer)
        self._add(writer, self._stream_reader(writer.fileno(), writer))

    def _stream_reader(self, descriptor: int, writer: socket.socket | None = None) -> Callable[[], None]:
        lines = Lines(self._arrivals, self._form)

        def read() -> None:
            piece = os.read(descriptor, _AT_ONCE)
            if piece:
                lines.feed(piece)
                return
            lines.feed(b"\n")  # the last line may lack its line break
            self._selector.unregister(descriptor)
            if writer is not None:
                self._open_files.remove(writer)
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
                    _LOG.warning("stream: an input failed and is no longer read: %s", error.strerror or error)
                    with contextlib.suppress(KeyError, ValueError):
                        self._selector.unregister(key.fileobj)

    def _release(self) -> None:
        self._selector.close()
        for opened in self._open_files:
            opened.close()
        os.close(self._waking)
        os.close(self._wake)
        self._wake = -1
        if self._created_path:
            Path(self._created_path).unlink(missing_ok=True)
