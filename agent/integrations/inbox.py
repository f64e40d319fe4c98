"""Handles received messages: remote commands and Home Assistant's birth message, each if enabled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.integrations.home_assistant import Discovery
from agent.integrations.remote_commands import RemoteCommands

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.delivery.publisher import Publisher
    from agent.messages.command import Command
    from agent.mqtt.settings import MqttConfig

__all__ = ["Inbox"]


class Inbox:
    """Dispatches received messages by topic, and announces the node to Home Assistant.

    Parameters
    ----------
    config
        The section ``mqtt``.
    node
        Name of this node.
    carry_out
        See `RemoteCommands`.
    """

    def __init__(self, config: MqttConfig, node: str, carry_out: Callable[[Command], str]) -> None:
        self._commands = RemoteCommands(config.prefix, node, carry_out) if config.commands else None
        self._discovery = Discovery(config, node) if config.discovery else None

    @property
    def filters(self) -> tuple[str, ...]:
        """Topics to subscribe to."""
        commands = (self._commands.topic,) if self._commands else ()
        return (*commands, self._discovery.birth_topic) if self._discovery else commands

    def hear(self, publisher: Publisher, now_s: float) -> None:
        """Handle the messages received since the last call, and publish answers.

        Parameters
        ----------
        publisher
            The connection to the broker.
        now_s
            Monotonic time in seconds.
        """
        for message in publisher.received():
            if self._commands and message.topic == self._commands.topic:
                reply = self._commands.take(message, now_s)
                if reply:
                    publisher.send(reply.topic, reply.payload, qos=1, correlation=reply.correlation)
            elif self._discovery:
                self._discovery.hear(message, now_s)

    def announce(self, publisher: Publisher, now_s: float) -> bool:
        """Publish the discovery message if due.

        Returns
        -------
        bool
            Whether all other retained messages are due again: after a new connection, or Home Assistant's restart.
        """
        renewed = publisher.renewed()
        if self._discovery and (self._discovery.due(now_s) or renewed):
            publisher.send(self._discovery.topic, self._discovery.payload, qos=1, retain=True)
            return True
        return renewed
