"""Findings of an experiment: measured figures, and promises kept or broken."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Findings"]

# Seconds between progress lines.
_PROGRESS_S = 10.0


class Findings:
    """Collect findings and print each at once.

    Parameters
    ----------
    name
        Name of the experiment.
    out
        Stream to print to; standard output by default.
    """

    def __init__(self, name: str, out: TextIO | None = None) -> None:
        self.name = name
        self._out = out or sys.stdout
        self._printed_at_s = time.monotonic()
        #: Names of broken promises.
        self.broken: list[str] = []
        #: Names of kept promises.
        self.kept: list[str] = []
        #: Figures by name.
        self.figures: dict[str, float] = {}
        self.say(f"== {name}")

    def progress(self, done: int, of: int) -> None:
        """Print the progress, every ten seconds at most."""
        if time.monotonic() - self._printed_at_s >= _PROGRESS_S:
            self._printed_at_s = time.monotonic()
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
