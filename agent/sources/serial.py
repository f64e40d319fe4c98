"""Lines from a serial port, for example of a microcontroller, in any format of the source ``stream``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta

from agent.core.errors import EnvironmentFault
from agent.sources.line_formats import LineFormat  # noqa: TC001 - msgspec resolves the hint at run time
from agent.sources.push_buffer import ArrivalsConfig, Arriving
from agent.sources.stream import Lines

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array
    from agent.sources.base import SourceConfig

__all__ = ["SerialConfig", "SerialFault", "SerialSource"]

# Seconds of one blocking read, which bounds the time to close; chosen by hand.
_WAIT_S = 0.5
# Seconds between attempts to open the port; chosen by hand.
_PAUSE_S = 2.0
# Bytes of one read.
_AT_ONCE = 4096


class SerialConfig(ArrivalsConfig, frozen=True, kw_only=True):
    """Keys of the `serial` source."""

    port: Annotated[
        str,
        Meta(
            min_length=1,
            description="Serial port, such as `/dev/ttyUSB0`; its name below `/dev/serial/by-id` does not change.",
        ),
    ]
    baudrate: Annotated[int, Meta(ge=50, le=4_000_000, description="Baud rate of the serial line.")] = 115200
    format: LineFormat = "auto"


class SerialFault(Exception):  # noqa: N818 - logged, not fatal
    """The port cannot be read at present; the text is the reason."""


class SerialSource(Arriving):
    """Reads lines in a thread of its own; reopens a port that disappeared and returned.

    Raises
    ------
    EnvironmentFault
        The library pyserial is not installed.
    """

    Config: ClassVar[type[SourceConfig]] = SerialConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: SerialConfig, interval_s: float) -> None:
        del interval_s
        super().__init__(config)
        try:
            import serial  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise EnvironmentFault("pyserial is not installed", remedy="pip install 'edgewatch[serial]'") from error
        self._config = config
        self._library: Any = serial
        self._stopped = threading.Event()
        self._fault = "not opened yet"
        self._thread = threading.Thread(target=self._run, name="serial", daemon=True)
        self._thread.start()

    def read(self) -> Float32Array:
        """See `Source.read`.

        Raises
        ------
        SerialFault
            The port does not exist or cannot be opened.
        """
        row = super().read()
        if self._fault:
            raise SerialFault(f"{self._config.port}: {self._fault}")
        return row

    def close(self) -> None:
        """Stop reading and close the port."""
        self._stopped.set()
        self._thread.join(2 * _WAIT_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._library.Serial(self._config.port, self._config.baudrate, timeout=_WAIT_S) as port:
                    self._fault = ""
                    self._listen(port)
            except (OSError, ValueError, self._library.SerialException) as error:
                self._fault = getattr(error, "strerror", None) or str(error)
            self._stopped.wait(_PAUSE_S)

    def _listen(self, port: Any) -> None:
        lines = Lines(self._arrivals, self._config.format)
        # Drop input received before opening: it may begin within a line.
        port.reset_input_buffer()
        while not self._stopped.is_set():
            piece = port.read(max(1, min(port.in_waiting, _AT_ONCE)))
            if piece:
                lines.feed(piece)
