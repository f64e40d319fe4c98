"""Findings of an experiment: figures, and promises that were kept or broken."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Findings"]

_PROGRESS_S = 10.0


class Findings:
    """Collects findings and prints them as they come.

    Parameters
    ----------
    name
        Of the experiment.
    out
        Where to print; standard output by default.
    """

    def __init__(self, name: str, out: TextIO | None = None) -> None:
        self.name = name
        self._out = out or sys.stdout
        self._said_at = time.monotonic()
        #: Names of the promises that were broken.
        self.broken: list[str] = []
        #: Of the promises that were kept.
        self.kept: list[str] = []
        #: Figures by their names.
        self.figures: dict[str, float] = {}
        self.say(f"== {name}")

    def progress(self, done: int, of: int) -> None:
        """Print the progress, every ten seconds at most."""
        if time.monotonic() - self._said_at >= _PROGRESS_S:
            self._said_at = time.monotonic()
            self.say(f"   … {done:,} of {of:,}")

    def figure(self, name: str, value: float) -> None:
        """Record and print a measured figure."""
        self.figures[name] = value
        self.say(f"   {name}: {value:,.6g}" if isinstance(value, float) else f"   {name}: {value:,}")

    def promise(self, name: str, kept: bool) -> None:
        """Record and print whether a promise was kept."""
        (self.kept if kept else self.broken).append(name)
        self.say(f"   {'kept  ' if kept else 'BROKEN'} {name}")

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._out, flush=True)
