"""A network that swallows, cuts, resets and delays, between the agent and a broker that is well."""

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

#: Hand on everything; swallow everything while both ends seem well; drop the broker's side only; reset in the middle
#: of a packet; hold three packets in ten back for two seconds.
Weather: TypeAlias = Literal["fair", "black_hole", "half_open", "reset", "slow"]
_STORMS: tuple[Weather, ...] = ("black_hole", "half_open", "reset", "slow")
_DELAYED, _DELAY_S = 0.3, 2.0
_CHUNK = 4096
_PAUSE_S = 0.05
_KEEPALIVE_S = 5
# Silence is noticed after two keep-alives, and connecting again takes a while.
_NOTICED_S = 3 * _KEEPALIVE_S
_PATIENCE_S = 60.0


class Proxy:
    """Stands between a client and a port on loopback.

    Parameters
    ----------
    port
        Where it hands on to.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self._target = port
        self._rng = random.Random(seed)
        self._closing = False
        self.weather: Weather = "fair"
        self._listener = socket.create_server(("127.0.0.1", 0))
        #: Where it listens.
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
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near, socket.create_connection(("127.0.0.1", self._target)) as far:
            while not self._closing:
                readable, _, _ = select.select([near, far], [], [], 0.05)
                if self.weather == "half_open" and far.fileno() >= 0:
                    far.close()
                    self._swallow(near)
                    return
                for end in readable:
                    data = end.recv(_CHUNK)
                    if not data:
                        return
                    if not self._hand_on(data, far if end is near else near, near):
                        return

    def _hand_on(self, data: bytes, to: socket.socket, near: socket.socket) -> bool:
        """Hand data on as the weather is; False where that ended the connection."""
        if self.weather == "black_hole":
            return True
        if self.weather == "reset":
            to.sendall(data[: len(data) // 2])
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if self.weather == "slow" and self._rng.random() < _DELAYED:
            time.sleep(_DELAY_S)
        to.sendall(data)
        return True

    def _swallow(self, near: socket.socket) -> None:
        """The far end is gone and nobody says so."""
        while not self._closing and self.weather == "half_open":
            if select.select([near], [], [], 0.05)[0] and not near.recv(_CHUNK):
                return


def run(findings: Findings, folder: Path, *, storm_s: float, rounds: int) -> None:
    """Raise alerts all the time while the weather changes."""
    broker = Mosquitto(folder / "broker")
    receiver = Receiver(broker.port)
    proxy = Proxy(broker.port)
    outbox = Outbox(folder / "state")
    delivery = DeliveryWorker(outbox)
    config = MqttConfig(port=proxy.port, keepalive_s=_KEEPALIVE_S)
    publisher = Publisher(config, "pi4", outbox.instance, on_progress=delivery.wake)
    delivery.start(publisher)
    seq = 0
    latest_s = 0.0
    slowest_back_s = 0.0

    def raise_for(seconds: float) -> None:
        nonlocal seq, latest_s
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            seq += 1
            begin = time.monotonic()
            delivery.put([alert(seq)], b"")
            latest_s = max(latest_s, time.monotonic() - begin)
            time.sleep(_PAUSE_S)

    try:
        for number in range(rounds):
            for weather in _STORMS:
                raise_for(1.0)
                proxy.weather = weather
                raise_for(storm_s)
                proxy.weather = "fair"
                begin = time.monotonic()
                while len(receiver.unique()) < seq and time.monotonic() - begin < _PATIENCE_S:
                    time.sleep(0.05)
                back_s = time.monotonic() - begin
                slowest_back_s = max(slowest_back_s, back_s)
                findings.figure(f"{weather.replace('_', ' ')}, round {number + 1}: all there after s", round(back_s, 1))
    finally:
        delivery.stop()
        proxy.close()
        receiver.close()
        broker.stop()
    numbers = [one.seq for one in receiver.unique()]
    findings.figure("alerts", seq)
    findings.figure("arrived more than once", len(receiver.alerts) - len(numbers))
    findings.promise("all arrived, in order", numbers == list(range(1, seq + 1)))
    findings.promise(f"within {_NOTICED_S} s of fair weather", slowest_back_s <= _NOTICED_S)
    findings.promise("handing an alert over never took 50 ms", latest_s < 0.05)
