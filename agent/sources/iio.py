"""Converters and sensors of the kernel's industrial I/O (IIO): voltages, currents, air, light, movement.

A value is ``(raw + offset) · scale``, in the units of the kernel's documentation, ABI/testing/sysfs-bus-iio. A channel
without its own scale or offset uses that of its type.
"""

from __future__ import annotations

import re
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from msgspec import Meta

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig
from agent.sources.sysfs import COLDEST, HOTTEST, Gauge, Gauges, distinct, label_text, linear, slug

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["IioConfig", "IioSource"]


class _Quantity(NamedTuple):
    """Properties of the channels of a type; `factor` converts the kernel's unit to `unit`."""

    unit: str
    factor: float
    effect: float = 0.0
    log_reference: float = 0.0
    invalid_below: float = -inf
    invalid_above: float = inf


# Type of a channel, as in the names of the kernel's files → properties. The effects are chosen by hand: differences in
# `unit`, or factors where log_reference is given.
_QUANTITIES = {
    "voltage": _Quantity("V", 1e-3, 0.05),
    "altvoltage": _Quantity("V", 1e-3, 0.05),
    "current": _Quantity("A", 1e-3, 0.05),
    "power": _Quantity("W", 1e-3, 1.0),
    "resistance": _Quantity("Ω", 1.0),
    "temp": _Quantity("°C", 1e-3, 1.0, invalid_below=COLDEST, invalid_above=HOTTEST),
    "humidityrelative": _Quantity("%", 1e-3, 5.0, invalid_below=-5.0, invalid_above=105.0),
    "pressure": _Quantity("hPa", 10.0, 2.0),
    "concentration": _Quantity("%", 1.0),
    "massconcentration": _Quantity("µg/m³", 1.0, 2.0, 1.0),
    "illuminance": _Quantity("lx", 1.0, 2.0, 1.0),
    "intensity": _Quantity("", 1.0, 2.0, 1.0),
    "proximity": _Quantity("", 1.0),
    "distance": _Quantity("m", 1.0),
    "accel": _Quantity("m/s²", 1.0, 0.5),
    "anglvel": _Quantity("rad/s", 1.0, 0.1),
    "magn": _Quantity("G", 1.0, 0.05),
    "ph": _Quantity("", 1.0, 0.2),
    "electricalconductivity": _Quantity("S/m", 1.0),
    "uvindex": _Quantity("", 1.0, 1.0),
}
# Files that hold a value: in_<type>…_input, computed by the driver, or in_<type>…_raw.
_VALUE = re.compile(r"(in_([a-z]+)[a-z0-9_-]*?)_(input|raw)")


class IioConfig(SourceConfig, frozen=True):
    """Keys of the `iio` source."""

    devices: Annotated[
        tuple[str, ...],
        Meta(description="Names of the devices to read, as `edgewatch probe` shows them. Default: all."),
    ] = ()
    root: Annotated[str, Meta(min_length=1, description="Folder in which the kernel lists the devices.")] = (
        "/sys/bus/iio/devices"
    )


class IioSource:
    """Reads the channels present at start.

    Raises
    ------
    UserError
        No channel exists, or a device in `devices` does not exist.
    """

    Config: ClassVar[type[SourceConfig]] = IioConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: IioConfig, interval_s: float) -> None:  # noqa: ARG002 - readings do not depend on it
        folders = sorted(Path(config.root).glob("iio:device*"))
        devices = dict(zip(distinct(_name(folder) for folder in folders), folders, strict=True))
        missing = sorted(set(config.devices) - set(devices))
        if missing:
            raise UserError(
                f"no device {missing[0]!r} on this machine",
                location="$.devices",
                remedy=f"choose among {', '.join(devices)}" if devices else "no IIO device exists: load its driver",
            )
        self._gauges = Gauges(
            gauge
            for name, folder in devices.items()
            if not config.devices or name in config.devices
            for gauge in _channels(name, folder)
        )
        self.channels: tuple[Channel, ...] = self._gauges.channels
        if not self.channels:
            raise UserError(
                "no device has a channel that can be read",
                location=config.root,
                remedy="load the device's driver (on a Raspberry Pi by a `dtoverlay` in config.txt)",
            )

    def read(self) -> Sequence[float]:
        """Return one number for each channel; NaN for one that fails."""
        return self._gauges.read()

    def close(self) -> None:
        """No-op: nothing stays open between reads."""


def _channels(device: str, folder: Path) -> Iterator[Gauge]:
    found: dict[str, tuple[Path, str]] = {}
    # `_input` sorts before `_raw`, so that the value computed by the driver is preferred.
    for path in sorted(folder.glob("in_*_*")):
        match = _VALUE.fullmatch(path.name)
        if match and match[2] in _QUANTITIES:
            found.setdefault(match[1], (path, match[2]))
    for stem, (path, kind) in found.items():
        quantity = _QUANTITIES[kind]
        scale, offset = quantity.factor, 0.0
        if path.name.endswith("_raw"):
            scale *= _setting(folder, stem, kind, "scale", 1.0)
            offset = _setting(folder, stem, kind, "offset", 0.0)
        label = slug(label_text(folder / f"{stem}_label")) or stem.removeprefix("in_")
        channel = Channel(
            f"iio.{device}.{label}",
            quantity.unit,
            effect=quantity.effect,
            log_reference=quantity.log_reference,
            invalid_below=quantity.invalid_below,
            invalid_above=quantity.invalid_above,
        )
        yield Gauge(channel, path, linear(scale, offset))


def _setting(folder: Path, stem: str, kind: str, setting: str, default: float) -> float:
    """Scale or offset of a channel: its own, else that of its type, else `default`."""
    for path in (folder / f"{stem}_{setting}", folder / f"in_{kind}_{setting}"):
        try:
            return float(label_text(path))
        except ValueError:
            continue
    return default


def _name(folder: Path) -> str:
    return slug(label_text(folder / "name")) or slug(folder.name.removeprefix("iio:"))
