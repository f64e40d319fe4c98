"""Thermometers on a 1-wire bus (DS18B20 and its kin), through the kernel's driver.

Missing values are: a wrong checksum (a disturbed line), exactly 85 °C (the power-on value after a lost conversion), and
all zeros (a shorted line; their checksum is correct). See the kernel's documentation, w1/slaves/w1_therm, and the data
sheet of the DS18B20.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta, field

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig
from agent.sources.sysfs import Gauge, GaugeFault, Gauges

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OneWireConfig", "OneWireSource"]

# Family codes, in hexadecimal, of DS18S20, DS1822, DS18B20, DS1825, DS28EA00.
_FAMILIES = ("10", "22", "28", "3b", "42")
# Measuring range in °C (data sheet).
_COLDEST, _HOTTEST = -55.0, 125.0
# Value after power-on, in thousandths of °C (data sheet).
_POWER_ON = 85000
_READING = re.compile(r"t=(-?\d+)$")


class OneWireConfig(SourceConfig, frozen=True):
    """Keys of the `onewire` source."""

    names: Annotated[
        dict[str, str],
        Meta(
            description=(
                "Thermometers to read: the identity on the bus and the name of each, such as `28-0316a279b4ff: "
                "boiler`. Default: all present at start."
            )
        ),
    ] = field(default_factory=dict)
    root: Annotated[str, Meta(min_length=1, description="Folder in which the kernel lists the bus.")] = (
        "/sys/bus/w1/devices"
    )


class OneWireSource:
    """Reads the thermometers present at start and those in `names`; each takes most of a second.

    Raises
    ------
    UserError
        No thermometer is present, and `names` is empty.
    """

    Config: ClassVar[type[SourceConfig]] = OneWireConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: OneWireConfig, interval_s: float) -> None:  # noqa: ARG002 - readings do not depend on it
        root = Path(config.root)
        here = {path.name for path in root.glob("*-*") if path.name.partition("-")[0].lower() in _FAMILIES}
        identities = sorted(here | set(config.names))
        if not identities:
            raise UserError(
                "no thermometer on the 1-wire bus",
                location=config.root,
                remedy="on a Raspberry Pi, put `dtoverlay=w1-gpio` into config.txt and 4.7 kΩ from the line to 3.3 V",
            )
        self._gauges = Gauges(
            Gauge(
                Channel(
                    f"onewire.{config.names.get(identity, identity)}",
                    "°C",
                    effect=1.0,
                    minimum=_COLDEST,
                    maximum=_HOTTEST,
                ),
                root / identity / "w1_slave",
                _celsius,
            )
            for identity in identities
        )
        self.channels: tuple[Channel, ...] = self._gauges.channels

    def read(self) -> Sequence[float]:
        """Return °C of each thermometer; NaN for one that fails."""
        return self._gauges.read()

    def close(self) -> None:
        """No-op: nothing stays open between reads."""


def _celsius(text: str) -> float:
    """Return °C from the driver's two lines: the scratch pad with its checksum, then the value."""
    first, _, second = text.partition("\n")
    reading = _READING.search(second)
    if not first.endswith("YES") or reading is None:
        raise GaugeFault("wrong checksum: the line is disturbed")
    if not int(first.replace(" ", "").partition(":")[0] or "0", 16):
        raise GaugeFault("all zeros: the line is shorted")
    if int(reading[1]) == _POWER_ON:
        raise GaugeFault("85 °C is the power-on value: the conversion was lost")
    return int(reading[1]) / 1000.0
