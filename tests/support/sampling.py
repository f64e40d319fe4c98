from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from agent.core.channel import Channel
from agent.sources.base import EndOfInputError, SourceConfig

if TYPE_CHECKING:
    from typing import Any

    from agent.sampling.sampler import Sampler


class Fake:
    Config = SourceConfig

    def __init__(self, *rows: Any, inline: bool = True, names: str = "ab") -> None:
        self.inline = inline
        self.channels = tuple(Channel(name) for name in names)
        self._rows = iter(rows)
        self.closed = False

    def read(self) -> Any:
        row = next(self._rows, None)
        if row is None:
            raise EndOfInputError
        return row() if callable(row) else row

    def close(self) -> None:
        self.closed = True


class Counting:
    """Source whose value is the number of the reading."""

    Config = SourceConfig

    def __init__(self, name: str, *, inline: bool = True) -> None:
        self.inline = inline
        self.channels = (Channel(name),)
        self.reads = 0

    def read(self) -> list[float]:
        self.reads += 1
        return [float(self.reads)]

    def close(self) -> None:
        pass


def values(sampler: Sampler, count: int = 100) -> list[list[float]]:
    return [frame.values.tolist() for frame in itertools.islice(sampler.frames(), count)]
