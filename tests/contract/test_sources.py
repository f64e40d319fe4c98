"""Promises of every registered source."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from agent.core.channel import Channel
from agent.sources.base import OpenSource, SourceConfig
from agent.sources.http import PageError
from agent.sources.modbus import ModbusFault
from agent.sources.registry import REGISTRY, source_class
from agent.sources.serial import SerialFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.sources.base import Source

# Keys without which a source has nothing to read; every other source must work from its name alone.
NEEDED: dict[str, dict[str, Any]] = {
    "latency": {"targets": [{"name": "self", "tcp": "127.0.0.1:1", "timeout_s": 0.2}]},
    "csv": {"path": "readings.csv"},
    "stream": {"listen": "lines", "max_channels": 3},
    "mqtt": {"topics": [{"filter": "#"}], "port": 1, "max_channels": 3},
    "hwmon": {"root": "sys"},
    "iio": {"root": "sys/iio"},
    "onewire": {"names": {"28-01": "boiler"}},
    "process": {"programs": [{"name": "self", "process": "python*"}]},
    "file": {"files": [{"name": "level", "path": "level"}]},
    "command": {"name": "level", "command": ["cat", "level"]},
    "serial": {"port": "nothing", "max_channels": 3},
    "modbus": {"host": "127.0.0.1", "port": 1, "timeout_s": 0.2, "registers": [{"name": "level", "address": 0}]},
    "http": {"name": "page", "url": "http://127.0.0.1:1/", "values": {"level": "level"}, "timeout_s": 0.2},
}
ABSENT = (PageError, ModbusFault, SerialFault)
pytestmark = pytest.mark.parametrize("name", sorted(REGISTRY))


@pytest.fixture
def keys(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readings.csv").write_text("time,a,b\n" + "".join(f"{second},1,\n" for second in range(20)))
    (tmp_path / "level").write_text("5\n")
    for folder in ("sys/thermal/thermal_zone0", "sys/iio/iio:device0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / ("temp" if "thermal" in folder else "in_temp_input")).write_text("50000\n")
    return {"type": name, **NEEDED.get(name, {})}


@pytest.fixture
def source(name: str, keys: dict[str, Any]) -> Iterator[Source]:
    kind = source_class(name)
    made = kind(msgspec.convert(keys, kind.Config), 1.0)
    yield made
    made.close()


def test_each_read_gives_one_number_for_each_channel(name: str, source: Source) -> None:
    if name in {"http", "modbus", "serial"}:  # no device or server: a failed reading
        with pytest.raises(ABSENT):
            source.read()
        return
    for _ in range(5):
        values = np.asarray(source.read(), np.float32)
        assert values.shape == (len(source.channels),)


def test_channels_are_there_from_the_start_with_distinct_names(name: str, source: Source) -> None:
    assert source.channels
    assert all(isinstance(channel, Channel) for channel in source.channels)
    names = [channel.name for channel in source.channels]
    if isinstance(source, OpenSource):  # slots without a channel yet
        assert not any(names)
        return
    assert len(set(names)) == len(names)
    assert all(names)
    with contextlib.suppress(*ABSENT):
        source.read()
    assert [channel.name for channel in source.channels] == names


def test_effects_make_sense_on_their_scale(name: str, source: Source) -> None:
    for channel in source.channels:
        assert channel.log_reference >= 0.0
        assert channel.effect >= (1.0 if channel.log_reference else 0.0)


def test_closing_twice_does_no_harm(name: str, source: Source) -> None:
    source.close()
    source.close()


def test_the_class_says_whether_it_may_block(name: str) -> None:
    assert isinstance(source_class(name).inline, bool)


def test_every_key_has_a_default_or_is_known_to_be_needed(name: str) -> None:
    config = source_class(name).Config
    assert issubclass(config, SourceConfig)
    required = {field.name for field in msgspec.structs.fields(config) if field.required}
    assert required - {"type"} <= set(NEEDED.get(name, {}))


def test_an_unknown_key_is_refused(name: str, keys: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `colour`"):
        msgspec.convert({**keys, "colour": "red"}, source_class(name).Config)


def test_the_config_has_a_json_schema_that_describes_every_key(name: str) -> None:
    config = source_class(name).Config
    schema = msgspec.json.schema(config)
    properties = schema["$defs"][config.__name__]["properties"]
    assert all("description" in key for key_name, key in properties.items() if key_name != "type")
    msgspec.json.encode(schema)


def test_the_config_survives_being_written_down(name: str, keys: dict[str, Any]) -> None:
    config = source_class(name).Config
    made = msgspec.convert(keys, config)
    assert msgspec.json.decode(msgspec.json.encode(made), type=config) == made
