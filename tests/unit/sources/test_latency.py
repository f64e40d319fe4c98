from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from agent.core.errors import UserError
from agent.sources.latency import LatencyConfig, LatencySource, LatencyTarget
from agent.sources.latency_probes import HttpProbe

if TYPE_CHECKING:
    from collections.abc import Iterator


def source(*targets: dict[str, Any]) -> LatencySource:
    made = [LatencyTarget(**{"name": f"t{index}", **target}) for index, target in enumerate(targets)]
    return LatencySource(LatencyConfig("latency", targets=tuple(made)), 1.0)


def thread_of(watched: LatencySource, index: int = 0) -> threading.Thread:
    probe = watched._probes[index]
    assert isinstance(probe, HttpProbe)
    assert probe._thread is not None
    return probe._thread


def refused(*targets: dict[str, Any]) -> UserError:
    with pytest.raises(UserError) as caught:
        source(*targets)
    assert caught.value.remedy
    return caught.value


@contextmanager
def listening(backlog: int = 16, family: int = socket.AF_INET) -> Iterator[int]:
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        listener.listen(backlog)
        yield listener.getsockname()[1]


@contextmanager
def hanging() -> Iterator[int]:
    """A listener with a full queue: the kernel does not answer further connections."""
    with listening(backlog=0) as port, ExitStack() as waiting:
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.settimeout(0.0)
            client.connect_ex(("127.0.0.1", port))
        yield port


@contextmanager
def silent() -> Iterator[int]:
    """A listener that accepts connections and sends nothing."""
    with listening() as port:
        yield port


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Answers(BaseHTTPRequestHandler):
    """Answers with the status in the path, after as many milliseconds as the query says."""

    requests: ClassVar[list[tuple[str, str]]]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.requests.append((self.command, self.path))
        time.sleep(int(query or 0) / 1e3)
        self.send_response(int(path.strip("/") or 200))
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def web() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    class Handler(Answers):
        requests: ClassVar[list[tuple[str, str]]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", Handler.requests
        server.shutdown()
        thread.join()


def test_a_listener_is_measured_in_milliseconds_on_a_log_scale() -> None:
    with listening() as port:
        watched = source({"name": "broker", "tcp": f"127.0.0.1:{port}"})
        (value,) = watched.read()
    (channel,) = watched.channels
    assert (channel.name, channel.unit, channel.effect, channel.log_reference) == ("latency.broker", "ms", 2.0, 0.5)
    assert 0.0 < value < 500.0


def test_an_ipv6_address_stands_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with listening(family=socket.AF_INET6) as port:
        assert source({"tcp": f"[::1]:{port}"}).read()[0] > 0.0


def test_a_name_is_looked_up_before_and_not_within_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    asked = []

    def slow(host: str, port: int, **keys: Any) -> Any:
        if keys.get("flags"):
            raise socket.gaierror
        asked.append(host)
        time.sleep(0.3)
        return real("127.0.0.1", port, **{**keys, "flags": 0})

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with listening() as port:
        watched = source({"tcp": f"gateway.example:{port}"})
        assert watched.read()[0] < 250.0
        assert watched.read()[0] < 250.0
    assert asked == ["gateway.example"]


def test_a_name_service_that_hangs_holds_no_other_target_and_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hang = threading.Event()
    real = socket.getaddrinfo

    def stuck(host: str, port: int, **keys: Any) -> Any:
        if keys.get("flags"):
            return real(host, port, **keys)
        hang.wait(20.0)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    with listening() as port:
        watched = source({"tcp": "nowhere.example:80"}, {"tcp": f"127.0.0.1:{port}"})
        before = threading.active_count()
        for bound_s in (1.5, 0.5, 0.5):
            started = time.monotonic()
            lost, answered = watched.read()
            assert isnan(lost)
            assert answered > 0.0
            assert time.monotonic() - started < bound_s
        assert threading.active_count() <= before + 1
    hang.set()


def test_the_next_address_is_tried_where_the_first_refuses(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    with listening() as port:
        both = [(socket.AF_INET, 1, 6, "", ("127.0.0.1", number)) for number in (closed_port, port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **keys: both)
        assert source({"tcp": "both.example:80"}).read()[0] > 0.0


def test_a_refusal_is_missing_and_said_once(closed_port: int, caplog: pytest.LogCaptureFixture) -> None:
    watched = source({"tcp": f"127.0.0.1:{closed_port}"})
    with caplog.at_level(logging.WARNING):
        assert all(isnan(watched.read()[0]) for _ in range(3))
    assert [record.message for record in caplog.records] == ["latency.t0: Connection refused"]


def test_one_that_hangs_does_not_hold_the_others(closed_port: int, web: tuple[str, Any]) -> None:
    with hanging() as stuck, silent() as mute, listening() as port:
        watched = source(
            {"tcp": f"127.0.0.1:{stuck}", "timeout_s": 0.4},
            {"http": f"http://127.0.0.1:{mute}", "timeout_s": 0.4},
            {"tcp": f"127.0.0.1:{port}"},
            {"http": f"{web[0]}/200"},
            {"tcp": f"127.0.0.1:{closed_port}"},
        )
        started = time.monotonic()
        values = watched.read()
        elapsed = time.monotonic() - started
    assert values[:2] == [400.0, 400.0]
    assert [isnan(value) for value in values[2:]] == [False, False, True]
    assert values[2] < 200.0
    assert 0.4 <= elapsed < 1.2


def test_each_target_has_a_time_out_of_its_own() -> None:
    with hanging() as stuck, silent() as mute:
        watched = source({"tcp": f"127.0.0.1:{stuck}", "timeout_s": 0.6}, {"http": f"http://127.0.0.1:{mute}"})
        started = time.monotonic()
        watched._probes[1].timeout_s = 0.1
        watched.read()
        assert 0.6 <= time.monotonic() - started < 1.5
        assert watched._probes[1].failure == "no answer within 0.1 s"


def test_a_reading_after_a_time_out_is_a_new_one(web: tuple[str, Any]) -> None:
    watched = source({"http": f"{web[0]}/200?300", "timeout_s": 0.1})
    assert watched.read()[0] == 100.0
    thread_of(watched).join()
    watched._probes[0].timeout_s = 5.0
    assert watched.read()[0] >= 300.0


def test_a_server_that_drips_is_given_up_and_its_thread_ends() -> None:
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            while not stop.wait(0.02):
                client.send(b"H")

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        dripper = threading.Thread(target=drip, args=(listener,))
        dripper.start()
        watched = source({"http": f"http://127.0.0.1:{listener.getsockname()[1]}", "timeout_s": 0.3})
        assert watched.read()[0] == 300.0
        thread_of(watched).join(5.0)
        assert not thread_of(watched).is_alive()
        stop.set()
        dripper.join()


def test_http_is_measured_to_the_headers(web: tuple[str, list[tuple[str, str]]]) -> None:
    url, requests = web
    values = source({"http": f"{url}/200?120"}, {"http": f"{url}/404", "method": "GET"}, {"http": f"{url}"}).read()
    assert values[0] >= 120.0
    assert values[1] < 120.0
    assert values[2] < 120.0
    assert sorted(requests) == [("GET", "/404"), ("HEAD", "/"), ("HEAD", "/200?120")]


def test_many_reads_in_a_row_lose_no_answer(web: tuple[str, Any]) -> None:
    watched = source({"http": f"{web[0]}/204"})
    assert not any(isnan(watched.read()[0]) for _ in range(50))


def test_a_server_error_is_a_failed_reading(web: tuple[str, Any]) -> None:
    watched = source({"http": f"{web[0]}/500"}, {"http": f"{web[0]}/503"}, {"http": f"{web[0]}/301"})
    values = watched.read()
    assert [isnan(value) for value in values] == [True, True, False]
    assert watched._probes[0].failure == "status 500"


def test_what_answers_but_is_no_http_is_a_failed_reading() -> None:
    def babble(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(1000)
            client.sendall(b"\x20\x02\x00\x00")

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=babble, args=(listener,))
        thread.start()
        assert isnan(source({"http": f"http://127.0.0.1:{listener.getsockname()[1]}"}).read()[0])
        thread.join()


def test_a_certificate_that_does_not_verify_is_a_failed_reading(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, pytest.raises(ssl.SSLError):
            context.wrap_socket(client, server_side=True)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        watched = source({"http": f"https://127.0.0.1:{listener.getsockname()[1]}"})
        assert isnan(watched.read()[0])
        thread.join()
    assert "certificate" in watched._probes[0].failure.lower()


def test_https_and_http_cost_nothing_while_only_tcp_is_probed() -> None:
    code = (
        "import sys; from agent.sources.latency import *; "
        "LatencySource(LatencyConfig('latency', (LatencyTarget('a', tcp='127.0.0.1:1'),)), 1.0).read(); "
        "sys.exit(bool({'http.client', 'ssl'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_no_socket_and_no_thread_is_left_behind(closed_port: int, web: tuple[str, Any]) -> None:
    with listening(backlog=64) as port:
        watched = source({"tcp": f"127.0.0.1:{port}"}, {"tcp": f"127.0.0.1:{closed_port}"}, {"http": web[0]})
        watched.read()
        thread_of(watched, 2).join()
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            watched.read()
        thread_of(watched, 2).join()
        watched.close()
        watched.close()
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1  # the server may just be closing its own


ICMP = """
import sys
from agent.core.errors import UserError
from agent.sources.latency import *
def source(host):
    return LatencySource(LatencyConfig("latency", (LatencyTarget("a", icmp=host, timeout_s=0.5),)), 1.0)
open("/proc/sys/net/ipv4/ping_group_range", "w").write("1 0")
try:
    source("127.0.0.1")
    sys.exit("was allowed")
except UserError as error:
    assert "ping_group_range" in str(error) and "sysctl" in error.remedy, error
    assert error.location == "$.targets[0].icmp"
open("/proc/sys/net/ipv4/ping_group_range", "w").write("0 0")
for host in sys.argv[1:]:
    watched = source(host)
    for _ in range(3):
        (value,) = watched.read()
        assert 0.0 < value < 400.0, (host, value)
(value,) = source("192.0.2.1").read()
assert value != value, value
print("fine")
"""


def test_icmp_echoes_are_measured_where_the_kernel_allows_them_and_refused_with_a_remedy_where_not() -> None:
    # In its own network namespace, so that this machine's setting is not changed.
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    addresses = ["127.0.0.1", *(["::1"] if Path("/proc/net/if_inet6").exists() else [])]
    command = 'ip link set lo up && exec "$0" -W ignore -c "$@"'
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-c", command, sys.executable, ICMP, *addresses],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize(
    ("target", "key", "text"),
    [
        ({}, "", "nothing to probe"),
        ({"tcp": "a:1", "icmp": "a"}, "", "tcp and icmp at once"),
        ({"tcp": "gateway"}, ".tcp", "not host:port"),
        ({"tcp": ":80"}, ".tcp", "not host:port"),
        ({"tcp": "::1:80"}, ".tcp", "not host:port"),
        ({"tcp": "gateway:"}, ".tcp", "not host:port"),
        ({"tcp": "gateway:http"}, ".tcp", "not host:port"),
        ({"tcp": "gateway:0"}, ".tcp", "port must be 1 to 65535: 0"),
        ({"tcp": "gateway:65536"}, ".tcp", "port must be 1 to 65535: 65536"),
        ({"http": "gateway/health"}, ".http", "not an http or https URL"),
        ({"http": "ftp://gateway/"}, ".http", "not an http or https URL"),
        ({"http": "http://"}, ".http", "not an http or https URL"),
        ({"http": "http://gateway:99999/"}, ".http", "not a URL"),
        ({"http": "http://gateway:0/"}, ".http", "not an http or https URL"),
        ({"http": "http://gateway/a b"}, ".http", "not an http or https URL"),
        ({"http": "http://gateway/\r\nX: y"}, ".http", "not an http or https URL"),
        ({"http": "http://me:secret@gateway/"}, ".http", "user name or password"),
        ({"icmp": "a b"}, ".icmp", "not a host"),
        ({"name": "", "tcp": "a:1"}, ".name", "cannot be part"),
        ({"name": "a b", "tcp": "a:1"}, ".name", "cannot be part"),
        ({"name": "x" * 65, "tcp": "a:1"}, ".name", "cannot be part"),
        ({"name": "a/#", "tcp": "a:1"}, ".name", "cannot be part"),
    ],
)
def test_a_wrong_target_is_refused_at_its_place(target: dict[str, Any], key: str, text: str) -> None:
    error = refused({"tcp": "127.0.0.1:1"}, target)
    assert error.location == f"$.targets[1]{key}"
    assert text in error.message
    assert "secret" not in str(error)


def test_two_targets_of_one_name_are_refused() -> None:
    assert refused({"name": "a", "tcp": "a:1"}, {"name": "a", "tcp": "b:1"}).location == "$.targets[1].name"


def test_no_targets_are_refused() -> None:
    assert refused().location == "$.targets"
