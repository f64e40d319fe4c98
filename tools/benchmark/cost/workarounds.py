"""Gain of each workaround that uses private parts of a library, beside the unmodified library.

*Memory*: ``edgewatch run`` in a fresh process, as it is and with a module imported that it avoids, in turn.
*Time*: CPU time of the thread that reads small MQTT messages, with the bulk client and with paho's loop.
A workaround stays if it gains at least 2 MiB or a factor of 2.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.mqtt.bulk_client import BulkClient
from agent.mqtt.slim_paho import mqtt
from tools.testing.mqtt_flood import packet

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]

# Python code that runs before the agent is imported, by variant; importing a module undoes its workaround.
_FIRST = {
    "as it is": "",
    "with ssl": "import ssl",
    "with _hashlib": "import _hashlib",
    # Without its imports of ssl and _hashlib, which have their own lines.
    "with urllib.request": "import sys; sys.modules.update(ssl=None, _hashlib=None); import urllib.request; "
    "del sys.modules['ssl'], sys.modules['_hashlib']",
    "with ssl, _hashlib, urllib.request": "import ssl, _hashlib, urllib.request",
}
_CONFIG = "node: n\nstate_dir: {folder}/state\nmqtt: {{port: 1}}\n"
_RUN = "import sys; from agent.cli.main import main; sys.exit(main(['run', '--config', {path!r}]))"
# Seconds from start to measurement, chosen by hand: some frames have been judged.
_SETTLED_S = 6.0
_MESSAGES = 100_000
# Largest packet in bytes that the bulk client accepts.
_MOST_PACKET = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measurements of each variant")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print memory in MiB and messages a second of CPU time."""
    memory: dict[str, list[dict[str, float]]] = {name: [] for name in _FIRST}
    speed: dict[str, list[float]] = {"bulk client": [], "paho's loop": []}
    for _ in range(options.rounds):
        for name, first in _FIRST.items():
            memory[name].append(_memory_mib(first))
        for name, rates in speed.items():
            rates.append(_messages_a_second(bulk=name == "bulk client"))
    medians = {
        name: {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}
        for name, rows in memory.items()
    }
    print(f"{'edgewatch run, MiB':<38}{'RSS':>8}{'private dirty':>16}")
    for name, row in medians.items():
        print(f"{name:<38}{row['rss']:>8}{row['private_dirty']:>16}")
    rates_ = {name: round(statistics.median(rates)) for name, rates in speed.items()}
    for name, rate in rates_.items():
        print(f"{name}: {rate:,} messages a second of CPU time")
    return {"memory_mib": medians, "messages_a_second": rates_}


def _memory_mib(first: str) -> dict[str, float]:
    """Memory of the daemon in MiB, `_SETTLED_S` after its start, without a broker."""
    with tempfile.TemporaryDirectory(prefix="edgewatch-workarounds-") as folder:
        path = Path(folder, "config.yaml")
        path.write_text(_CONFIG.format(folder=folder), encoding="utf-8")
        code = f"{first}\n{_RUN.format(path=str(path))}"
        process = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(_SETTLED_S)
            return _rollup_mib(process.pid)
        finally:
            process.terminate()
            process.wait()


def _rollup_mib(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    kib = {key: int(value.split()[0]) for key, value in (line.split(":") for line in lines)}
    return {"rss": kib["Rss"] / 1024, "private_dirty": kib["Private_Dirty"] / 1024}


def _messages_a_second(*, bulk: bool) -> float:
    """Messages of quality of service 0 received a second of CPU time."""
    taken = 0

    def take(topic: bytes, payload: bytes) -> None:
        nonlocal taken
        del topic, payload
        taken += 1

    settings: dict[str, Any] = {
        "callback_api_version": CallbackAPIVersion.VERSION2,
        "protocol": MQTTProtocolVersion.MQTTv311,
        "reconnect_on_failure": False,
    }
    client = BulkClient(take, _MOST_PACKET, lambda: None, **settings) if bulk else mqtt.Client(**settings)
    client.on_message = lambda _client, _userdata, message: take(message.topic.encode(), bytes(message.payload))
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server,))
        thread.start()
        client.connect("127.0.0.1", server.getsockname()[1])
        begin = time.thread_time()
        if isinstance(client, BulkClient):
            client.listen()
        else:
            while client.loop(1.0) == mqtt.MQTT_ERR_SUCCESS:
                pass
        spent = time.thread_time() - begin
        thread.join()
    if taken != _MESSAGES:
        raise RuntimeError(f"{taken} of {_MESSAGES} messages arrived")
    return _MESSAGES / spent


def _serve(server: socket.socket) -> None:
    """Accept one client, send all messages, and close the connection."""
    link, _ = server.accept()
    packets = (packet(f"r/{i % 1000}".encode(), f"{i % 977 / 8}".encode()) for i in range(_MESSAGES))
    with link:
        link.recv(1000)
        link.sendall(b"\x20\x02\x00\x00" + b"".join(packets))
        link.shutdown(socket.SHUT_WR)
        while link.recv(1000):
            pass
