"""Sensors in files: sources `hwmon`, `iio`, `onewire` and `file`."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent.core.errors import UserError
from agent.sources.registry import source_class

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

YES = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t={}\n"


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def opened(kind: str, **keys: Any) -> Any:
    source = source_class(kind)
    return source(msgspec.convert({"type": kind, **keys}, source.Config), 1.0)


def readings(source: Any) -> dict[str, float]:
    return dict(zip((channel.name for channel in source.channels), source.read(), strict=True))


BOARD = {
    "hwmon/hwmon0/name": "coretemp\n",
    "hwmon/hwmon0/temp1_input": "45000\n",
    "hwmon/hwmon0/temp1_label": "Package id 0\n",
    "hwmon/hwmon0/temp2_input": "44000\n",
    "hwmon/hwmon1/name": "nct6775\n",
    "hwmon/hwmon1/fan2_input": "1200\n",
    "hwmon/hwmon1/in0_input": "1104\n",
    "hwmon/hwmon1/power1_average": "15000000\n",
    "hwmon/hwmon1/temp1_crit": "100000\n",
    "hwmon/hwmon2/name": "nvme\n",
    "hwmon/hwmon2/temp1_input": "38850\n",
    "hwmon/hwmon10/name": "nvme\n",
    "hwmon/hwmon10/device/temp1_input": "41850\n",
    "thermal/thermal_zone0/type": "cpu-thermal\n",
    "thermal/thermal_zone0/temp": "48312\n",
}


class TestHwmon:
    def test_every_sensor_reads_in_its_unit_under_its_label(self, tmp_path: Path) -> None:
        source = opened("hwmon", root=str(tree(tmp_path, BOARD)))
        assert readings(source) == pytest.approx(
            {
                "hwmon.coretemp.package_id_0": 45.0,
                "hwmon.coretemp.temp2": 44.0,
                "hwmon.nct6775.fan2": 1200.0,
                "hwmon.nct6775.in0": 1.104,
                "hwmon.nct6775.power1": 15.0,
                "hwmon.nvme.temp1": 38.85,
                "hwmon.nvme.2.temp1": 41.85,
                "thermal.cpu-thermal": 48.312,
            }
        )
        assert [channel.unit for channel in source.channels] == ["°C", "°C", "rpm", "V", "W", "°C", "°C", "°C"]

    def test_what_is_read_can_be_chosen(self, tmp_path: Path) -> None:
        root = str(tree(tmp_path, BOARD))
        assert list(readings(opened("hwmon", root=root, chips=["nvme"], zones=False))) == ["hwmon.nvme.temp1"]
        assert list(readings(opened("hwmon", root=root, quantities=["fan"]))) == ["hwmon.nct6775.fan2"]

    def test_a_sensor_that_fails_costs_its_own_reading_and_is_said_once(self, tmp_path: Path, caplog: Any) -> None:
        source = opened("hwmon", root=str(tree(tmp_path, BOARD)))
        fan = tmp_path / "hwmon/hwmon1/fan2_input"
        fan.unlink()
        for _ in range(3):
            found = readings(source)
            assert [name for name, value in found.items() if math.isnan(value)] == ["hwmon.nct6775.fan2"]
        fan.write_text("900")
        assert readings(source)["hwmon.nct6775.fan2"] == 900.0
        assert [record.message.split(":")[0] for record in caplog.records] == ["no reading for hwmon.nct6775.fan2"]

    def test_a_machine_without_sensors_and_a_chip_that_is_not_there_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no sensor"):
            opened("hwmon", root=str(tmp_path))
        root = str(tree(tmp_path, BOARD))
        with pytest.raises(UserError, match=r"(?s)no chip 'nvm'.*coretemp, nct6775, nvme, nvme\.2"):
            opened("hwmon", root=root, chips=["nvm"])
        with pytest.raises(msgspec.ValidationError, match="unknown quantity 'light'"):
            opened("hwmon", root=root, quantities=["light"])


class TestIio:
    def test_scale_and_offset_are_the_channels_own_or_those_of_its_kind(self, tmp_path: Path) -> None:
        folder = "iio:device0"
        root = tree(
            tmp_path,
            {
                f"{folder}/name": "mcp3424\n",
                f"{folder}/in_voltage0_raw": "2000\n",
                f"{folder}/in_voltage1_raw": "1000\n",
                f"{folder}/in_voltage_scale": "0.5\n",
                f"{folder}/in_voltage1_scale": "2\n",
                f"{folder}/in_temp_raw": "100\n",
                f"{folder}/in_temp_offset": "-50\n",
                f"{folder}/in_temp_scale": "1000\n",
                "iio:device1/name": "bme280\n",
                "iio:device1/in_pressure_input": "101.325\n",
                "iio:device1/in_humidityrelative_input": "45500\n",
                "iio:device1/in_temp_input": "21500\n",
                "iio:device1/in_temp_raw": "7\n",
                "iio:device1/in_pressure_oversampling_ratio": "2\n",
            },
        )
        source = opened("iio", root=str(root))
        assert readings(source) == pytest.approx(
            {
                "iio.mcp3424.temp": 50.0,
                "iio.mcp3424.voltage0": 1.0,
                "iio.mcp3424.voltage1": 2.0,
                "iio.bme280.humidityrelative": 45.5,
                "iio.bme280.pressure": 1013.25,
                "iio.bme280.temp": 21.5,
            }
        )
        assert source.channels[4].unit == "hPa"
        assert len(opened("iio", root=str(root), devices=["bme280"]).channels) == 3

    def test_no_device_and_one_that_is_not_there_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no device has a channel"):
            opened("iio", root=str(tmp_path))
        with pytest.raises(UserError, match="no device 'bme280'"):
            opened("iio", root=str(tmp_path), devices=["bme280"])


class TestOneWire:
    def test_thermometers_bear_the_names_that_they_are_given(self, tmp_path: Path) -> None:
        root = tree(
            tmp_path,
            {
                "28-0316a279b4ff/w1_slave": YES.format(21312),
                "28-0000000000aa/w1_slave": YES.format(-1250),
                "w1_bus_master1/w1_master_name": "x",
                "29-0000000000aa/w1_slave": YES.format(1),
            },
        )
        source = opened("onewire", root=str(root), names={"28-0316a279b4ff": "boiler"})
        assert readings(source) == {"onewire.28-0000000000aa": -1.25, "onewire.boiler": 21.312}

    @pytest.mark.parametrize(
        "text",
        [
            YES.format(85000),
            YES.format(21312).replace("YES", "NO"),
            "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n",
            "",
            "YES\nt=21000",
            "crc=1c YES",
        ],
    )
    def test_what_is_no_temperature_is_missing(self, tmp_path: Path, text: str) -> None:
        root = tree(tmp_path, {"28-0316a279b4ff/w1_slave": text})
        assert math.isnan(opened("onewire", root=str(root)).read()[0])

    def test_one_that_is_named_may_come_later(self, tmp_path: Path) -> None:
        source = opened("onewire", root=str(tmp_path), names={"28-01": "roof"})
        assert math.isnan(readings(source)["onewire.roof"])
        tree(tmp_path, {"28-01/w1_slave": YES.format(9000)})
        assert readings(source)["onewire.roof"] == 9.0

    def test_an_empty_bus_is_told_with_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="w1-gpio"):
            opened("onewire", root=str(tmp_path))


class TestFile:
    def test_numbers_alone_and_in_documents_are_read_and_scaled(self, tmp_path: Path) -> None:
        tree(tmp_path, {"level": " 12.5 cm\n", "battery.json": '{"cells": [{"mV": 3700}]}', "door": "open\n"})
        entries = [
            {"name": "tank", "path": str(tmp_path / "level")},
            {"name": "cell", "path": str(tmp_path / "battery.json"), "value": "cells.0.mV", "scale": 0.001},
            {"name": "door", "path": str(tmp_path / "door")},
        ]
        assert readings(opened("file", files=entries)) == {"tank": 12.5, "cell": 3.7, "door": 1.0}

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"1,5", b"unavailable", b"{", b"inf", b"9" * 5000])
    def test_nonsense_is_missing(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "level").write_bytes(content)
        assert math.isnan(opened("file", files=[{"name": "a", "path": str(tmp_path / "level")}]).read()[0])

    def test_a_pipe_that_nobody_writes_to_holds_up_nothing(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert math.isnan(opened("file", files=[{"name": "a", "path": str(tmp_path / "pipe")}]).read()[0])

    def test_two_files_of_one_name_are_refused(self) -> None:
        with pytest.raises(UserError, match="two files are called 'a'"):
            opened("file", files=[{"name": "a", "path": "x"}, {"name": "a", "path": "y"}])
