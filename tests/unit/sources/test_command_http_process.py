"""Sources `command`, `http` and `process`."""

from __future__ import annotations

import http.server
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import pytest

from agent.core.errors import UserError
from agent.sources.command import CommandError
from agent.sources.http import PageError
from agent.sources.registry import source_class
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def opened(kind: str, **keys: Any) -> Any:
    source = source_class(kind)
    return source(msgspec.convert({"type": kind, **keys}, source.Config), 1.0)


def readings(source: Any) -> dict[str, float]:
    return dict(zip((channel.name for channel in source.channels), source.read(), strict=True))


def program(text: str, **keys: Any) -> Any:
    return opened("command", command=[sys.executable, "-c", text], name="p", **keys)


class TestCommand:
    def test_a_number_or_a_document_is_read(self) -> None:
        assert readings(program("print(' 21.5 °C')")) == {"p": 21.5}
        found = readings(
            program('print(\'{"a": {"b": 2}, "c": null}\')', values={"first": "a.b", "second": "c", "third": "x"})
        )
        assert found["p.first"] == 2.0
        assert math.isnan(found["p.second"])
        assert math.isnan(found["p.third"])

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("import sys; sys.exit('no battery')", "ended with 1: no battery"),
            ("print('12,5')", "not a number"),
            ("print()", "unavailable"),
            ("import sys; sys.stdout.buffer.write(bytes([255]))", "not text"),
            ("print('x' * 100_000)", "prints more than 64 KiB"),
            ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
        ],
    )
    def test_a_program_that_gives_nothing_is_told(self, text: str, why: str) -> None:
        with pytest.raises(CommandError, match=why):
            program(text).read()

    def test_a_program_that_hangs_is_ended_with_all_that_it_started(self, tmp_path: Path) -> None:
        place = str(tmp_path / "pid")
        child = f"import time, os, pathlib; pathlib.Path({place!r}).write_text(str(os.getpid())); time.sleep(60)"
        text = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
        begin = time.monotonic()
        with pytest.raises(CommandError, match=r"did not end within 1\.5 s"):
            program(text, timeout_s=1.5).read()
        assert time.monotonic() - begin < 10
        number = int((tmp_path / "pid").read_text())
        wait_for(lambda: not psutil.pid_exists(number) or psutil.Process(number).status() == "zombie", what="its end")

    def test_closing_ends_a_read_that_is_going_on(self, tmp_path: Path) -> None:
        place = str(tmp_path / "begun")
        source = program(f"import time, pathlib; pathlib.Path({place!r}).touch(); time.sleep(60)", timeout_s=60)

        def close() -> None:
            wait_for((tmp_path / "begun").exists, 10, "the program")
            source.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(CommandError, match="ended with -9"):
            source.read()
        closer.join()

    def test_no_shell_looks_at_the_arguments(self) -> None:
        source = opened(
            "command", command=[sys.executable, "-c", "import sys; print(len(sys.argv))", "a; b $HOME"], name="p"
        )
        assert readings(source) == {"p": 2.0}

    def test_nothing_is_left_open(self) -> None:
        source = program("print(1)")
        source.read()
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            source.read()
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_a_program_that_is_not_there_is_the_users_mistake(self) -> None:
        with pytest.raises(UserError, match="cannot run 'no-such-program'"):
            opened("command", command=["no-such-program"], name="p")


@pytest.fixture
def serve() -> Iterator[Callable[[bytes, int], str]]:
    """Serve one answer to every request; give the URL. `serve.asked` holds the requests."""
    servers = []

    def start(content: bytes, status: int = 200) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                start.asked.append(dict(self.headers))  # type: ignore[attr-defined]
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/page"

    start.asked = []  # type: ignore[attr-defined]
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class TestHttp:
    def test_numbers_of_a_document_are_read(self, serve: Any) -> None:
        url = serve(b'{"sensors": [{"t": "21.5"}], "ok": true}')
        found = readings(opened("http", url=url, name="shed", values={"t": "sensors.0.t", "ok": "ok", "gone": "x"}))
        assert (found["shed.t"], found["shed.ok"]) == (21.5, 1.0)
        assert math.isnan(found["shed.gone"])

    def test_samples_of_a_page_for_prometheus_are_summed_over_other_labels(self, serve: Any) -> None:
        page = b'r{code="200",m="a"} 1\nr{code="200",m="b"} 2\nr{code="500",m="a"} 4\nload 0.5\n'
        values = {"all": "r", "good": 'r{code="200"}', "one": 'r{code="500",m="a"}', "load": "load", "gone": "r{x='1'}"}
        values["gone"] = 'r{x="1"}'
        found = readings(opened("http", url=serve(page), name="n", values=values, page="prometheus"))
        assert [found[f"n.{name}"] for name in ("all", "good", "one", "load")] == [7.0, 3.0, 4.0, 0.5]
        assert math.isnan(found["n.gone"])

    @pytest.mark.parametrize(
        ("content", "status", "why"),
        [
            (b"", 500, "status 500"),
            (b"", 302, "status 302"),
            (b"{", 200, "damaged JSON"),
            (b"{}", 200, "none of the configured values"),
            (b"\xff", 200, "not text"),
            (b"1" * (4 << 20) + b"1", 200, "larger than 4 MiB"),
        ],
    )
    def test_a_page_that_gives_nothing_is_told(self, serve: Any, content: bytes, status: int, why: str) -> None:
        with pytest.raises(PageError, match=why):
            opened("http", url=serve(content, status), name="n", values={"a": "b"}).read()

    def test_nobody_there_is_told(self) -> None:
        with pytest.raises(PageError, match="refused"):
            opened("http", url="http://127.0.0.1:1/", name="n", values={"a": "b"}).read()

    def test_a_token_is_read_from_its_file_and_sent(self, serve: Any, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("secret\n")
        url = serve(b'{"a": 1}')
        opened("http", url=url, name="n", values={"a": "a"}, token_file=str(tmp_path / "token")).read()
        assert serve.asked[0]["Authorization"] == "Bearer secret"
        with pytest.raises(UserError, match="cannot read the token"):
            opened("http", url=url, name="n", values={"a": "a"}, token_file=str(tmp_path / "none"))

    @pytest.mark.parametrize(
        ("keys", "why"),
        [
            ({"url": "http://u:p@h/"}, "must not contain a password"),
            ({"url": "file:///etc/passwd"}, "matching regex"),
            ({"page": "xml"}, "json or prometheus"),
            ({"page": "prometheus", "values": {"a": "b c"}}, "is not a series"),
        ],
    )
    def test_mistakes_are_told(self, keys: dict[str, Any], why: str) -> None:
        with pytest.raises(msgspec.ValidationError, match=why):
            opened("http", **{"url": "http://h/", "name": "n", "values": {"a": "b"}, **keys})


class TestProcess:
    def test_a_program_is_followed_over_its_end_and_return(self) -> None:
        # A unique process name.
        name = f"ew{os.getpid()}"

        def begin() -> subprocess.Popen[bytes]:
            text = (
                f"import ctypes; ctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0); print(flush=True)\nwhile True: pass"
            )
            process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
            assert process.stdout is not None
            with process.stdout as lines:
                lines.readline()
            return process

        source = opened("process", programs=[{"name": "it", "process": f"{name[:3]}*{name[3:]}"}])
        assert readings(source)["process.it.running"] == 0.0
        first = begin()
        try:
            source.read()
            time.sleep(0.5)
            found = readings(source)
            assert found["process.it.running"] == 1.0
            assert found["process.it.cpu"] > 10.0
            assert found["process.it.memory"] > 1e6
            assert found["process.it.descriptors"] >= 3.0
            assert found["process.it.restarts"] == 0.0
        finally:
            first.kill()
            first.wait()
        found = readings(source)
        assert (found["process.it.running"], found["process.it.cpu"], found["process.it.memory"]) == (0.0, 0.0, 0.0)
        second = begin()
        try:
            assert readings(source)["process.it.restarts"] == 1.0
            assert readings(source)["process.it.restarts"] == 1.0
        finally:
            second.kill()
            second.wait()

    def test_a_service_that_does_not_run_has_no_processes(self) -> None:
        found = readings(opened("process", programs=[{"name": "none", "unit": "no-such-unit.service"}]))
        assert found["process.none.running"] == 0.0

    def test_mistakes_are_told(self) -> None:
        with pytest.raises(msgspec.ValidationError, match="either process or unit"):
            opened("process", programs=[{"name": "a"}])
        with pytest.raises(UserError, match="two programs are called 'a'"):
            opened("process", programs=[{"name": "a", "process": "x"}, {"name": "a", "process": "y"}])
