"""``edgewatch discover`` on fake machines made of files, and its written configuration."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.cli import discover, main
from agent.cli.discover import Machine
from agent.config import loader
from agent.core.channel import Channel
from agent.sources import mqtt as mqtt_source

if TYPE_CHECKING:
    from pathlib import Path

    from tools.testing.mosquitto import Mosquitto

NOBODY_LISTENS = ("127.0.0.1", 9)
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for name, text in {
        "sys/class/hwmon/hwmon0/name": "nct6775",
        "sys/class/hwmon/hwmon0/fan1_input": "1200",
        "sys/bus/iio/devices/iio:device0/name": "bme280",
        "sys/bus/iio/devices/iio:device0/in_temp_input": "21500",
        "sys/bus/w1/devices/28-0316a279b4ff/w1_slave": "aa YES\naa t=20000",
        "proc/net/route": ROUTES,
        "dev/serial/by-id/usb-Arduino: Nano-if00": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(tmp_path / "sys", tmp_path / "proc", tmp_path / "dev", NOBODY_LISTENS, 0.0)


def surveyed(machine: Machine) -> tuple[str, list[str]]:
    said: list[str] = []
    return discover.survey(machine, said.append), said


def types(text: str) -> list[str]:
    return [source.type for source in loader.parse(text.encode()).sources]


def test_what_the_kernel_shows_becomes_sources(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "_responds", lambda target: target.tcp == "192.168.1.1:53")
    text, said = surveyed(machine)
    assert types(text) == ["host", "latency", "hwmon", "iio", "onewire"]
    assert "hwmon.nct6775.fan1 1200 rpm" in text
    assert "iio.bme280.temp 21.5 °C" in text
    assert 'tcp: "192.168.1.1:53"' in text
    assert any("gateway: 192.168.1.1:53 answers by tcp" in line for line in said)


def test_a_machine_with_nothing_gets_a_configuration_all_the_same(tmp_path: Path) -> None:
    text, said = surveyed(Machine(tmp_path, tmp_path, tmp_path, NOBODY_LISTENS, 0.0))
    assert types(text) == ["host"]
    assert "gateway: no default route" in said
    assert "broker: 127.0.0.1:9 does not answer" in said


def test_what_was_left_in_comments_can_be_used(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "_responds", lambda _: False)
    text, _ = surveyed(machine)
    used = text.replace("# - {type: serial", "- {type: serial").replace("# disks", "disks")
    used = used.replace("  # - type: latency\n  #   targets", "  - type: latency\n    targets")
    assert types(used) == ["host", "latency", "hwmon", "iio", "onewire", "serial"]


def test_what_is_published_is_listened_to(machine: Machine, broker: Mosquitto) -> None:
    topics = {
        "zigbee2mqtt/kitchen": b'{"temperature": 21.5, "humidity": 40}',
        "zigbee2mqtt/attic": b'{"temperature": 12}',
        "homeassistant/sensor/x/state": b"7",
        "edgewatch/pi4/state": b'{"score": 0.5}',
        "words/only": b"hello",
    }
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(0.1):
            for topic, payload in topics.items():
                client.publish(topic, payload)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        text, said = surveyed(machine._replace(broker=("127.0.0.1", broker.port), listen_s=1.5))
    finally:
        stop.set()
        thread.join()
        client.loop_stop()
    (source,) = [each for each in loader.parse(text.encode()).sources if each.type == "mqtt"]
    assert [topic.filter for topic in source.topics] == ["zigbee2mqtt/#"]
    assert (source.host, source.port) == ("127.0.0.1", broker.port)
    assert any("3 readings" in line for line in said)
    assert loader.parse(text.encode()).mqtt.address == ("127.0.0.1", broker.port)


def test_names_that_others_chose_do_no_harm(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    odd = ['a"b: {[/x', "c'\\d/#e", "*&!/t"]

    class Fake:
        Config = mqtt_source.MqttSourceConfig
        channels = tuple(map(Channel, odd))

        def __init__(self, *_: Any) -> None:
            pass

        def close(self) -> None:
            pass

    monkeypatch.setattr(discover, "_answers", lambda _: True)
    monkeypatch.setattr(mqtt_source, "MqttSource", Fake)
    text, _ = surveyed(machine)
    (part,) = [each for each in loader.parse(text.encode()).sources if each.type == "mqtt"]
    assert sorted(topic.filter for topic in part.topics) == sorted(f"{name.split('/')[0]}/#" for name in odd)


@pytest.mark.parametrize(
    ("name", "worth"),
    [
        *((name, True) for name in ("sda", "vdb", "nvme0n1", "mmcblk0")),
        *((name, False) for name in ("sda1", "vdb2", "nvme0n1p2", "mmcblk0p1", "loop3", "dm-0", "zram0")),
    ],
)
def test_disks_are_whole_and_real(name: str, worth: bool) -> None:
    assert discover._is_worth(name) is worth


class TestCommand:
    def test_it_writes_a_new_file_that_works(self, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(discover, "_responds", lambda _: False)
        path = tmp_path / "config.yaml"
        begun = time.monotonic()
        assert main.main(["discover", "--output", str(path), "--broker", "127.0.0.1:9", "--seconds", "0"]) == 0
        assert time.monotonic() - begun < 30
        assert loader.load(path).sources[0].type == "host"
        assert "edgewatch check" in capsys.readouterr().out

    def test_it_writes_over_nothing(self, tmp_path: Path, capsys: Any) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("node: mine\n")
        assert main.main(["discover", "--output", str(path)]) == 2
        assert path.read_text() == "node: mine\n"
        assert "exists already" in capsys.readouterr().err

    @pytest.mark.parametrize("broker", ["", ":1883", "host:port", "host:0", "host:70000"])
    def test_a_broker_that_is_none_is_refused(self, broker: str, capsys: Any) -> None:
        assert main.main(["discover", "--broker", broker]) == 2
        assert "is not HOST or HOST:PORT" in capsys.readouterr().err
