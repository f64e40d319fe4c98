"""The MQTT connection chooses the protocol version, reconnects, logs failures once, and stops on request."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from agent.mqtt.connection import Connection
from agent.mqtt.endpoint import Endpoint
from agent.mqtt.session import NOT_TEXT, TOO_LARGE, VERSIONS, Bulk, Callbacks, Profile, RetainedText, Session
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.mqtt.received import Received

_LOG = logging.getLogger("test.connection")
ACCEPTED_311, ACCEPTED_5 = b"\x20\x02\x00\x00", b"\x20\x03\x00\x00\x00"
REFUSED_311, UNSUPPORTED_5 = b"\x20\x02\x00\x05", b"\x20\x03\x00\x84\x00"


def publish(topic: bytes, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + payload
    assert len(body) < 128
    return bytes((0x30, len(body))) + body


class Broker:
    """Fake broker: answers CONNECT with given bytes for its version, and records received data."""

    def __init__(self, answers: dict[int, bytes], *, stays: bool) -> None:
        self._answers = answers
        self._stays = stays
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self._server.getsockname()[1])
        self.versions: list[int] = []
        self.told = b""
        self.links: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _answer(self, link: socket.socket) -> None:
        with link:
            self.links.append(link)
            connect = link.recv(1000)
            version = connect[connect.index(b"MQTT") + 4]
            self.versions.append(version)
            try:
                link.sendall(self._answers.get(version, b""))
                while self._stays and (data := link.recv(1000)):
                    self.told += data
            except OSError:
                pass

    def close(self) -> None:
        self._server.close()


@contextmanager
def broker(answers: dict[int, bytes], *, stays: bool = True) -> Iterator[Broker]:
    one = Broker(answers, stays=stays)
    yield one
    one.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    made: list[Connection] = []

    def start(endpoint: Endpoint, profile: Profile, callbacks: Callbacks = Callbacks()) -> Connection:  # noqa: B008
        made.append(Connection(endpoint, profile, callbacks, "test", _LOG))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.stop(2.0)


QUICK = {"first_pause_s": 0.01, "longest_pause_s": 0.02, "answer_timeout_s": 0.3}
BULK = Bulk(lambda *_: None, 1000)


@pytest.mark.parametrize("bulk", [None, BULK], ids=["paho's loop", "bulk"])
@pytest.mark.parametrize("answer", [UNSUPPORTED_5, b""], ids=["refused", "hung up"])
def test_a_broker_that_does_not_know_mqtt_5_is_spoken_to_in_3_1_1(connect: Any, bulk: Any, answer: bytes) -> None:
    # A real broker of the old version hangs up on CONNECT; here the first version gets nothing and then silence.
    with broker({4: ACCEPTED_311, 5: answer}) as one:
        link = connect(one.endpoint, Profile(**QUICK, bulk=bulk))
        wait_for(lambda: link.connected)
        assert one.versions == [5, 4]
        assert link.session.version is MQTTProtocolVersion.MQTTv311


@pytest.mark.parametrize("bulk", [None, BULK], ids=["paho's loop", "bulk"])
def test_a_failure_is_logged_once_with_its_remedy_and_tried_again(connect: Any, caplog: Any, bulk: Any) -> None:
    with broker({4: REFUSED_311}) as one:
        connect(one.endpoint, Profile(versions=VERSIONS[1:], **QUICK, bulk=bulk))
        wait_for(lambda: len(one.versions) > 3)
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([line for line in logged if "refused: Not authorized – check $.mqtt.username" in line]) == 1


@pytest.mark.parametrize("bulk", [None, BULK], ids=["paho's loop", "bulk"])
def test_a_lost_session_is_followed_by_another_one(connect: Any, bulk: Any) -> None:
    ended: list[str] = []
    with broker({4: ACCEPTED_311}) as one:
        callbacks = Callbacks(on_ended=lambda session: ended.append(session.failure))
        link = connect(one.endpoint, Profile(versions=VERSIONS[1:], **QUICK, bulk=bulk), callbacks)
        wait_for(lambda: link.connected)
        one.links[0].shutdown(socket.SHUT_RDWR)
        wait_for(lambda: link.sessions == 2 and link.connected)
    assert ended[0].startswith("connection lost")


@pytest.mark.parametrize("bulk", [None, BULK], ids=["paho's loop", "bulk"])
def test_birth_will_and_filters_are_told_to_the_broker(connect: Any, bulk: Any) -> None:
    profile = Profile(
        versions=VERSIONS[1:], birth=RetainedText("a/status", "online"), filters=("b/+",), bulk=bulk, qos=0
    )
    with broker({4: ACCEPTED_311}) as one:
        link = connect(one.endpoint, profile)
        wait_for(lambda: b"a/statusonline" in one.told.replace(b"\x00\x01", b"") and b"b/+\x00" in one.told)
        link.stop(2.0)
        wait_for(lambda: one.told.endswith(b"\xe0\x00"))  # DISCONNECT: the broker publishes no will


def test_messages_that_cannot_be_used_are_counted_by_reason(connect: Any) -> None:
    taken: list[Received] = []
    unusable: list[str] = []
    said = ACCEPTED_311 + publish(b"a", b"1") + publish(b"a", b"x" * 20) + publish(b"\xff", b"1") + publish(b"b", b"2")
    with broker({4: said}) as one:
        profile = Profile(versions=VERSIONS[1:], most_payload=10)
        connect(one.endpoint, profile, Callbacks(on_message=taken.append, on_unusable=unusable.append))
        wait_for(lambda: len(taken) == 2)
    assert [(message.topic, message.payload, message.retained) for message in taken] == [
        ("a", b"1", False),
        ("b", b"2", False),
    ]
    assert unusable == [TOO_LARGE, NOT_TEXT]


@pytest.mark.parametrize("bulk", [None, BULK], ids=["paho's loop", "bulk"])
def test_a_broker_that_is_silent_is_given_up_after_the_time(bulk: Any) -> None:
    with broker({}) as one:
        session = Session(one.endpoint, Profile(answer_timeout_s=0.2, bulk=bulk), VERSIONS[1], Callbacks())
        session.run()
    assert session.failure == "the broker does not answer"
    assert not session.accepted


@pytest.mark.parametrize("bulk", [None, BULK], ids=["paho's loop", "bulk"])
def test_a_session_that_has_ended_leaves_nothing_to_the_garbage_collector(bulk: Any) -> None:
    with broker({4: ACCEPTED_311}) as one:
        gc.collect()
        gc.disable()
        try:
            callbacks = Callbacks(on_accepted=Session.hang_up)
            session = Session(one.endpoint, Profile(bulk=bulk), VERSIONS[1], callbacks)
            session.run()
            assert session.accepted
            gone = weakref.ref(session)
            del session
            wait_for(lambda: gone() is None)
        finally:
            gc.enable()


def test_nothing_can_be_published_without_a_connection(connect: Any) -> None:
    with broker({}, stays=False) as one:
        link = connect(one.endpoint, Profile(**QUICK))
        wait_for(lambda: len(one.versions) > 2)
        assert link.session is None
        assert not link.connected
