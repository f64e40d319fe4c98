"""Numbers that the kernel, or whoever else, keeps in small files: what the sources of sensors are made of."""

from __future__ import annotations

import logging
import os
from math import isfinite, nan
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.core.channel import Channel

__all__ = [
    "COLDEST",
    "HOTTEST",
    "Gauge",
    "GaugeFault",
    "Gauges",
    "distinct",
    "label_text",
    "linear",
    "read_text",
    "slug",
]

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 4096
#: In °C: a thermometer of a machine or a room that shows -127, -128 or 255 has lost its sensor.
COLDEST, HOTTEST = -100.0, 250.0


class GaugeFault(Exception):  # noqa: N818 - said and survived
    """A file is there but holds no reading; says why."""


class Gauge(NamedTuple):
    """A file, the channel that it shows, and how its text becomes a number."""

    channel: Channel
    path: Path
    parse: Callable[[str], float]


class Gauges:
    """Reads files one by one: one that is gone, refuses or holds nonsense costs only its own reading, and is said once.

    Parameters
    ----------
    gauges
        Of distinct channels.
    """

    def __init__(self, gauges: Iterable[Gauge]) -> None:
        self._gauges = tuple(gauges)
        self._failing: set[str] = set()
        #: In the order of the readings.
        self.channels: tuple[Channel, ...] = tuple(gauge.channel for gauge in self._gauges)

    def read(self) -> list[float]:
        """One number for each channel, NaN where there is none."""
        return [self._one(gauge) for gauge in self._gauges]

    def _one(self, gauge: Gauge) -> float:
        name = gauge.channel.name
        try:
            value = _finite(gauge.parse(read_text(gauge.path)))
        except (OSError, ValueError, GaugeFault) as error:
            if name not in self._failing:
                self._failing.add(name)
                reason = error.strerror if isinstance(error, OSError) else error
                _LOG.warning("no reading for %s: %s: %s", name, gauge.path, reason)
            return nan
        if name in self._failing:
            self._failing.discard(name)
            _LOG.info("%s reads again", name)
        return value


def _finite(value: float) -> float:
    if not isfinite(value):
        raise GaugeFault(f"{value} is no reading")
    return value


def read_text(path: Path) -> str:
    """Content of a small file, without the white space around it; of a larger one, its first 4 KiB.

    Raises
    ------
    OSError
        It cannot be read, or is a pipe that nobody writes to.
    GaugeFault
        It is not text.
    """
    # A pipe must not hold up all others.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        content = os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise GaugeFault("not text") from None


def label_text(path: Path) -> str:
    """Content of a file that need not be there; empty where it cannot be read."""
    try:
        return read_text(path)
    except (OSError, GaugeFault):
        return ""


def linear(scale: float, offset: float = 0.0) -> Callable[[str], float]:
    """What reads a number and gives ``(number + offset) · scale``, as the kernel defines these.

    Examples
    --------
    >>> linear(1e-3)("21500")
    21.5
    """

    def parse(text: str) -> float:
        try:
            return (float(text) + offset) * scale
        except ValueError:
            raise GaugeFault(f"{text[:40]!r} is no number") from None

    return parse


def slug(text: str) -> str:
    """What a chip or a label calls itself, as part of a channel's name.

    Examples
    --------
    >>> slug(" Package id 0 ")
    'package_id_0'
    """
    return "_".join("".join(c if c.isalnum() or c in "-+" else " " for c in text.lower()).split())


def distinct(names: Iterable[str]) -> list[str]:
    """Number names that occur again, from 2 on.

    Examples
    --------
    >>> distinct(["nvme", "cpu", "nvme"])
    ['nvme', 'cpu', 'nvme.2']
    """
    taken: set[str] = set()
    result = []
    for name in names:
        number, unique = 1, name
        while unique in taken:
            number += 1
            unique = f"{name}.{number}"
        taken.add(unique)
        result.append(unique)
    return result
