"""Recorded readings from a CSV file: a streaming reader for replay and training, and a source that plays a file.

The first column is the time (ISO 8601 or seconds since 1970), every other one a channel. What cannot be used is
counted with the line where it first occurred, and reading goes on; only a file that is no table at all is refused.
"""

from __future__ import annotations

import logging
from typing import (
    TYPE_CHECKING,
    Annotated,
)

from msgspec import Meta

from agent.sources.base import EndOfInputError, SourceConfig
from agent.sources.csv_reader import CsvReader

if TYPE_CHECKING:
    from typing import ClassVar

    from agent.core.arrays import Float32Array
    from agent.core.channel import Channel


__all__ = ["CsvConfig", "CsvSource"]

_LOG = logging.getLogger(__name__)


class CsvConfig(SourceConfig, frozen=True):
    """Keys of the `csv` source."""

    path: Annotated[str, Meta(min_length=1, description="File to play, one row a tick.")]


class CsvSource:
    """Plays a CSV file, one row a read, whatever its time stamps.

    Raises
    ------
    UserError
        The file is not there or is no table, see `CsvReader`.
    """

    Config: ClassVar[type[SourceConfig]] = CsvConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: CsvConfig, interval_s: float) -> None:  # noqa: ARG002 - gaps go by the file's own
        self._reader = CsvReader(config.path)
        self._frames = iter(self._reader)
        self.channels: tuple[Channel, ...] = self._reader.channels

    def read(self) -> Float32Array:
        """Values of the next row, float32[n_channels], NaN where missing.

        Raises
        ------
        EndOfInputError
            The file is at its end.
        """
        frame = next(self._frames, None)
        if frame is None:
            _LOG.info("%s: %s", self._reader.path, self._reader.report.summary())
            raise EndOfInputError(str(self._reader.path))
        values: Float32Array = frame.values
        return values

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
