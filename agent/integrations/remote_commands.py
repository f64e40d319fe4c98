"""Remote commands: what others may say to the agent, checked, limited, logged and answered.

This file reads, refuses and answers; what a command does is the daemon's. Nothing that arrives raises, and nothing but
a command that fits its type does anything.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from agent.core.errors import UNREADABLE, EdgewatchError
from agent.core.mismatch import mismatch
from agent.core.text import plain
from agent.core.token_bucket import TokenBucket
from agent.messages.command import Answer, Command, CommandId

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.mqtt.received import Received


__all__ = ["RemoteCommands", "Reply"]

_LOG = logging.getLogger(__name__)

_MOST_BYTES = 4096
_MOST_A_MINUTE = 10
_REMEMBERED = 64
_LONGEST_TOPIC = 256
# What agents themselves publish or listen to below the prefix: no place for an answer.
_OURS = {"status", "state", "alert", "metrics", "health", "digest", "cmd"}


class _Named(msgspec.Struct):
    """What can be known of a command that is none."""

    id: CommandId = ""


class Reply(NamedTuple):
    """An answer and where it goes; to be published once, not retained."""

    topic: str
    payload: bytes
    correlation: bytes


class RemoteCommands:
    """Takes what arrives on ``<prefix>/<node>/cmd``.

    At most ten a minute are looked at, ten at once after a quiet minute; of what comes beyond only the first is
    answered. A retained command is refused: it would be carried out at every connection.

    Parameters
    ----------
    prefix, node
        As topics carry them.
    carry_out
        Does what a command says and gives a line about it; raises `EdgewatchError` when that cannot be done.
    """

    def __init__(self, prefix: str, node: str, carry_out: Callable[[Command], str]) -> None:
        self._prefix = prefix
        self._node = node
        self._carry_out = carry_out
        #: The topic to listen to.
        self.topic = f"{prefix}/{node}/cmd"
        self._bucket = TokenBucket(_MOST_A_MINUTE, 60.0 / _MOST_A_MINUTE)
        self._overrun = False
        # Answers by id, the latest last.
        self._answered: OrderedDict[str, Answer] = OrderedDict()

    def take(self, message: Received, now_s: float) -> Reply | None:
        """Carry out or refuse a message; gives the reply, if there is to be one.

        Parameters
        ----------
        now_s
            Of a clock that never goes back.
        """
        if not self._bucket.take(now_s):
            if self._overrun:
                return None
            self._overrun = True
            answer = self._refuse("", f"more than {_MOST_A_MINUTE} commands a minute; further ones go unanswered")
        else:
            self._overrun = False
            answer = self._answer(message)
        topic = message.response_topic if self._may_answer(message.response_topic) else f"{self.topic}/answer"
        correlation = message.correlation if len(message.correlation) <= _MOST_BYTES else b""
        return Reply(topic, msgspec.json.encode(answer), correlation)

    def _answer(self, message: Received) -> Answer:
        if len(message.payload) > _MOST_BYTES:
            return self._refuse("", f"larger than {_MOST_BYTES} bytes")
        name = _id_of(message.payload)
        if message.retained:
            return self._refuse(name, "a retained command is refused: it would be carried out at every connection")
        try:
            command: Command = msgspec.json.decode(message.payload, type=Command)
        except UNREADABLE:
            return self._refuse(name, _mistake(message.payload))
        known = self._answered.get(name) if name else None
        if known is not None:
            _LOG.info("command seen before, answered again (id '%s')", plain(name))
            return known
        answer = self._obey(command)
        if name:
            self._answered[name] = answer
            if len(self._answered) > _REMEMBERED:
                self._answered.popitem(last=False)
        return answer

    def _obey(self, command: Command) -> Answer:
        try:
            detail = self._carry_out(command)
        except EdgewatchError as error:
            return self._refuse(command.id, str(error))
        except Exception:  # noqa: BLE001 - a mistake of ours; a command must not end the daemon
            _LOG.exception("command %s failed", plain(repr(command)))
            return self._refuse(command.id, "internal error; the agent's log has more")
        _LOG.info("command %s: %s", plain(repr(command)), plain(detail))
        return Answer(1, self._node, command.id, ok=True, detail=detail)

    def _refuse(self, name: str, error: str) -> Answer:
        _LOG.warning("command refused (id '%s'): %s", plain(name), plain(error))
        return Answer(1, self._node, name, ok=False, error=plain(error))

    def _may_answer(self, topic: str) -> bool:
        """Whether an answer may go there: below the prefix, and to none of the agents' own topics."""
        return (
            topic.startswith(f"{self._prefix}/")
            and len(topic) <= _LONGEST_TOPIC
            and topic.isprintable()
            and not {"+", "#"} & set(topic)
            and topic.rsplit("/", 1)[1] not in _OURS
        )


def _mistake(payload: bytes) -> str:
    """Say why a payload is no command."""
    try:
        found = mismatch(msgspec.json.decode(payload), Command)
    except UNREADABLE:
        return "not JSON"
    return str(found) if found else "not a command"


def _id_of(payload: bytes) -> str:
    try:
        return msgspec.json.decode(payload, type=_Named).id
    except UNREADABLE:
        return ""
