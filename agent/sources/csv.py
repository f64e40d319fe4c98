"""A source that plays a recorded CSV file, one row a tick; for the format see `agent.sources.csv_reader`."""

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
    """Plays a CSV file, one row a read; gaps between time stamps are not reproduced.

    Raises
    ------
    UserError
        The file is missing or is not a table, see `CsvReader`.
    """

    Config: ClassVar[type[SourceConfig]] = CsvConfig
    inline: ClassVar[bool] = True

    def __init__(self, config: CsvConfig, interval_s: float) -> None:  # noqa: ARG002 - one row a read at any interval
        self._reader = CsvReader(config.path)
        self._frames = iter(self._reader)
        self.channels: tuple[Channel, ...] = self._reader.channels

    def read(self) -> Float32Array:
        """Return the next row, float32[n_channels], NaN where missing.

        Raises
        ------
        EndOfInputError
            The file has ended.
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
