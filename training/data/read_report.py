"""Findings of a reader, such as missing values or skipped rows, counted and worded as notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.detection.scaling import ABSURD
from agent.sources.csv_reader import Finding

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, IntArray

__all__ = ["MAX_EMPTY_ROWS", "ReadReport"]

#: Empty rows kept of a longer gap; then the time jumps. Chosen by hand: bounds the grid of sparse data.
MAX_EMPTY_ROWS = 1000

_WORDS = {
    "fields": ("row has", "rows have", "a wrong number of fields: cut, or filled with missing values"),
    "missing": ("value is", "values are", "missing"),
    "text": ("value is", "values are", "text instead of a number: taken as missing"),
    "too_large": ("value is", "values are", f"infinite or beyond ±{ABSURD:.0e}: taken as missing"),
    "time": ("row was", "rows were", "skipped for an unreadable time stamp"),
    "unordered": ("row was", "rows were", "skipped for a time stamp that goes back"),
    "nameless": ("row was", "rows were", "skipped because the channel name is empty"),
    "unlabelled": ("row has", "rows have", "no label: taken as normal"),
    "merged": ("row fell", "rows fell", "on the tick of an earlier one: the last valid value of each channel counts"),
    "filled": ("tick without a row was", "ticks without a row were", "filled with missing values"),
    "breaks": ("gap is", "gaps are", f"longer than {MAX_EMPTY_ROWS:,} ticks: cut to {MAX_EMPTY_ROWS:,} empty rows"),
}


class ReadReport:
    """Number of findings and position of the first, by kind.

    Parameters
    ----------
    unit
        Unit of positions: ``line`` of a text file, ``row`` of a table.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._found: dict[str, Finding] = {}

    def add(self, kind: str, count: int, first: int) -> None:
        """Add ``count`` findings of a kind; ``first`` is the line or row of the first one. Calls come in any order."""
        if count:
            finding = self._found.setdefault(kind, Finding(0, first))
            finding.count += count
            finding.first_line = min(finding.first_line, first)

    def add_rows(self, kind: str, found: BoolArray, places: IntArray) -> None:
        """Add one finding for each True of ``found``, bool[n]; ``places`` are the lines or rows, int64[n]."""
        count = int(np.count_nonzero(found))
        if count:
            self.add(kind, count, int(places[np.argmax(found)]))

    def count(self, kind: str) -> int:
        """Number of findings of a kind."""
        return self._found[kind].count if kind in self._found else 0

    def first(self, kind: str) -> int:
        """Line or row of the first finding of a kind that occurred."""
        return self._found[kind].first_line

    def sentences(self) -> tuple[str, ...]:
        """One sentence per kind that occurred, for the notes of a recording.

        Examples
        --------
        >>> findings = ReadReport("line")
        >>> findings.add("text", 2, 7)
        >>> findings.sentences()
        ('2 values are text instead of a number: taken as missing (first in line 7).',)
        """
        return tuple(
            f"{found.count:,} {words[0] if found.count == 1 else words[1]} {words[2]}"
            f" (first in {self.unit} {found.first_line:,})."
            for kind, words in _WORDS.items()
            if (found := self._found.get(kind))
        )
