"""Time of a reading for each source, and MQTT readings a second before a tick is late.

Sysfs files are replaced by copies in a temporary folder; the broker is a real mosquitto.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.clock import SystemClock
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from agent.models import loader
from agent.sampling.sampler import Sampler
from agent.sources.registry import source_class
from tools.testing.mosquitto import Mosquitto
from tools.testing.mqtt_flood import MqttFlood, packet

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from agent.sources.base import Source

__all__ = ["add_arguments", "run"]

_ROOT = Path(__file__).parents[3]
# Topics over which MQTT readings are spread; chosen by hand.
_TOPICS = 1000
# Readings a second, tried in this order.
_RATES = (5_000, 10_000, 20_000, 30_000, 40_000, 50_000, 75_000, 100_000)
_WARM_TICKS, _TICKS = 4, 8
# A tick is late if its step begins more than this many seconds after it is due.
_LATE_S = 0.1
_READS, _ROUNDS = 50, 5
_LINES = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument("--rates", type=int, nargs="*", default=list(_RATES), metavar="N", help="readings a second")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print microseconds a reading and readings a second."""
    with tempfile.TemporaryDirectory(prefix="edgewatch-sources-") as name:
        folder = Path(name)
        reads = {source: _read_us(source, keys) for source, keys in _polled(folder).items()}
        print(f"{'source':<10}{'channels':>10}{'µs a read':>12}{'a channel':>12}")
        for source, (n, us) in reads.items():
            print(f"{source:<10}{n:>10}{us:>12,.1f}{us / n:>12,.2f}")
        lines = {form: _lines_a_second(form, text) for form, text in _LINES_OF.items()}
        for form, rate in lines.items():
            print(f"stream, {form}: {rate:,} lines a second of one core")
        arrivals = _until_late(options.rates, folder)
    highest = max((row["rate"] for row in arrivals if row["on_time"]), default=0)
    print(f"MQTT readings a second before a tick is late: {highest:,}")
    return {
        "reads": {source: {"channels": n, "us": round(us, 1)} for source, (n, us) in reads.items()},
        "lines_a_second": lines,
        "mqtt": arrivals,
        "mqtt_before_late": highest,
    }


def _polled(folder: Path) -> dict[str, dict[str, Any]]:
    """Settings of each polled source, with its fake files."""
    for index in range(10):
        for path, text in {
            f"class/hwmon/hwmon{index}/name": f"chip{index}",
            f"class/hwmon/hwmon{index}/temp1_input": "41000",
            f"iio/iio:device{index}/name": f"adc{index}",
            f"iio/iio:device{index}/in_voltage0_raw": "1234",
            f"iio/iio:device{index}/in_voltage0_scale": "0.5",
            f"w1/28-{index:012x}/w1_slave": "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 t=21312\n",
            f"level{index}": f"{index}.5\n",
        }.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return {
        "host": {},
        "hwmon": {"root": str(folder / "class")},
        "iio": {"root": str(folder / "iio")},
        "onewire": {"root": str(folder / "w1")},
        "file": {"files": [{"name": f"level{i}", "path": str(folder / f"level{i}")} for i in range(10)]},
        "process": {"programs": [{"name": "self", "process": "python*"}]},
        "command": {"name": "level", "command": ["cat", str(folder / "level0")]},
        "http": {"name": "page", "url": "", "values": {"level": "level", "other": "deep.other"}},
    }


def _read_us(name: str, keys: dict[str, Any]) -> tuple[int, float]:
    """Number of channels, and microseconds to read them all: median of `_ROUNDS`."""
    kind = source_class(name)
    with contextlib.ExitStack() as stack:
        if name == "http":
            keys = {**keys, "url": f"http://127.0.0.1:{stack.enter_context(_page())}/"}
        source = kind(msgspec.convert({"type": name, **keys}, kind.Config), 1.0)
        stack.callback(source.close)
        rounds = [_timed(source) for _ in range(_ROUNDS)]
        return len(source.channels), float(np.median(rounds))


def _timed(source: Source) -> float:
    begin = time.perf_counter()
    for _ in range(_READS):
        source.read()
    return (time.perf_counter() - begin) / _READS * 1e6


@contextlib.contextmanager
def _page() -> Iterator[int]:
    """Serve a small document on a free loopback port."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"level": 5, "deep": {"other": 7.25}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_LINES_OF = {
    "plain": "attic.t{0} {1}",
    "influx": "boiler,room=attic t{0}={1},p=1.2 1700000000",
    "statsd": "queue{0}:{1}|g",
    "json": '{{"attic{0}": {{"t": {1}}}}}',
}


def _lines_a_second(form: str, text: str) -> int:
    """Lines of a format parsed a second: median of `_ROUNDS`."""
    from agent.sources.push_buffer import ArrivalsConfig, PushBuffer  # noqa: PLC0415 - measured, not used
    from agent.sources.stream import Lines  # noqa: PLC0415 - the same

    lines = Lines(PushBuffer(ArrivalsConfig(type="stream")), "auto" if form == "plain" else form)
    content = "".join(text.format(i % 100, i / 8) + "\n" for i in range(_LINES)).encode()
    pieces = [content[at : at + 65_536] for at in range(0, len(content), 65_536)]
    rounds = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        for piece in pieces:
            lines.feed(piece)
        rounds.append(_LINES / (time.perf_counter() - begin))
    return round(float(np.median(rounds)))


def _until_late(rates: list[int], folder: Path) -> list[dict[str, Any]]:
    """Measure each rate until a tick is late or a reading is lost."""
    found = []
    broker = Mosquitto(folder / "broker")
    print(f"{'MQTT':>9}{'received':>10}{'largest delay ms':>18}{'CPU %':>8}")
    try:
        for rate in rates:
            row = _at_rate(rate, broker.port)
            found.append(row)
            print(f"{rate:>9,}{row['taken']:>10,}{row['latest_ms']:>18}{row['cpu_percent']:>8}")
            if not row["on_time"]:
                break
    finally:
        broker.stop()
    return found


def _at_rate(rate: int, port: int) -> dict[str, Any]:
    """Run some ticks of the agent at a rate; measure their delay and the readings received."""
    kind = source_class("mqtt")
    topics = [{"filter": "r/#"}]
    keys = {"type": "mqtt", "port": port, "how": "count", "max_channels": _TOPICS, "topics": topics}
    source = kind(msgspec.convert(keys, kind.Config), 1.0)
    clock = SystemClock()
    sampler = Sampler([("mqtt", source)], 1.0, clock)
    models = loader.load_builtin()
    ensemble = Ensemble(sampler.channels, models, DetectionConfig(), AlertsConfig(), 1.0)
    incidents = Incidents(sampler.channels, AlertsConfig(), 1.0, node="b", model=models.label, instance="0")
    publish = [sys.executable, "-c", _PUBLISH, str(port), str(rate)]
    process = subprocess.Popen(publish, cwd=_ROOT)
    late, taken, spent = [], [], []
    try:
        for frame in itertools.islice(sampler.frames(), _WARM_TICKS + _TICKS):
            late.append(clock.monotonic_ns() / 1e9 - frame.mono_ns / 1e9)
            taken.append(float(np.nansum(frame.values)))
            spent.append(time.process_time())
            if sampler.changes():
                continue  # channels appear during the first ticks and are not judged then
            incidents.step(frame, ensemble.step(frame))
    finally:
        process.terminate()
        process.wait()
        sampler.close()
    latest, least = max(late[_WARM_TICKS:]), float(np.mean(taken[_WARM_TICKS:]))
    return {
        "rate": rate,
        "taken": round(least),
        "latest_ms": round(latest * 1e3, 1),
        "cpu_percent": round(100.0 * (spent[-1] - spent[_WARM_TICKS]) / (_TICKS - 1)),
        "on_time": bool(latest <= _LATE_S and not sampler.missed and least >= 0.98 * rate),
    }


_PUBLISH = "import sys; from tools.benchmark.cost.sources import publish; publish(int(sys.argv[1]), int(sys.argv[2]))"


def publish(port: int, rate: int) -> None:
    """Publish ``rate`` readings a second, spread evenly, until terminated."""
    packets = [packet(f"r/{i % _TOPICS}".encode(), f"{i % 977 / 8}".encode()) for i in range(rate)]
    with contextlib.closing(MqttFlood(port)) as flood, contextlib.suppress(socket.error):
        due = time.monotonic()
        while True:
            due = flood.spread(packets, due)
