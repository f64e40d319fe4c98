"""Shared state of all pages: the connection to the broker, and the fleet seen there."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from agent.messages.topics import topic
from agent.mqtt.subscriber import Subscriber
from tools.dashboard.fleet import ANSWERS, Fleet

if TYPE_CHECKING:
    from agent.messages.command import Answer, Command
    from agent.mqtt.settings import MqttConfig

__all__ = ["Hub"]

# Messages read at once, and seconds of reading before the pages get their turn; chosen by hand.
_AT_ONCE = 200
_LONGEST_TURN_S = 0.05
# Seconds to wait for the answer to a command, chosen by hand.
_ANSWER_S = 5.0


class Hub:
    """Receive the messages of all nodes below a prefix, and send commands.

    Parameters
    ----------
    config
        Settings of the broker, as in the agent's configuration.

    Raises
    ------
    UserError
        A password or TLS file is unusable.
    """

    def __init__(self, config: MqttConfig) -> None:
        self._config = config
        self._subscriber = Subscriber(config, [f"{config.prefix}/+/+", f"{config.prefix}/+/{ANSWERS}"])
        self.fleet = Fleet(config.prefix)
        self.start, self.stop = self._subscriber.start, self._subscriber.stop
        # Awaited answers by command id.
        self._awaited: dict[str, asyncio.Future[Answer]] = {}

    def take(self) -> None:
        """Process received messages for at most `_LONGEST_TURN_S`."""
        until = time.monotonic() + _LONGEST_TURN_S
        while time.monotonic() < until:
            messages = list(self._subscriber.waiting(_AT_ONCE))
            for name, payload in messages:
                self.fleet.take(name, payload)
            if len(messages) < _AT_ONCE:
                break
        for name, awaited in self._awaited.items():
            if name in self.fleet.answers and not awaited.done():
                awaited.set_result(self.fleet.answers[name])

    @property
    def connected(self) -> bool:
        """Whether the broker is connected and the subscriptions are accepted."""
        return self._subscriber.connected and not self._subscriber.failure

    @property
    def link(self) -> str:
        """Address of the broker and, unless connected, the reason."""
        host, port = self._config.address
        if self.connected:
            return f"{host}:{port}"
        return f"{host}:{port}: {self._subscriber.failure or 'not connected yet'}"

    @property
    def lost(self) -> int:
        """Messages not shown: invalid, too large, or too many at once."""
        return self.fleet.refused + self._subscriber.lost

    async def send(self, node: str, command: Command) -> Answer | None:
        """Send a command and wait `_ANSWER_S` for the answer; None without one."""
        command = msgspec.structs.replace(command, id=f"dashboard-{secrets.token_hex(8)}")
        if not self._subscriber.publish(topic(self._config.prefix, node, "cmd"), msgspec.json.encode(command)):
            return None
        awaited = self._awaited[command.id] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(awaited, _ANSWER_S)
        except asyncio.TimeoutError:
            return None
        finally:
            del self._awaited[command.id]
