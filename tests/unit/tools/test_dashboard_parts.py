"""Parts of the dashboard: access control, texts and start; tests/e2e tests its pages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
import pytest

from agent.detection.verdict import SCORE_THRESHOLD, bounded_score
from agent.messages.command import Answer, Reload
from agent.mqtt.settings import MqttConfig
from tests.support.alerts import alert
from tests.support.waiting import wait_for
from tools.dashboard.__main__ import main
from tools.dashboard.fleet import Incident
from tools.dashboard.gate import Gate
from tools.dashboard.hub import Hub
from tools.dashboard.plot import strength_of
from tools.dashboard.shell import ago, lasting, node_address
from tools.testing.mosquitto import free_port

if TYPE_CHECKING:
    from pathlib import Path


class At:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


class Response:
    """Response to a page request, or to a web socket that was accepted or closed."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.taken = messages[0]["type"] != "websocket.close"
        self.status = messages[0].get("status", 0)
        self.headers = {name.decode(): value.decode() for name, value in messages[0].get("headers", ())}
        self.text = b"".join(message.get("body", b"") for message in messages).decode()


class Visitor:
    """Browser in front of a gate that protects a page with the text ``secret``."""

    def __init__(self, password: str | None, host: str = "127.0.0.1:8321", clock: At | None = None) -> None:
        self._gate = Gate(self._secret, password, clock or At())
        self._host = host
        self.cookie = ""

    @staticmethod
    async def _secret(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"secret"})

    def ask(self, path: str = "/", *, body: bytes | None = None, origin: str = "", socket: bool = False) -> Response:
        headers = {"host": self._host, "cookie": self.cookie, "origin": origin}
        scope = {
            "type": "websocket" if socket else "http",
            "method": "GET" if body is None else "POST",
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "server": ("127.0.0.1", 8321),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value],
        }
        said: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body or b"", "more_body": False}

        async def send(message: Any) -> None:
            said.append(message)

        asyncio.run(self._gate(scope, receive, send))
        return Response(said)

    def log_in(self, password: str) -> Response:
        return self.ask("/login", body=urlencode({"password": password}).encode())


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "[::1]:8321", "192.168.1.4:80"])
def test_without_a_password_whoever_calls_us_by_an_address_comes_in(host: str) -> None:
    assert Visitor(None, host).ask().text == "secret"
    assert Visitor(None, host).ask(socket=True).taken


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[", "1.2.3"])
def test_a_name_that_somebody_else_gave_us_is_turned_away(host: str) -> None:
    assert Visitor(None, host).ask().status == 403
    assert not Visitor(None, host).ask(socket=True).taken


@pytest.mark.parametrize("password", [None, "open sesame"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8322", "http://["])
def test_a_page_from_elsewhere_may_ask_nothing(password: str | None, origin: str) -> None:
    assert Visitor(password).ask(origin=origin).status == 403
    assert not Visitor(password).ask(origin=origin, socket=True).taken
    assert Visitor(None).ask(origin="http://127.0.0.1:8321").text == "secret"


def test_with_a_password_nothing_is_shown_without() -> None:
    visitor = Visitor("open sesame")
    assert (visitor.ask().status, visitor.ask().headers["location"]) == (303, "/login")
    assert not visitor.ask(socket=True).taken
    visitor.cookie = "edgewatch_dashboard=guessed"
    assert visitor.ask().status == 303
    assert not visitor.ask(socket=True).taken
    assert 'type="password"' in visitor.ask("/login").text


def test_who_knows_the_password_comes_in_and_guessing_is_slow() -> None:
    clock = At()
    visitor = Visitor("öffne dich", clock=clock)
    assert visitor.log_in("wrong").status == 401
    assert visitor.log_in("öffne dich").status == 429
    clock.s += 1.1
    answer = visitor.log_in("öffne dich")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    visitor.cookie = answer.headers["set-cookie"].split(";")[0]
    assert visitor.ask().text == "secret"
    assert visitor.ask(socket=True).taken


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"password", b"x" * 100_000, b"password=" + b"%ff" * 100])
def test_a_form_that_is_none_is_refused(body: bytes) -> None:
    assert Visitor("open sesame").ask("/login", body=body).status in {401, 413}


def test_times_are_said_as_people_say_them() -> None:
    assert [ago(s) for s in (12.3, 200.0, 9000.0, 400_000.0)] == ["12 s", "3 min", "2.5 h", "4.6 d"]
    over = Incident("a", alert(1), 1000.0, closed=1090.0)
    assert lasting(over).endswith("lasted 90 s")
    for absurd in (1e300, -1e300):
        assert lasting(Incident("a", alert(1), absurd)).startswith("since invalid time")


def test_a_name_is_no_part_of_a_path() -> None:
    assert node_address("../?a=b&c#d é") == "/node?name=..%2F%3Fa%3Db%26c%23d+%C3%A9"


def test_what_is_drawn_of_a_score_is_the_error_over_its_limit() -> None:
    strengths = np.array([0.0, 0.5, 1.0, 2.0, 5.0])
    assert strength_of(bounded_score(strengths).astype(np.float32)) == pytest.approx(strengths, rel=0.01)
    assert strength_of(np.array([SCORE_THRESHOLD, 1.0, np.nan], np.float32))[:2] == pytest.approx([1.0, 31.6], rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--password-file", "/nowhere"], 2, "/nowhere"),
        (["--broker", "host:port"], 2, "--broker"),
        (["--config", "/nowhere.yaml"], 2, "/nowhere.yaml"),
        (["--host", "203.0.113.7"], 3, "203.0.113.7"),
        (["--port", "99999"], 3, "99999"),
    ],
)
def test_a_dashboard_that_cannot_start_says_why(
    arguments: list[str], code: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("")
    assert main(["--config", str(config), *arguments]) == code
    assert told in capsys.readouterr().err


def test_a_command_is_answered_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.dashboard.hub._ANSWER_S", 0.2)
    hub = Hub(MqttConfig(host="127.0.0.1", port=free_port()))
    assert "not connected yet" in hub.link
    sent: list[Any] = []
    monkeypatch.setattr(hub._subscriber, "publish", lambda topic, payload: not sent.append((topic, payload)))

    async def asked(*, answered: bool) -> Answer | None:
        waiting = asyncio.ensure_future(hub.send("pi4", Reload()))
        await asyncio.sleep(0.01)
        (name,) = hub._awaited
        if answered:
            hub.fleet.answers[name] = Answer(1, "pi4", name, ok=True)
        hub.take()
        return await waiting

    answer = asyncio.run(asked(answered=True))
    assert answer is not None
    assert answer.ok
    assert asyncio.run(asked(answered=False)) is None
    assert [topic for topic, _ in sent] == ["edgewatch/pi4/cmd"] * 2
    assert not hub._awaited
    monkeypatch.setattr(hub._subscriber, "publish", lambda topic, payload: False)
    assert asyncio.run(hub.send("pi4", Reload())) is None
    wait_for(lambda: not hub.connected)
