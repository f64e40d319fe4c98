"""Screenshots of the dashboard for the documents.

``python -m tools.docs.pictures`` runs the demo, waits until it has learned, stresses this machine, and writes the page
as an animation and as its last frame.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from agent.core.errors import EnvironmentFault
from tools.demo.embedded_broker import listens
from tools.testing.browser import launched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import Page, ViewportSize

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]
_SIZE: ViewportSize = {"width": 1120, "height": 680}
# Seconds between frames of the animation.
_FRAME_S = 1.0
# Seconds to wait for the page, the end of learning, and an incident; chosen by hand.
_START_S, _LEARNING_S, _ALERT_S = 30.0, 240.0, 90.0
# Frames before the stress, and after the incident opened.
_BEFORE, _AFTER = 5, 14
_COLOURS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and write the pictures.

    Raises
    ------
    EnvironmentFault
        Chromium is missing, the demo did not start, or no incident opened.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.docs.pictures", description=__doc__)
    parser.add_argument("--kind", default="memory", help="stress to apply, see tools.stress")
    parser.add_argument("--output", type=Path, default=_ROOT / "docs" / "images", metavar="DIR")
    options = parser.parse_args(arguments)
    with _demo() as address, sync_playwright() as playwright:
        browser = launched(playwright)
        if browser is None:
            raise EnvironmentFault("Chromium is not installed", remedy="apt install chromium")
        page = browser.new_page(viewport=_SIZE)
        _await(address)
        page.goto(address)
        page.locator(".ew-cards a").first.click(timeout=60_000.0)
        expect(page.locator(".ew-chip").first).to_contain_text("normal", timeout=1000.0 * _LEARNING_S)
        page.get_by_role("button", name="1 min").click()
        frames = [_frame(page) for _ in range(_BEFORE)]
        stress = subprocess.Popen([sys.executable, "-m", "tools.stress", options.kind, "--seconds", "12"], cwd=_ROOT)
        until, after = time.monotonic() + _ALERT_S, 0
        while after < _AFTER and time.monotonic() < until:
            frames.append(_frame(page))
            after += page.locator(".ew-alarm").count() > 0
        stress.wait()
        browser.close()
    if after < _AFTER:
        raise EnvironmentFault("no incident opened", remedy="try another --kind, or a quieter machine")
    options.output.mkdir(parents=True, exist_ok=True)
    frames[-1].save(options.output / "dashboard.png", optimize=True)
    small = [frame.quantize(_COLOURS) for frame in frames]
    animation = options.output / "dashboard.gif"
    pace_ms = round(500 * _FRAME_S)
    small[0].save(animation, save_all=True, append_images=small[1:], duration=pace_ms, loop=0, optimize=True)
    print(f"wrote {animation} and dashboard.png")
    return 0


@contextlib.contextmanager
def _demo() -> Iterator[str]:
    """Run the demo during the block; yield the address of its page."""
    command = [sys.executable, "-u", "-m", "tools.demo"]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout or ():
            found = re.search(r"dashboard (http\S+)", line)
            if found:
                yield found[1]
                return
        raise EnvironmentFault("the demo did not start", remedy="see the output of make run")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def _await(address: str) -> None:
    url = urlsplit(address)
    until = time.monotonic() + _START_S
    while not listens(str(url.hostname), int(url.port or 0)):
        if time.monotonic() > until:
            raise EnvironmentFault("the dashboard did not start", location=address)
        time.sleep(0.1)


def _frame(page: Page) -> Image.Image:
    begin = time.monotonic()
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    time.sleep(max(0.0, _FRAME_S - (time.monotonic() - begin)))
    return image


if __name__ == "__main__":
    raise SystemExit(main())
