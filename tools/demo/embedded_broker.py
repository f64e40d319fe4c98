"""Embedded broker of the demo: amqtt (MQTT 3.1.1) on loopback, without accounts and persistence."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
from typing import TYPE_CHECKING

from amqtt.broker import Broker

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["listens", "main"]

_LOOPBACK = "127.0.0.1"


def listens(host: str, port: int) -> bool:
    """Whether a TCP connection to an address succeeds."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


async def _serve(port: int) -> None:
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{_LOOPBACK}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(config)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await broker.start()
    print(f"listening on {_LOOPBACK}:{port}", flush=True)
    await stop.wait()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(broker.shutdown(), 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo.embedded_broker", description=__doc__)
    parser.add_argument("--port", type=int, default=1883)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_serve(options.port))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
