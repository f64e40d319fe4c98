"""Sensors of boards and drives (temperatures, fans, voltages, currents, power, humidity), and thermal zones.

Files and units follow the kernel's documentation, hwmon/sysfs-interface and thermal/sysfs-api.
"""

from __future__ import annotations

import re
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import msgspec.structs
from msgspec import Meta

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig
from agent.sources.sysfs import COLDEST, HOTTEST, Gauge, Gauges, distinct, label_text, linear, slug

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["HwmonConfig", "HwmonSource"]


class _Quantity(NamedTuple):
    """Properties of a quantity's channels; `scale` converts the kernel's unit to `unit`."""

    unit: str
    scale: float
    effect: float
    minimum: float = -inf
    invalid_below: float = -inf
    invalid_above: float = inf

    def channel(self, name: str) -> Channel:
        """Make a channel of this quantity."""
        return Channel(
            name,
            self.unit,
            effect=self.effect,
            minimum=self.minimum,
            invalid_below=self.invalid_below,
            invalid_above=self.invalid_above,
        )


# Quantity, as in the names of the kernel's files → properties; the effects, in `unit`, are chosen by hand.
_QUANTITIES = {
    "temp": _Quantity("°C", 1e-3, 3.0, invalid_below=COLDEST, invalid_above=HOTTEST),
    "fan": _Quantity("rpm", 1.0, 200.0, 0.0),
    "in": _Quantity("V", 1e-3, 0.1),
    "curr": _Quantity("A", 1e-3, 0.2),
    "power": _Quantity("W", 1e-6, 5.0),
    "humidity": _Quantity("%", 1e-3, 5.0, 0.0, invalid_below=-5.0, invalid_above=105.0),
}
# Files that hold a value, such as temp1_input and power1_average.
_INPUT = re.compile(r"(temp|fan|in|curr|power|humidity)(\d+)_(?:input|average)")


class HwmonConfig(SourceConfig, frozen=True):
    """Keys of the `hwmon` source."""

    chips: Annotated[
        tuple[str, ...], Meta(description="Names of the chips to read, as `edgewatch probe` shows them. Default: all.")
    ] = ()
    quantities: Annotated[
        tuple[Annotated[str, Meta(extra_json_schema={"enum": list(_QUANTITIES)})], ...],
        Meta(min_length=1, description="Quantities to read."),
    ] = tuple(_QUANTITIES)
    zones: Annotated[bool, Meta(description="Read thermal zones, too.")] = True
    root: Annotated[str, Meta(min_length=1, description="Folder in which the kernel lists its classes of devices.")] = (
        "/sys/class"
    )

    def __post_init__(self) -> None:
        for quantity in self.quantities:
            if quantity not in _QUANTITIES:
                raise ValueError(f"unknown quantity {quantity!r}; choose among {', '.join(_QUANTITIES)}")


class HwmonSource:
    """Reads the sensors present at start.

    Raises
    ------
    UserError
        No sensor exists, or a chip in `chips` does not exist.
    """

    Config: ClassVar[type[SourceConfig]] = HwmonConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: HwmonConfig, interval_s: float) -> None:  # noqa: ARG002 - readings do not depend on it
        root = Path(config.root)
        chips = _chips(root)
        missing = sorted(set(config.chips) - set(chips))
        if missing:
            raise UserError(
                f"no chip {missing[0]!r} on this machine",
                location="$.chips",
                remedy=f"choose among {', '.join(chips)}"
                if chips
                else "no chip exists: load the driver of its sensors",
            )
        gauges = [
            gauge
            for chip, folder in chips.items()
            if not config.chips or chip in config.chips
            for gauge in _sensors(chip, folder, config.quantities)
        ]
        gauges += list(_zones(root)) if config.zones and "temp" in config.quantities else []
        if not gauges:
            raise UserError(
                "no sensor on this machine",
                location="$",
                remedy="load the driver of the board's chip (`sensors-detect` names it), or remove this source",
            )
        names = distinct(gauge.channel.name for gauge in gauges)
        self._gauges = Gauges(
            gauge._replace(channel=msgspec.structs.replace(gauge.channel, name=name))
            for gauge, name in zip(gauges, names, strict=True)
        )
        self.channels: tuple[Channel, ...] = self._gauges.channels

    def read(self) -> Sequence[float]:
        """Return one number for each channel; NaN for a sensor that fails."""
        return self._gauges.read()

    def close(self) -> None:
        """No-op: nothing stays open between reads."""


def _chips(root: Path) -> dict[str, Path]:
    """Folders of the chips by name, in the kernel's order; repeated names are numbered."""
    folders = sorted((root / "hwmon").glob("hwmon*"), key=_number)
    names = distinct(slug(label_text(folder / "name") or folder.name) for folder in folders)
    return dict(zip(names, folders, strict=True))


def _sensors(chip: str, folder: Path, quantities: Sequence[str]) -> Iterator[Gauge]:
    found: dict[tuple[str, int], Path] = {}
    # Some drivers keep their files in the folder of the device.
    for parent in (folder, folder / "device"):
        for path in parent.glob("*_*"):
            match = _INPUT.fullmatch(path.name)
            if match and match[1] in quantities:
                found.setdefault((match[1], int(match[2])), path)
    for quantity, index in sorted(found, key=lambda key: (list(_QUANTITIES).index(key[0]), key[1])):
        path, kind = found[quantity, index], _QUANTITIES[quantity]
        label = slug(label_text(path.with_name(f"{quantity}{index}_label"))) or f"{quantity}{index}"
        channel = kind.channel(f"hwmon.{chip}.{label}")
        yield Gauge(channel, path, linear(kind.scale))


def _zones(root: Path) -> Iterator[Gauge]:
    for folder in sorted((root / "thermal").glob("thermal_zone*"), key=_number):
        kind = _QUANTITIES["temp"]
        name = slug(label_text(folder / "type")) or folder.name
        channel = kind.channel(f"thermal.{name}")
        yield Gauge(channel, folder / "temp", linear(kind.scale))


def _number(path: Path) -> int:
    return int(re.sub(r"\D", "", path.name) or 0)
