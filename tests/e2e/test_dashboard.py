"""The dashboard in a real browser, with a real broker and agents that read numbers from files."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from agent.messages.alert import Contributor
from agent.messages.status import Metrics, NodeState
from tests.support.alerts import alert
from tests.support.metrics import metric
from tests.support.paths import ROOT
from tests.support.waiting import wait_for
from tools.demo.embedded_broker import listens
from tools.testing.browser import launched
from tools.testing.mosquitto import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.support.agent_process import AgentProcess
    from tests.support.subscriber import Subscriber
    from tools.testing.mosquitto import Mosquitto

pytestmark = [pytest.mark.broker, pytest.mark.browser]

#: Folder for the screenshots, for a person to look at.
PICTURES = ROOT / "results" / "dashboard"
#: Milliseconds from an alert message until the page must show it.
SEEN_MS = 3000


class Reading:
    """A number in a file that an agent reads; usually about 20."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.level = 20.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        noise = random.Random(1)
        while not self._ended.wait(0.05):
            other = self._path.with_suffix(".new")
            other.write_text(f"{noise.gauss(self.level, 0.5):.3f}\n")
            other.replace(self._path)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


class Scene:
    """A broker, two agents and the dashboard."""

    def __init__(self, folder: Path, broker: Mosquitto, run_agent: Callable[..., AgentProcess]) -> None:
        self.broker = broker
        self.port = free_port()
        self.readings: dict[str, Reading] = {}
        self.configs: dict[str, Path] = {}
        self.agents: dict[str, AgentProcess] = {}
        self._run_agent = run_agent
        hall = folder / "hall.txt"
        hall.write_text("7\n")
        for node in ("pi4", "shed"):
            path = folder / f"{node}.txt"
            path.write_text("20.0\n")
            self.readings[node] = Reading(path)
            self.configs[node] = folder / f"{node}.yaml"
            self.configs[node].write_text(
                f"node: {node}\nstate_dir: {folder / node}\ninterval_s: 0.1\n"
                f"mqtt: {{host: 127.0.0.1, port: {broker.port}, metrics_interval_s: 0.2, health_interval_s: 1,"
                " commands: true}\n"
                f"sources: [{{type: file, files: [{{name: oven, path: {path}}}, {{name: hall, path: {hall}}}]}}]\n"
                "channels: [{names: [oven], unit: °C}]\n"
                "detection: {block_s: 0.1}\n"
                "alerts: {learning_s: 6, confirm_s: 0.3, clear_s: 1, budget_per_day: 1.0e+9}\n"
            )
            self.start(node)
        config = folder / "dashboard.yaml"
        config.write_text(f"mqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
        command = [sys.executable, "-m", "tools.dashboard", "--config", str(config), "--port", str(self.port)]
        self.log = folder / "dashboard.log"
        with self.log.open("wb") as log:
            self.dashboard = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def start(self, node: str) -> None:
        self.agents[node] = self._run_agent(self.configs[node])

    def address(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def end(self) -> None:
        self.dashboard.terminate()
        for reading in self.readings.values():
            reading.end()
        assert self.dashboard.wait(10) in {0, -15}, self.log.read_text()


@pytest.fixture
def scene(broker: Mosquitto, run_agent: Callable[..., AgentProcess], tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, broker, run_agent)
    yield made
    made.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = launched(playwright)
        if found is None:
            pytest.skip("no Chromium here (apt install chromium)")
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, scene: Scene) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    made = context.new_page()
    faults: list[str] = []
    asked: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("request", lambda request: asked.append(request.url))
    wait_for(lambda: listens("127.0.0.1", scene.port), what="the dashboard")
    made.goto(scene.address())
    yield made
    context.close()
    assert not faults
    # The page works without Internet: no request goes to another host.
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {
        f"127.0.0.1:{scene.port}"
    }


def card(page: Page, node: str) -> Any:
    return page.locator(".ew-cards > .ew-card").filter(has=page.get_by_role("link", name=node, exact=True))


def learned(page: Page, node: str) -> None:
    expect(card(page, node).locator(".ew-chip")).to_contain_text("normal", timeout=40_000)


def test_an_anomaly_is_seen_explained_and_silenced(
    page: Page, scene: Scene, subscribe: Callable[..., Subscriber]
) -> None:
    subscriber = subscribe(scene.broker.port)
    for node in scene.readings:
        learned(page, node)
    scene.readings["pi4"].level = 60.0
    wait_for(lambda: subscriber.on("alert"), what="the alert")
    told = subscriber.json("alert")[0]
    assert (told["node"], told["contributors"][0]["channel"]) == ("pi4", "oven")
    # The overview shows the alert within three seconds and links to the node's page.
    alarm = page.get_by_role("region", name="Open incidents")
    expect(alarm).to_contain_text(told["summary"][:20], timeout=SEEN_MS)
    expect(card(page, "pi4").locator(".ew-chip")).to_contain_text("anomalous", timeout=SEEN_MS)
    expect(card(page, "shed").locator(".ew-chip")).to_contain_text("normal")
    page.get_by_label("Filter nodes").fill("shed")
    expect(card(page, "pi4")).to_be_hidden()
    page.get_by_label("Filter nodes").fill("anomalous oven")
    expect(card(page, "pi4")).to_be_visible()
    expect(card(page, "shed")).to_be_hidden()
    alarm.get_by_role("link", name="pi4").first.click()
    # The node's page: the red point, the shade, the explanation.
    oven = page.get_by_role("group", name="oven:")
    expect(oven).to_contain_text("°C")
    wait_for(lambda: drawn(page, "oven", 4) > 0, SEEN_MS / 1000, "a red point")
    wait_for(lambda: shaded(page, "oven") == 1, SEEN_MS / 1000, "the shade")
    incident = page.get_by_role("list", name="Incidents").get_by_role("listitem").first
    expect(incident).to_contain_text("oven")
    expect(incident).to_contain_text(re.compile("spike|level shift"))
    expect(incident).to_contain_text(re.compile(r"normal \d+(\.\d+)? – \d+(\.\d+)? °C"))
    # Tooltip of a reading.
    told = page.evaluate(
        "() => { const p = document.querySelector('.ew-plots').plot; return p.tip('oven', p.newest); }"
    )
    assert re.search(r"value \d+\.?\d* °C\nexpected \d+.*\nnormal \d+.* to \d+.*\n.* limit, anomalous$", told)
    # Zoom by button, keyboard and wheel; pause and resume.
    before = span(page)
    page.get_by_role("button", name="Zoom in").click()
    wait_for(lambda: span(page) < before, what="the zoom")
    expect(page.get_by_role("button", name="Live")).to_be_visible()
    zoomed = span(page)
    oven.focus()
    page.keyboard.press("+")
    wait_for(lambda: span(page) < zoomed, what="the zoom by a key")
    page.get_by_role("button", name="Live").click()
    wait_for(lambda: span(page) == before, what="the way back")
    page.mouse.move(*centre(oven))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    wait_for(lambda: span(page) < before, what="the zoom by the wheel")
    # Acknowledge and silence.
    incident.get_by_role("button", name="Acknowledge").click()
    expect(incident).to_contain_text("✓ acknowledged", timeout=10_000)
    incident.get_by_role("button", name="Silence").click()
    page.get_by_text("for 1 hour").click()
    expect(page.get_by_text("1 channels silenced")).to_be_visible(timeout=10_000)
    assert [message["state"] for message in subscriber.json("state") if message["silenced"]][-1:] != []
    # A closed incident stays in the list.
    scene.readings["pi4"].level = 20.0
    expect(incident).to_contain_text("✓ closed", timeout=30_000)


def drawn(page: Page, channel: str, series: int) -> int:
    shown = _option(page, channel)
    return len(shown["series"][series].get("data", ())) if shown else 0  # no data before it is first drawn


def shaded(page: Page, channel: str) -> int:
    shown = _option(page, channel)
    return len(shown["series"][3]["markArea"]["data"]) if shown else 0


def _option(page: Page, channel: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = page.evaluate(
        "name => document.querySelector('.ew-plots').plot?.charts.get(name)?.getOption()", channel
    )
    return found


def span(page: Page) -> float:
    begin, end = page.evaluate("() => document.querySelector('.ew-plots').plot.window()")
    return round(end - begin, 3)


def centre(locator: Any) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_what_goes_away_is_seen_and_comes_back(page: Page, scene: Scene) -> None:
    link = page.locator(".ew-link")
    for node in scene.readings:
        expect(card(page, node)).to_contain_text("live", timeout=20_000)
    expect(link).to_contain_text("●")
    scene.agents["shed"].process.kill()
    expect(card(page, "shed").locator(".ew-chip")).to_contain_text(re.compile("offline|silent"), timeout=5000)
    scene.agents["shed"].process.wait()
    scene.start("shed")
    expect(card(page, "shed").locator(".ew-chip")).to_contain_text(re.compile("learning|normal"), timeout=20_000)
    scene.broker.kill()
    expect(link).to_contain_text("▲", timeout=5000)
    scene.broker.start()
    expect(link).to_contain_text("●", timeout=20_000)
    for node in scene.readings:
        expect(card(page, node)).to_contain_text("live", timeout=20_000)
        expect(card(page, node).locator(".ew-chip")).to_contain_text(re.compile("learning|normal"), timeout=20_000)


EVIL = (
    "<img src=x onerror=window.broken=1>",
    "<script>window.broken=1</script>",
    "{{window.broken=1}}",
    "javascript:window.broken=1",
    '"><svg onload=window.broken=1>',
    "${window.broken=1}",
    "');window.broken=1;('",
    "__proto__",
    "..",
    "a\u202eb\x07c",
)


def test_nothing_that_is_said_breaks_or_enters_the_page(
    page: Page, scene: Scene, subscribe: Callable[..., Subscriber]
) -> None:
    say = subscribe(scene.broker.port).say
    for place, evil in enumerate(EVIL):
        # Brokers refuse topics with these characters.
        name = "".join(character for character in evil if character.isprintable() and character not in "/+#")
        base = f"edgewatch/{name}"
        huge = msgspec.structs.replace(metric(0.999, anomalous=True, value=1e300), unit=evil)
        channels = dict.fromkeys(EVIL, huge)
        contributor = Contributor(evil, 1.0, 1e300, -1e300, None, 1e300, 1.0, evil)
        bad = msgspec.structs.replace(
            alert(1),
            id=evil,
            incident=evil,
            phase="open",
            started=(1e300, -1e300)[place % 2],
            summary=evil,
            model=evil,
            reason=evil,
            contributors=(contributor,),
        )
        state = NodeState(1, evil, "anomalous", 1e300, -1e300, 1.0, 1.0, 0.995, 1.0, False, 10, (evil,), commands=True)
        say(f"{base}/state", msgspec.json.encode(state), retain=True)
        say(f"{base}/alert", msgspec.json.encode(bad))
        say(f"{base}/metrics", msgspec.json.encode(Metrics(1, evil, time.time() + place, 1, 1.0, 1.0, channels)))
        for leaf in ("status", "state", "alert", "metrics", "health", "digest", "cmd/answer"):
            for nonsense in (b"\xff\xfe", b"[" * 50_000, b'{"v": 1}', b"null", b'"' + b"x" * 100_000 + b'"'):
                say(f"{base}/{leaf}", nonsense)
        say(f"{base}/state", msgspec.json.encode(state), retain=True)
    expect(page.locator(".ew-cards > .ew-card")).to_have_count(len(EVIL) + 2, timeout=20_000)
    expect(page.locator(".ew-note").first).to_contain_text("could not be shown")
    links = page.locator(".ew-cards .ew-card a")
    for index in range(links.count()):
        address = urlsplit(links.nth(index).get_attribute("href"))
        assert (address.scheme, address.netloc, address.path) == ("", "", "/node")
    for href in [links.nth(index).get_attribute("href") for index in range(links.count())]:
        page.goto(scene.address(href))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.mouse.move(400, 400)
        expect(page.locator(".ew-plot").first).to_be_visible(timeout=10_000)
    assert page.evaluate("() => window.broken") is None
    page.goto(scene.address())
    expect(card(page, "pi4")).to_contain_text("live", timeout=10_000)


def test_it_is_looked_at_on_a_desk_and_on_a_phone(browser: Browser, page: Page, scene: Scene) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for node in scene.readings:
        learned(page, node)
    scene.readings["shed"].level = 60.0
    expect(page.get_by_role("region", name="Open incidents")).to_contain_text("oven", timeout=30_000)
    for width, height in ((1440, 900), (390, 844)):
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            other = context.new_page()
            other.goto(scene.address())
            expect(card(other, "shed").locator(".ew-chip")).to_contain_text("anomalous", timeout=10_000)
            for name, path in (("nodes", "/"), ("node", "/node?name=shed")):
                other.goto(scene.address(path))
                expect(other.locator(".ew-chip").first).to_contain_text("anomalous", timeout=10_000)
                if name == "node":
                    wait_for(lambda other=other: drawn(other, "oven", 4) > 0, 10, "a red point")
                # The page does not overflow horizontally.
                assert other.evaluate("() => document.documentElement.scrollWidth") <= width
                other.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png")
            dark = other.evaluate("() => document.body.classList.contains('body--dark')")
            assert dark == (scheme == "dark")
            context.close()
