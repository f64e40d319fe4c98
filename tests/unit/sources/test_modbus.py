"""Source `modbus`, with a small test server by TCP and by serial line."""

from __future__ import annotations

import os
import socket
import struct
import threading
import tty
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from agent.core.errors import EnvironmentFault, UserError
from agent.sources.modbus import ModbusConfig, ModbusFault, ModbusSource

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("pymodbus")

HOLDING, INPUT, COILS, DISCRETE = 3, 4, 1, 2
ILLEGAL_ADDRESS = 2


class Device:
    """Fake device: registers by function and address; records requests."""

    def __init__(self) -> None:
        self.registers: dict[tuple[int, int], int] = {}
        self.asked: list[tuple[int, int, int, int]] = []
        self.silent: set[int] = set()

    def put(self, function: int, address: int, raw: bytes) -> None:
        words = struct.unpack(f">{len(raw) // 2}H", raw)
        self.registers.update({(function, address + i): word for i, word in enumerate(words)})

    def answer(self, unit: int, request: bytes) -> bytes | None:
        """Answer to a function, an address and a count."""
        function, address, count = struct.unpack(">BHH", request)
        self.asked.append((unit, function, address, count))
        if unit in self.silent:
            return None
        found = [self.registers.get((function, address + i)) for i in range(count)]
        if None in found:
            return bytes((function | 0x80, ILLEGAL_ADDRESS))
        if function in {COILS, DISCRETE}:
            bits = sum(bool(value) << index for index, value in enumerate(found))
            body = bits.to_bytes((count + 7) // 8, "little")
        else:
            body = struct.pack(f">{count}H", *found)
        return bytes((function, len(body))) + body


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def port(device: Device) -> Iterator[int]:
    """Serve the device by TCP, one connection after another."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening, device), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def serve(listening: socket.socket, device: Device) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as stream:
            while len(head := stream.read(7)) == 7:
                transaction, _, length, unit = struct.unpack(">HHHB", head)
                answer = device.answer(unit, stream.read(length - 1))
                if answer is not None:
                    connection.sendall(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)


def source(**keys: Any) -> ModbusSource:
    return ModbusSource(msgspec.convert({"type": "modbus", "timeout_s": 0.3, **keys}, ModbusConfig), 1.0)


def registers(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"r{i}", **part} for i, part in enumerate(parts)]


def test_numbers_of_every_form(device: Device, port: int) -> None:
    forms = {"int16": (">h", -7), "uint32": (">I", 70_000), "int64": (">q", -(1 << 40)), "float32": (">f", 1.5)}
    parts = []
    for index, (form, (packed, number)) in enumerate(forms.items()):
        device.put(HOLDING, 10 * index, struct.pack(packed, number))
        parts.append({"address": 10 * index, "form": form})
    device.put(INPUT, 5, struct.pack(">HH", *struct.unpack(">HH", struct.pack(">f", 2.25))[::-1]))
    parts.append({"address": 5, "table": "input", "form": "float32", "words": "little"})
    device.put(COILS, 3, struct.pack(">H", 1))
    parts.append({"address": 3, "table": "coil"})
    made = source(host="127.0.0.1", port=port, registers=registers(*parts))
    assert made.read() == [-7.0, 70_000.0, -float(1 << 40), 1.5, 2.25, 1.0]
    made.close()


def test_scale_offset_unit(device: Device, port: int) -> None:
    device.put(HOLDING, 0, struct.pack(">h", -125))
    part = {"address": 0, "form": "int16", "scale": 0.1, "offset": 2.0, "unit": "°C", "device": 9}
    made = source(host="127.0.0.1", port=port, registers=registers(part))
    assert made.read() == pytest.approx([-10.5])
    assert made.channels[0].unit == "°C"
    assert device.asked == [(9, HOLDING, 0, 1)]
    made.close()


def test_what_lies_side_by_side_is_asked_for_at_once(device: Device, port: int) -> None:
    device.put(HOLDING, 100, bytes(range(250)))
    parts = [{"address": 100 + 2 * i, "form": "uint32"} for i in (3, 0, 2, 1)]  # in any order
    parts += [{"address": 110}, {"address": 101, "form": "uint32"}]  # apart; and one upon another
    made = source(host="127.0.0.1", port=port, registers=registers(*parts))
    row = made.read()
    assert sorted(device.asked) == [(1, HOLDING, 100, 8), (1, HOLDING, 110, 1)]
    assert row[0] == struct.unpack(">I", bytes(range(250))[12:16])[0]
    assert row[5] == struct.unpack(">I", bytes(range(250))[2:6])[0]
    made.close()


def test_no_request_is_longer_than_the_protocol_allows(device: Device, port: int) -> None:
    device.put(HOLDING, 0, bytes(600))
    made = source(host="127.0.0.1", port=port, registers=registers(*({"address": i} for i in range(300))))
    assert np.isfinite(made.read()).all()
    assert [count for *_, count in device.asked] == [120, 120, 60]
    made.close()


def test_a_register_that_is_refused_is_missing_and_said_once(device: Device, port: int, caplog: Any) -> None:
    device.put(HOLDING, 0, b"\0\1")
    made = source(host="127.0.0.1", port=port, registers=registers({"address": 0}, {"address": 50}))
    for _ in range(3):
        np.testing.assert_array_equal(made.read(), [1.0, np.nan])
    assert caplog.text.count("refuses holding 50") == 1
    device.put(HOLDING, 50, b"\0\2")
    caplog.set_level("INFO")
    assert made.read() == [1.0, 2.0]
    assert "r1 has readings again" in caplog.text
    made.close()


def test_a_device_that_is_silent_is_asked_once_a_reading_and_the_others_go_on(device: Device, port: int) -> None:
    device.put(HOLDING, 0, b"\0\5")
    device.silent.add(2)
    parts = [{"address": 0}, {"address": 0, "device": 2}, {"address": 50, "device": 2}, {"address": 0, "device": 3}]
    made = source(host="127.0.0.1", port=port, registers=registers(*parts))
    np.testing.assert_array_equal(made.read(), [5.0, np.nan, np.nan, 5.0])
    assert [unit for unit, *_ in device.asked] == [1, 2, 3]
    made.close()


def test_the_connection_is_made_anew(device: Device) -> None:
    device.put(HOLDING, 0, b"\0\5")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening, device), daemon=True).start()
        port = listening.getsockname()[1]
        made = source(host="127.0.0.1", port=port, registers=registers({"address": 0}))
        assert made.read() == [5.0]
        listening.shutdown(socket.SHUT_RDWR)
    made._client.close()
    with pytest.raises(ModbusFault, match="does not answer"):
        made.read()
    with socket.create_server(("127.0.0.1", port)) as listening:
        threading.Thread(target=serve, args=(listening, device), daemon=True).start()
        assert made.read() == [5.0]
        made.close()
        listening.shutdown(socket.SHUT_RDWR)


def test_by_a_serial_line(device: Device) -> None:
    pytest.importorskip("serial")
    device.put(INPUT, 7, struct.pack(">h", -40))
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    thread = threading.Thread(target=serve_line, args=(ours, device), daemon=True)
    thread.start()
    part = {"address": 7, "table": "input", "form": "int16", "device": 17}
    made = source(serial=os.ttyname(theirs), baudrate=19200, parity="N", registers=registers(part))
    assert made.read() == [-40.0]
    made.close()
    os.close(theirs)
    thread.join(5)
    os.close(ours)


def serve_line(line: int, device: Device) -> None:
    while True:
        try:
            frame = os.read(line, 8)
            while len(frame) < 8:
                frame += os.read(line, 8 - len(frame))
        except OSError:  # the other end is closed
            return
        assert crc(frame[:-2]) == frame[-2:]
        answer = device.answer(frame[0], frame[1:-2])
        if answer is not None:
            whole = frame[:1] + answer
            os.write(line, whole + crc(whole))


def crc(frame: bytes) -> bytes:
    """CRC of serial frames, after "MODBUS over Serial Line"."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="two registers are called 'a'"):
        source(host="h", registers=[{"name": "a", "address": 0}, {"name": "a", "address": 1}])


@pytest.mark.parametrize("keys", [{}, {"host": "h", "serial": "/dev/ttyUSB0"}])
def test_a_host_or_a_line_has_to_be_named(keys: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError, match="give either host or serial"):
        source(registers=registers({"address": 0}), **keys)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymodbus.client", None)
    with pytest.raises(EnvironmentFault, match=r"edgewatch\[modbus\]"):
        source(host="h", registers=registers({"address": 0}))
