"""Made-up readings, the same on every machine, and the CSV files that hold them.

Only sums, products and a rounded sine are used: no generator of a numerical library, whose streams change between
versions.
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
_DIGITS = 3
_UNIFORMS = 4
_MEMORY = 0.5

Kind: TypeAlias = Literal["shift", "spikes", "noise", "flat", "missing", "constant"]


class Change(NamedTuple):
    """Something that happens to a channel.

    Parameters
    ----------
    kind
        ``shift`` adds ``size`` typical deviations, ``spikes`` adds them at every seventh row, ``noise`` multiplies the
        noise by ``size``, ``flat`` holds the value before, ``missing`` leaves cells empty, ``constant`` sets ``size``.
    channel
        Column, from 0.
    begin, end
        Rows ``[begin, end)``.
    size
        See ``kind``.
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
        Of the channels.
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
        """Rows ``[begin, end)``."""
        return self._replace(cells=self.cells[begin:end], start=self.start + begin * self.interval_s)

    def write(self, path: Path) -> Path:
        """Write a CSV file; gives its path."""
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
    """Make readings of a plant: levels, a rhythm and a load that channels share, noise of their own.

    Parameters
    ----------
    seed
        The same seed gives the same readings.
    channels
        How many, or their names.
    changes
        What happens, one after the other.
    interval_s
        Seconds between rows.
    day_s
        Period of the rhythm.
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
    """Nearly normal noise that remembers some of the row before."""
    gain = math.sqrt(12.0 / _UNIFORMS * (1.0 - memory * memory))
    value, noise = 0.0, []
    for _ in range(rows):
        value = memory * value + gain * (sum(rng.random() for _ in range(_UNIFORMS)) - _UNIFORMS / 2.0)
        noise.append(value)
    return noise


def _apply(change: Change, column: list[float], scale: float) -> None:
    held = column[change.begin - 1]
    for row in range(change.begin, min(change.end, len(column))):
        if change.kind == "shift" or (change.kind == "spikes" and (row - change.begin) % 7 == 0):
            column[row] += change.size * scale
        elif change.kind == "flat":
            column[row] = held
        elif change.kind == "missing":
            column[row] = math.nan
        elif change.kind == "constant":
            column[row] = change.size


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{_DIGITS}f}"
