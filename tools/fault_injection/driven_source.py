"""Agent with a controlled source: ``python -m tools.fault_injection.driven_source run --config FILE``.

The source ``driven`` reads a number from a small file and counts its readings there; a second channel varies all the
time, so that there is something to learn. The number has a hard limit: the expected alerts are known exactly.
"""

from __future__ import annotations

import math
import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from agent.cli.main import main
from agent.core.channel import Channel
from agent.sources.base import SourceConfig
from agent.sources.registry import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Drive", "DrivenSource"]

#: Hard limit of the channel ``driven``.
LIMIT = 100.0


class Drive:
    """Number and count of readings, shared by experiment and agent through a memory-mapped file.

    Parameters
    ----------
    path
        The file; created if missing.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(16))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)
        self._numbers = memoryview(self._map).cast("d")

    @property
    def value(self) -> float:
        """Current number."""
        return self._numbers[0]

    @value.setter
    def value(self, value: float) -> None:
        self._numbers[0] = value

    @property
    def readings(self) -> float:
        """Number of readings, over all runs of the agent."""
        return self._numbers[1]

    def read(self) -> float:
        """Read the number and increase the count."""
        self._numbers[1] += 1.0
        return self._numbers[0]


class DrivenConfig(SourceConfig, frozen=True):
    """Keys of the source."""

    path: str


class DrivenSource:
    """Source of the driven number and a varying channel."""

    Config: ClassVar[type[SourceConfig]] = DrivenConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: DrivenConfig, interval_s: float) -> None:
        del interval_s
        self._drive = Drive(Path(config.path))
        self._row = 0
        self.channels = (Channel("driven", alarm_above=LIMIT, effect=1.0), Channel("lively", effect=1.0))

    def read(self) -> Sequence[float]:
        """See `Source.read`."""
        self._row += 1
        return self._drive.read(), 50.0 + 3.0 * math.sin(self._row * 0.7) + (self._row * 7919 % 11) / 10.0

    def close(self) -> None:
        """Do nothing."""


REGISTRY["driven"] = ("tools.fault_injection.driven_source", "DrivenSource")

if __name__ == "__main__":
    sys.exit(main())
