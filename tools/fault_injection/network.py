"""Bad networks between the agent and a healthy broker: lost, half-open, reset and slow connections."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

from agent.delivery.outbox import Outbox
from agent.delivery.publisher import Publisher
from agent.delivery.worker import DeliveryWorker
from agent.mqtt.settings import MqttConfig
from tools.fault_injection.receiver import Receiver
from tools.testing.alerts import alert
from tools.testing.mosquitto import Mosquitto

if TYPE_CHECKING:
    from pathlib import Path

    from tools.testing.findings import Findings

__all__ = ["Proxy", "run"]

#: Forward everything; drop everything while both ends stay connected; close only the broker's side; reset in the middle
#: of a packet; delay three packets in ten by two seconds.
Weather: TypeAlias = Literal["fair", "black_hole", "half_open", "reset", "slow"]
_BAD_NETWORKS: tuple[Weather, ...] = ("black_hole", "half_open", "reset", "slow")
_DELAYED, _DELAY_S = 0.3, 2.0
# Bytes read at once, and seconds between alerts; chosen by hand.
_CHUNK = 4096
_PAUSE_S = 0.05
_KEEPALIVE_S = 5
# Allowed seconds until delivery resumes: two keep-alive intervals to notice, one to reconnect.
_RECOVERY_S = 3 * _KEEPALIVE_S
_PATIENCE_S = 60.0


class Proxy:
    """TCP proxy in front of a loopback port that simulates bad networks.

    Parameters
    ----------
    port
        Target port.
    seed
        Seed of the random delays.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self._target = port
        self._rng = random.Random(seed)
        self._closing = False
        self.weather: Weather = "fair"
        self._listener = socket.create_server(("127.0.0.1", 0))
        #: Port that the proxy listens on.
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def close(self) -> None:
        """Stop listening, and end all connections."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._target)) as upstream:
            while not self._closing:
                readable, _, _ = select.select([client, upstream], [], [], 0.05)
                if self.weather == "half_open" and upstream.fileno() >= 0:
                    upstream.close()
                    self._swallow(client)
                    return
                for end in readable:
                    data = end.recv(_CHUNK)
                    if not data:
                        return
                    if not self._forward(data, upstream if end is client else client, client):
                        return

    def _forward(self, data: bytes, to: socket.socket, client: socket.socket) -> bool:
        """Forward data according to `weather`; False if the connection was ended."""
        if self.weather == "black_hole":
            return True
        if self.weather == "reset":
            to.sendall(data[: len(data) // 2])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if self.weather == "slow" and self._rng.random() < _DELAYED:
            time.sleep(_DELAY_S)
        to.sendall(data)
        return True

    def _swallow(self, client: socket.socket) -> None:
        """Drop all data of a client whose broker side is closed."""
        while not self._closing and self.weather == "half_open":
            if select.select([client], [], [], 0.05)[0] and not client.recv(_CHUNK):
                return


def run(findings: Findings, folder: Path, *, storm_s: float, rounds: int) -> None:
    """Raise alerts continuously while the network changes, and check their delivery."""
    broker = Mosquitto(folder / "broker")
    receiver = Receiver(broker.port)
    proxy = Proxy(broker.port)
    outbox = Outbox(folder / "state")
    delivery = DeliveryWorker(outbox)
    config = MqttConfig(port=proxy.port, keepalive_s=_KEEPALIVE_S)
    publisher = Publisher(config, "pi4", outbox.instance, on_progress=delivery.wake)
    delivery.start(publisher)
    seq = 0
    slowest_put_s = 0.0
    slowest_back_s = 0.0

    def raise_for(seconds: float) -> None:
        nonlocal seq, slowest_put_s
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            seq += 1
            begin = time.monotonic()
            delivery.put([alert(seq)], b"")
            slowest_put_s = max(slowest_put_s, time.monotonic() - begin)
            time.sleep(_PAUSE_S)

    try:
        for number in range(rounds):
            for weather in _BAD_NETWORKS:
                raise_for(1.0)
                proxy.weather = weather
                raise_for(storm_s)
                proxy.weather = "fair"
                begin = time.monotonic()
                while len(receiver.unique()) < seq and time.monotonic() - begin < _PATIENCE_S:
                    time.sleep(0.05)
                back_s = time.monotonic() - begin
                slowest_back_s = max(slowest_back_s, back_s)
                findings.figure(
                    f"{weather.replace('_', ' ')}, round {number + 1}: all delivered after s", round(back_s, 1)
                )
    finally:
        delivery.stop()
        proxy.close()
        receiver.close()
        broker.stop()
    numbers = [one.seq for one in receiver.unique()]
    findings.figure("alerts", seq)
    findings.figure("alerts received more than once", len(receiver.alerts) - len(numbers))
    findings.promise("all alerts arrive, in order", numbers == list(range(1, seq + 1)))
    findings.promise(f"within {_RECOVERY_S} s of a good network", slowest_back_s <= _RECOVERY_S)
    findings.promise("queueing an alert takes less than 50 ms", slowest_put_s < 0.05)
