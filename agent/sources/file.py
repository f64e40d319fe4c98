"""Numbers in files, such as the output of a script or a file in `/sys`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig, named_twice
from agent.sources.payload import NoReading, at_path, decoded, number
from agent.sources.sysfs import Gauge, GaugeFault, Gauges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FileConfig", "FileEntry", "FileSource"]


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file, one channel."""

    name: Annotated[str, Meta(min_length=1, description="Name of the channel.")]
    path: Annotated[str, Meta(min_length=1, description="Path of the file, which has at most 4 KiB.")]
    value: Annotated[
        str,
        Meta(
            description=(
                "Path of the number in a JSON document, such as `cpu.temperature`. Default: the file contains "
                "nothing but the number."
            )
        ),
    ] = ""
    scale: Annotated[float, Meta(description="Factor that the number is multiplied by.")] = 1.0


class FileConfig(SourceConfig, frozen=True):
    """Keys of the `file` source."""

    files: Annotated[tuple[FileEntry, ...], Meta(min_length=1, max_length=10_000, description="Files to read.")]


class FileSource:
    """Reads the files at each tick; a file may appear or disappear at any time.

    Raises
    ------
    UserError
        Two files have the same name.
    """

    Config: ClassVar[type[SourceConfig]] = FileConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: FileConfig, interval_s: float) -> None:  # noqa: ARG002 - readings do not depend on it
        names = [entry.name for entry in config.files]
        twice = named_twice(names)
        if twice is not None:
            raise UserError(f"two files are called {twice!r}", location="$.files", remedy="rename one")
        self._gauges = Gauges(Gauge(Channel(entry.name), Path(entry.path), _parser(entry)) for entry in config.files)
        self.channels: tuple[Channel, ...] = self._gauges.channels

    def read(self) -> Sequence[float]:
        """Return one number for each file; NaN for one that is missing or holds no number."""
        return self._gauges.read()

    def close(self) -> None:
        """No-op: nothing stays open between reads."""


def _parser(entry: FileEntry) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            found = at_path(decoded(text.encode()), entry.value) if entry.value else text
            return number(found) * entry.scale
        except NoReading as fault:
            raise GaugeFault(f"{text[:40]!r}: {fault}") from None

    return parse
