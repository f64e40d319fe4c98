"""Gauges: numbers in small files, such as those of sysfs. The sources of sensors are built from them."""

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
# Bytes read of a file; a file in sysfs has one page at most.
_MOST_BYTES = 4096
#: Valid range in °C, chosen by hand to exclude -127, -128 and 255, which show that a sensor is lost.
COLDEST, HOTTEST = -100.0, 250.0


class GaugeFault(Exception):  # noqa: N818 - logged, not fatal
    """A file exists but holds no reading; the text is the reason."""


class Gauge(NamedTuple):
    """A channel, the file that holds its value, and the parser of the text."""

    channel: Channel
    path: Path
    parse: Callable[[str], float]


class Gauges:
    """Reads gauges one by one; a missing, unreadable or malformed file costs only its own reading and is logged once.

    Parameters
    ----------
    gauges
        Gauges with distinct channel names.
    """

    def __init__(self, gauges: Iterable[Gauge]) -> None:
        self._gauges = tuple(gauges)
        self._failing: set[str] = set()
        #: Channels in the order of `read`.
        self.channels: tuple[Channel, ...] = tuple(gauge.channel for gauge in self._gauges)

    def read(self) -> list[float]:
        """Return one finite number for each channel, NaN where it cannot be read."""
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
            _LOG.info("%s has readings again", name)
        return value


def _finite(value: float) -> float:
    if not isfinite(value):
        raise GaugeFault(f"{value} is not finite")
    return value


def read_text(path: Path) -> str:
    """Return the first 4 KiB of a file as text, without surrounding white space.

    Raises
    ------
    OSError
        The file cannot be read, or is a pipe whose writer has written nothing.
    GaugeFault
        The file is not UTF-8 text.
    """
    # Non-blocking: a pipe must not delay the other files.
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
    """Return the content of an optional file; empty if it cannot be read."""
    try:
        return read_text(path)
    except (OSError, GaugeFault):
        return ""


def linear(scale: float, offset: float = 0.0) -> Callable[[str], float]:
    """Return a parser that gives ``(number + offset) · scale``, the kernel's convention.

    Examples
    --------
    >>> linear(1e-3)("21500")
    21.5
    """

    def parse(text: str) -> float:
        try:
            return (float(text) + offset) * scale
        except ValueError:
            raise GaugeFault(f"{text[:40]!r} is not a number") from None

    return parse


def slug(text: str) -> str:
    """Turn the name of a chip or sensor into a part of a channel's name.

    Examples
    --------
    >>> slug(" Package id 0 ")
    'package_id_0'
    """
    return "_".join("".join(c if c.isalnum() or c in "-+" else " " for c in text.lower()).split())


def distinct(names: Iterable[str]) -> list[str]:
    """Append a number to repeated names, starting with 2.

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
