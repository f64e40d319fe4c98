"""Headless browser for tests and benchmarks of pages."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

__all__ = ["launched"]

# Without these, Chromium contacts hosts of its vendor at every start.
_ARGUMENTS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")


def launched(playwright: Playwright) -> Browser | None:
    """Start the installed Chromium; None if there is none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        return None
    # Chromium refuses to run its sandbox as root, the only user of a test container.
    alone = ("--no-sandbox",) if os.geteuid() == 0 else ()
    return playwright.chromium.launch(executable_path=program, args=[*_ARGUMENTS, *alone])
