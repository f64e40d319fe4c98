from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import UserError
from agent.integrations.remote_commands import RemoteCommands
from agent.messages.command import Acknowledge, Answer, Command, Relearn, Reload, Silence, Unsilence
from agent.mqtt.received import Received

SILENCE = b'{"command":"silence","channels":["disk.*"],"for_s":60}'


class Obeyed:
    """A fake node that accepts every command and records it."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self.done: list[Command] = []
        self.fault = fault
        self.commands = RemoteCommands("edgewatch", "pi4", self.carry_out)
        self.now_s = 1e6

    def carry_out(self, command: Command) -> str:
        self.done.append(command)
        if self.fault:
            raise self.fault
        return "done"

    def say(self, payload: bytes, **more: Any) -> Answer:
        self.now_s += 60.0
        reply = self.commands.take(Received("edgewatch/pi4/cmd", payload, **more), self.now_s)
        assert reply is not None
        return msgspec.json.decode(reply.payload, type=Answer)

    def where(self, response_topic: str, correlation: bytes = b"") -> tuple[str, bytes]:
        self.now_s += 60.0
        message = Received("edgewatch/pi4/cmd", SILENCE, False, response_topic, correlation)
        reply = self.commands.take(message, self.now_s)
        assert reply is not None
        return reply.topic, reply.correlation


@pytest.fixture
def node() -> Obeyed:
    return Obeyed()


@pytest.mark.parametrize(
    ("payload", "command"),
    [
        (SILENCE, Silence(channels=("disk.*",), for_s=60.0)),
        (
            b'{"command":"silence","id":"a","channels":["*"],"for_s":1.5,"include_limits":true}',
            Silence(id="a", channels=("*",), for_s=1.5, include_limits=True),
        ),
        (b'{"command":"unsilence","channels":["load"]}', Unsilence(channels=("load",))),
        (b'{"command":"acknowledge","incident":"pi4-7f3a-000001"}', Acknowledge(incident="pi4-7f3a-000001")),
        (b'{"command":"relearn","channels":["*"]}', Relearn(channels=("*",))),
        (b'{"id":"7","command":"reload"}', Reload(id="7")),
    ],
)
def test_a_command_that_fits_is_carried_out_and_answered(node: Obeyed, payload: bytes, command: Command) -> None:
    answer = node.say(payload)
    assert node.done == [command]
    assert (answer.ok, answer.id, answer.detail, answer.node) == (True, command.id, "done", "pi4")


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "not JSON"),
        (b"online", "not JSON"),
        (b"[]", "expected a mapping"),
        (b'{"command":"explode"}', "command: expected one of "),
        (b'{"channels":["*"],"for_s":60}', "required key 'command' is missing"),
        (b'{"command":"silence","channels":["*"]}', "required key 'for_s' is missing"),
        (b'{"command":"silence","channels":["*"],"for_s":0}', "above 0"),
        (b'{"command":"silence","channels":["*"],"for_s":2592001}', "at most 2,592,000"),
        (b'{"command":"silence","channels":["*"],"for_s":1e999}', "not JSON"),
        (b'{"command":"silence","channels":[],"for_s":1}', "a list of 1 to "),
        (b'{"command":"silence","channels":"*","for_s":1}', "channels: expected a list"),
        (b'{"command":"silence","channels":["' + b"a" * 129 + b'"],"for_s":1}', "a text of 1 to 128 characters"),
        (b'{"command":"reload","config":"/etc/passwd"}', "unknown key 'config'"),
        (b'{"command":"reload","id":"' + b"a" * 65 + b'"}', "a text of at most 64 characters"),
        (b'{"command":"reload","id":7}', "id: expected a text"),
        (b'{"command":"reload","id":"\xff"}', "not JSON"),
        (b"[" * 4096, "not JSON"),
        (b'{"command":"reload"}' + b" " * 4096, "larger than 4096 bytes"),
    ],
)
def test_what_does_not_fit_does_nothing_and_is_told_why(node: Obeyed, payload: bytes, told: str) -> None:
    answer = node.say(payload)
    assert node.done == []
    assert not answer.ok
    assert told in answer.error


def test_a_refusal_carries_the_id_where_there_is_one(node: Obeyed) -> None:
    assert node.say(b'{"command":"explode","id":"x1"}').id == "x1"


def test_a_retained_command_is_refused(node: Obeyed) -> None:
    assert "retained" in node.say(SILENCE, retained=True).error
    assert node.done == []


def test_a_command_delivered_twice_is_carried_out_once_and_answered_twice(node: Obeyed) -> None:
    again = b'{"command":"relearn","channels":["*"],"id":"a"}'
    assert node.say(again) == node.say(again)
    assert len(node.done) == 1
    assert node.say(b'{"command":"reload"}') == node.say(b'{"command":"reload"}')
    assert len(node.done) == 3  # without an id, repetitions cannot be recognised


def test_no_more_ids_are_remembered_than_fit(node: Obeyed) -> None:
    for number in range(200):
        node.say(b'{"command":"reload","id":"%d"}' % number)
    assert len(node.commands._answered) == 64
    node.say(b'{"command":"reload","id":"199"}')
    assert len(node.done) == 200
    node.say(b'{"command":"reload","id":"0"}')
    assert len(node.done) == 201


def test_more_than_ten_a_minute_are_not_looked_at_and_only_the_first_is_told(node: Obeyed) -> None:
    message = Received("edgewatch/pi4/cmd", SILENCE)
    replies = [node.commands.take(message, 100.0 + i * 0.001) for i in range(1000)]
    assert len(node.done) == 10
    assert sum(reply is not None for reply in replies) == 11
    assert b"more than 10 commands a minute" in (replies[10] or ("", b""))[1]
    assert node.commands.take(message, 117.0) is not None
    assert len(node.done) == 11


@pytest.mark.parametrize(
    "asked",
    ["edgewatch/answers/me", "edgewatch/ha/antwort é", "edgewatch/pi4/cmd/answer/7"],
)
def test_an_answer_goes_where_it_is_asked_for_below_the_prefix(node: Obeyed, asked: str) -> None:
    assert node.where(asked, b"\x00\x01") == (asked, b"\x00\x01")


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "edgewatch",
        "other/topic",
        "edgewatchx/topic",
        "homeassistant/device/x/config",
        "$SYS/broker",
        "edgewatch/#",
        "edgewatch/+/a",
        "edgewatch/other/cmd",
        "edgewatch/pi4/status",
        "edgewatch/pi4/alert",
        "edgewatch/a\x00b",
        "edgewatch/" + "a" * 300,
    ],
)
def test_an_answer_goes_nowhere_else(node: Obeyed, asked: str) -> None:
    assert node.where(asked) == ("edgewatch/pi4/cmd/answer", b"")


def test_what_cannot_be_done_is_told_with_its_remedy() -> None:
    node = Obeyed(UserError("no channel matches 'x'", remedy="`edgewatch probe` lists them"))
    answer = node.say(SILENCE)
    assert (answer.ok, answer.error) == (False, "no channel matches 'x' – `edgewatch probe` lists them")


def test_a_mistake_of_ours_does_not_end_the_daemon(caplog: pytest.LogCaptureFixture) -> None:
    node = Obeyed(ZeroDivisionError("division"))
    answer = node.say(SILENCE)
    assert (answer.ok, answer.error) == (False, "internal error; the agent's log has more")
    assert "ZeroDivisionError" in caplog.text


def test_every_command_is_logged_in_one_line_without_control_characters(
    node: Obeyed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node.say(b'{"command":"reload","id":"a\\n\\u001b[2J\\u202e"}')
    node.say(b'{"command":"explode\\nERROR forged","id":"b\\r"}')
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert "refused" in lines[1]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_NEAR = st.fixed_dictionaries(
    {"command": st.sampled_from(["silence", "unsilence", "acknowledge", "relearn", "reload"]) | _JSON},
    optional={
        "id": st.text(max_size=70) | _JSON,
        "channels": st.lists(st.text(max_size=6) | st.just("*"), max_size=70) | _JSON,
        "for_s": st.floats() | st.integers() | _JSON,
        "include_limits": _JSON,
        "incident": st.text(max_size=300) | _JSON,
        "x": _JSON,
    },
)


def encoded(value: Any) -> bytes:
    import json  # noqa: PLC0415 - says NaN and lone surrogates, which msgspec would not

    return json.dumps(value).encode()


@given(
    payload=st.binary(max_size=60) | _NEAR.map(encoded) | _JSON.map(encoded),
    topic=st.text(max_size=20) | st.text(max_size=10).map("edgewatch/".__add__),
    correlation=st.binary(max_size=20),
    retained=st.booleans(),
)
def test_nothing_that_arrives_raises_or_does_anything_but_a_command(
    payload: bytes, topic: str, correlation: bytes, retained: bool
) -> None:
    node = Obeyed()
    reply = node.commands.take(Received("edgewatch/pi4/cmd", payload, retained, topic, correlation), 0.0)
    assert reply is not None
    answer = msgspec.json.decode(reply.payload, type=Answer)
    assert answer.ok == bool(node.done)
    assert not (retained and node.done)
    assert reply.topic.startswith("edgewatch/")
    assert reply.correlation == correlation
