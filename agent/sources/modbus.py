"""Registers of meters, inverters and controllers over Modbus, by TCP or a serial line (RTU).

Adjacent registers of a device are read in one request. See "MODBUS Application Protocol Specification V1.1b3",
modbus.org.
"""

from __future__ import annotations

import logging
import struct
from math import isfinite, nan
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta

from agent.core.channel import Channel
from agent.core.errors import EnvironmentFault, UserError
from agent.sources.base import SourceConfig, named_twice

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ModbusConfig", "ModbusFault", "ModbusRegister", "ModbusSource"]

_LOG = logging.getLogger(__name__)
# Registers of one request; the protocol allows 125.
_MOST_REGISTERS = 120
_Form = Literal["bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
_Table = Literal["holding", "input", "coil", "discrete"]
# Form of a number → format of `struct`, most significant byte first.
_FORMS: dict[str, str] = {
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
# Table → method of the client.
_READS = {
    "holding": "read_holding_registers",
    "input": "read_input_registers",
    "coil": "read_coils",
    "discrete": "read_discrete_inputs",
}
# Tables whose entries are single bits.
_BITS = frozenset({"coil", "discrete"})


class ModbusRegister(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number of a device, one channel."""

    name: Annotated[str, Meta(min_length=1, description="Name of the channel.")]
    address: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description=(
                "Address of its first register, counted from 0: the 40001 of many manuals is holding register 0."
            ),
        ),
    ]
    table: Annotated[
        _Table, Meta(description="Table of the device: `holding` or `input` registers, `coil` or `discrete` inputs.")
    ] = "holding"
    form: Annotated[
        _Form,
        Meta(
            description=(
                "Number format in the registers: `int16` … `uint64`, `float32`, `float64`. Coils and discrete inputs "
                "are 0 or 1."
            )
        ),
    ] = "uint16"
    words: Annotated[
        Literal["big", "little"],
        Meta(description="Order of the registers of a number: the `big` end first, or the `little` end."),
    ] = "big"
    scale: Annotated[float, Meta(description="Factor that the number is multiplied by.")] = 1.0
    offset: Annotated[float, Meta(description="Number that is added after scaling.")] = 0.0
    unit: Annotated[str, Meta(max_length=16, description="Unit of the values, printed after them.")] = ""
    device: Annotated[int, Meta(ge=0, le=255, description="Number of the device on the line, or behind a gateway.")] = 1

    @property
    def count(self) -> int:
        """Number of registers, or bits, that the number occupies."""
        return 1 if self.table in _BITS or self.form == "bool" else struct.calcsize(_FORMS[self.form]) // 2


class ModbusConfig(SourceConfig, frozen=True, kw_only=True):
    """Keys of the `modbus` source."""

    registers: Annotated[
        tuple[ModbusRegister, ...], Meta(min_length=1, max_length=10_000, description="Registers to read.")
    ]
    host: Annotated[str, Meta(description="Host name or address of the device or gateway, for Modbus TCP.")] = ""
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP port of the device or gateway.")] = 502
    serial: Annotated[str, Meta(description="Serial port, such as `/dev/ttyUSB0`, instead of a host.")] = ""
    baudrate: Annotated[int, Meta(ge=50, le=4_000_000, description="Baud rate of the serial line.")] = 19200
    parity: Annotated[Literal["N", "E", "O"], Meta(description="Parity of the serial line: none, even, odd.")] = "E"
    stopbits: Annotated[Literal[1, 2], Meta(description="Stop bits of the serial line.")] = 1
    timeout_s: Annotated[float, Meta(gt=0, le=60, description="Time-out of an answer in seconds.")] = 1.0

    def __post_init__(self) -> None:
        if bool(self.host) == bool(self.serial):
            raise ValueError("give either host or serial")


class ModbusFault(Exception):  # noqa: N818 - logged, not fatal
    """A device does not answer, or answers with an error; the text is the reason."""


class _Refused(ModbusFault):
    """The device answers, but refuses the request."""


class _Request(NamedTuple):
    """One request for adjacent registers, or bits, of a device."""

    device: int
    table: str
    address: int
    size: int
    #: Channel index and register.
    wanted: list[tuple[int, ModbusRegister]]


class ModbusSource:
    """Reads the devices one after another over one connection, which is restored when lost.

    Raises
    ------
    EnvironmentFault
        The library pymodbus is not installed.
    UserError
        Two registers have the same name.
    """

    Config: ClassVar[type[SourceConfig]] = ModbusConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: ModbusConfig, interval_s: float) -> None:
        del interval_s
        twice = named_twice([register.name for register in config.registers])
        if twice is not None:
            raise UserError(f"two registers are called {twice!r}", location="$.registers", remedy="rename one of them")
        self.channels: tuple[Channel, ...] = tuple(Channel(r.name, r.unit) for r in config.registers)
        self._requests = _requests(config.registers)
        self._client = _client(config)
        # Index of a failing channel → logged reason; removed when it has readings again.
        self._failing: dict[int, str] = {}

    def read(self) -> Sequence[float]:
        """Return one number for each register; NaN if the device refuses it or does not answer.

        Raises
        ------
        ModbusFault
            No register could be read.
        """
        row = [nan] * len(self.channels)
        why = ""
        silent: set[int] = set()
        for request in self._requests:
            if request.device in silent:
                continue
            try:
                answer = self._ask(request)
            except ModbusFault as fault:
                why = why or str(fault)
                self._report(request, str(fault))
                if not isinstance(fault, _Refused):
                    silent.add(request.device)  # each further request would cost another time-out
                continue
            for channel, register in request.wanted:
                row[channel] = _number(register, answer, register.address - request.address)
                if self._failing.pop(channel, ""):
                    _LOG.info("%s has readings again", register.name)
        if why and not any(map(isfinite, row)):
            raise ModbusFault(why)
        return row

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, request: _Request) -> Sequence[int]:
        try:
            read = getattr(self._client, _READS[request.table])
            answer = read(request.address, count=request.size, device_id=request.device)
        except Exception as error:  # noqa: BLE001 - errors of pymodbus, sockets and serial lines
            raise ModbusFault(f"device {request.device} does not answer: {error}") from None
        if answer.isError():
            raise _Refused(f"device {request.device} refuses {request.table} {request.address}: {answer}")
        found: Sequence[int] = answer.bits if request.table in _BITS else answer.registers
        if len(found) < request.size:
            raise _Refused(f"device {request.device} refuses {request.table} {request.address}: a short answer")
        return found

    def _report(self, request: _Request, why: str) -> None:
        """Log the first failure of each channel."""
        for channel, register in request.wanted:
            if channel not in self._failing:
                self._failing[channel] = why
                _LOG.warning("no reading for %s: %s", register.name, why)


def _client(config: ModbusConfig) -> Any:
    try:
        from pymodbus.client import ModbusSerialClient, ModbusTcpClient  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise EnvironmentFault("pymodbus is not installed", remedy="pip install 'edgewatch[modbus]'") from error
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # failures are logged here, once
    if config.host:
        return ModbusTcpClient(config.host, port=config.port, timeout=config.timeout_s, retries=0)
    return ModbusSerialClient(
        config.serial,
        baudrate=config.baudrate,
        parity=config.parity,
        stopbits=config.stopbits,
        timeout=config.timeout_s,
        retries=0,
    )


def _requests(registers: Iterable[ModbusRegister]) -> list[_Request]:
    """Group adjacent and overlapping registers into requests."""
    requests: list[_Request] = []
    ordered = sorted(enumerate(registers), key=lambda each: (each[1].device, each[1].table, each[1].address))
    for channel, register in ordered:
        end = register.address + register.count
        if requests:
            last = requests[-1]
            size = max(last.size, end - last.address)
            alike = (last.device, last.table) == (register.device, register.table)
            if alike and register.address <= last.address + last.size and size <= _MOST_REGISTERS:
                last.wanted.append((channel, register))
                requests[-1] = last._replace(size=size)
                continue
        requests.append(
            _Request(register.device, register.table, register.address, register.count, [(channel, register)])
        )
    return requests


def _number(register: ModbusRegister, answer: Sequence[int], at: int) -> float:
    """Scaled value of a register, of which ``answer[at]`` is the first word or bit."""
    if register.table in _BITS or register.form == "bool":
        return float(bool(answer[at]))
    words = answer[at : at + register.count]
    if register.words == "little":
        words = words[::-1]
    raw = struct.pack(f">{len(words)}H", *words)
    (number,) = struct.unpack(f">{_FORMS[register.form]}", raw)
    return float(number) * register.scale + register.offset
