"""Lines from a serial port, simulated by a pseudo-terminal."""

from __future__ import annotations

import os
import sys
import tty
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.core.errors import EnvironmentFault
from agent.sources import serial as serial_source
from agent.sources.serial import SerialConfig, SerialFault, SerialSource
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("serial")


class Port:
    """A port that can be unplugged."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.plug_in()

    def plug_in(self) -> None:
        self.ours, self.theirs = os.openpty()
        tty.setraw(self.theirs)
        self.link.symlink_to(os.ttyname(self.theirs))

    def unplug(self) -> None:
        self.link.unlink()
        os.close(self.theirs)
        os.close(self.ours)

    def write(self, text: bytes) -> None:
        os.write(self.ours, text)


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    monkeypatch.setattr(serial_source, "_PAUSE_S", 0.1)
    made = Port(tmp_path / "ttyUSB0")
    yield made
    made.unplug()


@pytest.fixture
def source(port: Port) -> Iterator[SerialSource]:
    made = SerialSource(SerialConfig(type="serial", port=str(port.link), max_channels=3), 1.0)
    wait_for(lambda: is_open(made), what="the port to be open")
    yield made
    made.close()


def is_open(source: SerialSource) -> bool:
    try:
        source.read()
    except SerialFault:
        return False
    return True


def names(source: SerialSource) -> list[str]:
    return [channel.name for channel in source.channels if channel.name]


def test_what_is_printed_becomes_readings(port: Port, source: SerialSource) -> None:
    port.write(b'attic.t 21.5\n{"cellar": 12.25}\nnoise \xff\xfe\n')
    wait_for(lambda: len(names(source)) == 2)
    assert names(source) == ["attic.t", "cellar"]
    assert np.asarray(source.read())[:2].tolist() == [21.5, 12.25]
    assert wait_for(lambda: source.left_out) == {"not text": 1}


def test_a_port_that_is_gone_fails_until_it_is_back(port: Port, source: SerialSource) -> None:
    port.write(b"a 1\n")
    wait_for(lambda: names(source) == ["a"])
    port.unplug()
    wait_for(lambda: not is_open(source), what="the loss to be seen")
    with pytest.raises(SerialFault, match="ttyUSB0"):
        source.read()
    port.plug_in()
    wait_for(lambda: is_open(source), what="the port to be back")
    port.write(b"a 2\n")
    wait_for(lambda: is_open(source) and source.read()[0] == 2.0)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(EnvironmentFault, match=r"edgewatch\[serial\]"):
        SerialSource(SerialConfig(type="serial", port="x"), 1.0)


def test_closing_ends_the_thread(source: Any) -> None:
    source.close()
    assert not source._thread.is_alive()
