"""A browser that nobody sees, for pages that tests and benchmarks look at."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

__all__ = ["launched"]

# It asks nothing of anybody but the page: it would look for its maker's hosts at every start.
_ARGUMENTS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")


def launched(playwright: Playwright) -> Browser | None:
    """Start the Chromium of this machine; None where it has none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        return None
    # Root may not have its sandbox; in a container that runs tests there is nobody else.
    alone = ("--no-sandbox",) if os.geteuid() == 0 else ()
    return playwright.chromium.launch(executable_path=program, args=[*_ARGUMENTS, *alone])
