"""Synthetic readings that are the same on every machine, and their CSV files.

Only sums, products and a rounded sine are used: the random streams of numerical libraries change between versions.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["START", "Change", "Series", "plant"]

#: Monday, 23 March 2026, midnight UTC: the clocks of central Europe go forward at the end of that week.
START = 1_774_224_000.0
# Decimals of a cell: few enough that the last bit of a sine never shows.
_DIGITS = 3
# Uniform numbers summed for a nearly normal one, chosen by hand.
_UNIFORMS = 4
# Autocorrelation of a channel's own noise at a lag of one row, chosen by hand.
_MEMORY = 0.5

Kind: TypeAlias = Literal["shift", "spikes", "noise", "flat", "missing", "constant"]


class Change(NamedTuple):
    """A disturbance of one channel.

    Parameters
    ----------
    kind
        ``shift`` adds ``size`` times the channel's scale, ``spikes`` does so at every seventh row, ``noise`` multiplies
        the channel's noise by ``size``, ``flat`` repeats the value before, ``missing`` leaves cells empty, ``constant``
        sets the value to ``size``.
    channel
        Index of the column, from 0.
    begin, end
        Rows ``[begin, end)``.
    size
        Strength or value, depending on ``kind``.
    """

    kind: Kind
    channel: int
    begin: int
    end: int
    size: float = 0.0


class Series(NamedTuple):
    """A table of readings.

    Parameters
    ----------
    names
        Names of the channels.
    interval_s
        Seconds between rows.
    cells
        Text of each cell, by row and channel; empty where a reading is missing.
    start
        Time of the first row, seconds since 1970.
    """

    names: Sequence[str]
    interval_s: float
    cells: Sequence[Sequence[str]]
    start: float = START

    def part(self, begin: int, end: int | None = None) -> Series:
        """Give rows ``[begin, end)`` as a series."""
        return self._replace(cells=self.cells[begin:end], start=self.start + begin * self.interval_s)

    def write(self, path: Path) -> Path:
        """Write a CSV file and return its path."""
        lines = [",".join(("time", *self.names))]
        for row, cells in enumerate(self.cells):
            lines.append(",".join((f"{self.start + row * self.interval_s:.3f}", *cells)))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def plant(
    seed: int,
    rows: int,
    channels: int | Sequence[str],
    changes: Sequence[Change] = (),
    *,
    interval_s: float = 1.0,
    day_s: float = 600.0,
) -> Series:
    """Simulate the channels of a plant: a level, a daily rhythm, a load common to all channels, and own noise.

    Parameters
    ----------
    seed
        Seed of the random generator; the same seed gives the same readings.
    channels
        Number of channels, or their names.
    changes
        Disturbances, applied in this order.
    interval_s
        Seconds between rows.
    day_s
        Seconds of the rhythm's period.
    """
    rng = random.Random(seed)
    names = [f"c{number}" for number in range(channels)] if isinstance(channels, int) else list(channels)
    load = _noise(rng, rows, 0.98)
    columns = []
    for number in range(len(names)):
        level, scale = 20.0 + 60.0 * rng.random(), 0.5 + 2.0 * rng.random()
        phase, share = 2.0 * math.pi * rng.random(), 3.0 * rng.random()
        own = _noise(rng, rows, _MEMORY)
        for change in changes:
            if change.channel == number and change.kind == "noise":
                own[change.begin : change.end] = [change.size * value for value in own[change.begin : change.end]]
        columns.append(
            [
                level
                + scale
                * (
                    2.0 * math.sin(2.0 * math.pi * interval_s * row / day_s + phase)
                    + share * load[row]
                    + 0.5 * own[row]
                )
                for row in range(rows)
            ]
        )
        for change in changes:
            if change.channel == number:
                _apply(change, columns[number], scale)
    cells = [[_text(column[row]) for column in columns] for row in range(rows)]
    return Series(names, interval_s, cells)


def _noise(rng: random.Random, rows: int, memory: float) -> list[float]:
    """Nearly normal autoregressive noise of unit variance; ``memory`` is its autocorrelation at lag one."""
    gain = math.sqrt(12.0 / _UNIFORMS * (1.0 - memory * memory))
    value, noise = 0.0, []
    for _ in range(rows):
        value = memory * value + gain * (sum(rng.random() for _ in range(_UNIFORMS)) - _UNIFORMS / 2.0)
        noise.append(value)
    return noise


def _apply(change: Change, column: list[float], scale: float) -> None:
    frozen = column[change.begin - 1]
    for row in range(change.begin, min(change.end, len(column))):
        if change.kind == "shift" or (change.kind == "spikes" and (row - change.begin) % 7 == 0):
            column[row] += change.size * scale
        elif change.kind == "flat":
            column[row] = frozen
        elif change.kind == "missing":
            column[row] = math.nan
        elif change.kind == "constant":
            column[row] = change.size


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{_DIGITS}f}"
