"""Remote commands: validates, rate-limits, logs and answers messages on the topic ``cmd``.

Commands are carried out elsewhere; see `agent.service.command_handler`. No payload makes this module raise, and only
payloads that match the type of a command are carried out.
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

# Bytes of a payload, and of correlation data; chosen by hand.
_MOST_BYTES = 4096
# Commands a minute, and at once after a quiet minute; chosen by hand.
_MOST_A_MINUTE = 10
# Answers kept to answer a repeated ``id`` without carrying it out again; chosen by hand.
_REMEMBERED = 64
# Characters of a response topic; chosen by hand.
_LONGEST_TOPIC = 256
# Last levels of the agents' own topics, to which no answer may be published.
_OURS = {"status", "state", "alert", "metrics", "health", "digest", "cmd"}


class _Named(msgspec.Struct):
    """The ``id`` of a malformed command, so that it can be answered."""

    id: CommandId = ""


class Reply(NamedTuple):
    """An answer, to be published once and not retained.

    Parameters
    ----------
    topic
        Topic to publish on.
    payload
        JSON of `agent.messages.command.Answer`.
    correlation
        Correlation data of the command; empty if it had none.
    """

    topic: str
    payload: bytes
    correlation: bytes


class RemoteCommands:
    """Handles messages on ``<prefix>/<node>/cmd``.

    At most ten messages a minute are read. Of those beyond, the first is refused and the others are ignored. Retained
    commands are refused, since they would be carried out at every connection.

    Parameters
    ----------
    prefix, node
        First two levels of the topic.
    carry_out
        Carries out a command and returns the text of the answer; raises `EdgewatchError` if that is not possible.
    """

    def __init__(self, prefix: str, node: str, carry_out: Callable[[Command], str]) -> None:
        self._prefix = prefix
        self._node = node
        self._carry_out = carry_out
        #: The topic to subscribe to.
        self.topic = f"{prefix}/{node}/cmd"
        self._bucket = TokenBucket(_MOST_A_MINUTE, 60.0 / _MOST_A_MINUTE)
        self._overrun = False
        # Answers by id, the latest last.
        self._answered: OrderedDict[str, Answer] = OrderedDict()

    def take(self, message: Received, now_s: float) -> Reply | None:
        """Carry out or refuse a command; returns the reply, None if the message is ignored.

        Parameters
        ----------
        now_s
            Monotonic time in seconds.
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
            _LOG.info("command repeated, not carried out again (id '%s')", plain(name))
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
        except Exception:  # noqa: BLE001 - a bug of ours must not end the daemon
            _LOG.exception("command %s failed", plain(repr(command)))
            return self._refuse(command.id, "internal error; the agent's log has more")
        _LOG.info("command %s: %s", plain(repr(command)), plain(detail))
        return Answer(1, self._node, command.id, ok=True, detail=detail)

    def _refuse(self, name: str, error: str) -> Answer:
        _LOG.warning("command refused (id '%s'): %s", plain(name), plain(error))
        return Answer(1, self._node, name, ok=False, error=plain(error))

    def _may_answer(self, topic: str) -> bool:
        """Whether an answer may be published on a topic: below the prefix, and none of the agents' own topics."""
        return (
            topic.startswith(f"{self._prefix}/")
            and len(topic) <= _LONGEST_TOPIC
            and topic.isprintable()
            and not {"+", "#"} & set(topic)
            and topic.rsplit("/", 1)[1] not in _OURS
        )


def _mistake(payload: bytes) -> str:
    """Describe why a payload is not a command."""
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
