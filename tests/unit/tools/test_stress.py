from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "tools.stress"]


class Ended(NamedTuple):
    code: int
    text: str


@contextmanager
def stress(*arguments: object, **keys: Any) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, **keys
    ) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


def run(*arguments: object) -> Ended:
    with stress(*arguments) as process:
        text = out(process).read()
        return Ended(process.wait(), text)


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def wait_until(happens: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def test_cpu_burns_processor_time_in_every_worker() -> None:
    with stress("cpu", "--seconds", 60, "--workers", 2) as process:
        wait_until(lambda: len(children(process)) == 2)
        workers = children(process)
        # 0.3 CPU seconds each, which idle processes never reach.
        wait_until(lambda: all(cpu_ticks(worker) >= 0.3 * os.sysconf("SC_CLK_TCK") for worker in workers))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == 0


def test_it_says_what_it_does_and_when_it_began_and_ended() -> None:
    ended = run("cpu", "--seconds", 0.1, "--workers", 1)
    assert ended.code == 0
    assert re.fullmatch(
        r"\S+ \S+ cpu: began\n\S+ \S+ cpu: 1 busy processes for 0.1 s\n\S+ \S+ cpu: ended after \S+ s\n", ended.text
    )


def test_memory_is_really_touched_and_given_back_at_once() -> None:
    def resident_kib() -> int:
        # Anonymous or shared: where an anonymous mapping is counted depends on how it was made.
        status = Path(f"/proc/{process.pid}/status").read_text()
        return sum(int(found) for found in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+)", status))

    with stress("memory", "--seconds", 30, "--share", 0.004) as process:
        out(process).readline()
        (taken_mib,) = re.findall(r"allocating (\d+) MiB", out(process).readline())
        wait_until(lambda: resident_kib() >= 1024 * (int(taken_mib) - 1))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == 0


def test_disk_is_written_in_a_file_without_a_name(tmp_path: Path) -> None:
    def written() -> int:
        return int(re.findall(r"wchar: (\d+)", Path(f"/proc/{process.pid}/io").read_text())[0])

    with stress("disk", "--seconds", 30, "--size-mib", 4, "--directory", tmp_path) as process:
        wait_until(lambda: written() > 8 << 20)
        assert list(tmp_path.iterdir()) == []
        (open_file,) = [
            Path(f"/proc/{process.pid}/fd/{fd.name}")
            for fd in Path(f"/proc/{process.pid}/fd").iterdir()
            if str(fd.readlink()).startswith(str(tmp_path))
        ]
        assert open_file.stat().st_size <= 4 << 20
        process.send_signal(signal.SIGTERM)
        text = out(process).read()
        assert process.wait() == 0
    assert int(re.findall(r"(\d+) MiB written", text)[0]) >= 8
    assert list(tmp_path.iterdir()) == []


@contextmanager
def slow_service() -> Iterator[tuple[str, int]]:
    """Service with a short queue that accepts a connection every five milliseconds, as a busy one on a small board."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.wait(0.005):
            listener.accept()[0].close()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4)
        thread = threading.Thread(target=serve)
        thread.start()
        address: tuple[str, int] = listener.getsockname()
        yield address
        stop.set()
        with socket.create_connection(address, 10.0):
            thread.join()


def seconds_to_connect(address: tuple[str, int]) -> float:
    started = time.monotonic()
    try:
        socket.create_connection(address, 1.5).close()
    except TimeoutError:
        return 1.5
    return time.monotonic() - started


def test_a_flood_makes_connecting_slow_and_ends_with_it() -> None:
    with slow_service() as address:
        assert seconds_to_connect(address) < 0.5
        target = f"{address[0]}:{address[1]}"
        with stress("latency", "--target", target, "--mechanism", "flood", "--seconds", 2, "--workers", 2) as process:
            wait_until(lambda: len(children(process)) == 2)
            slowest = 0.0
            while process.poll() is None and slowest < 0.5:
                slowest = max(slowest, seconds_to_connect(address))
            assert slowest > 0.5
            text = out(process).read()
            assert process.wait() == 0
        assert "during the stress" in text
        wait_until(lambda: seconds_to_connect(address) < 0.5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_it_in_good_order_and_leaves_no_process(number: signal.Signals) -> None:
    with stress("cpu", "--seconds", 60, "--workers", 2) as process:
        wait_until(lambda: len(children(process)) == 2)
        workers = children(process)
        process.send_signal(number)
        assert process.wait(10.0) == 0
        assert "ended after" in out(process).read()
    assert not any(running(worker) for worker in workers)


def test_the_workers_of_a_killed_parent_die_with_it() -> None:
    with stress("cpu", "--seconds", 60, "--workers", 2) as process:
        wait_until(lambda: len(children(process)) == 2)
        # Before a worker has called prctl, only its deadline ends it.
        workers = children(process)
        wait_until(lambda: all(cpu_ticks(worker) > 0 for worker in workers))
        process.kill()
        process.wait()
    wait_until(lambda: not any(running(worker) for worker in workers))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["latency", "--target", "192.0.2.1:80"], "not this machine"),
        (["latency", "--target", "0.0.0.0:80"], "not this machine"),
        (["latency", "--target", "nonsense"], "not HOST:PORT"),
        (["latency", "--target", "127.0.0.1:99999"], "not HOST:PORT"),
        (["latency", "--target", "127.0.0.1:1"], "nothing answers"),
        (["cpu", "--seconds", "601"], "must be 0.1 to 600: 601"),
        (["cpu", "--seconds", "nan"], "must be 0.1 to 600: nan"),
        (["cpu", "--workers", "0"], "must be 1 to 256: 0"),
        (["memory", "--share", "0.9"], "must be 0.001 to 0.8: 0.9"),
        (["disk", "--directory", "/nowhere/at/all"], "No such file"),
        (["disk", "--size-mib", "1000000"], "must be 1 to 16384"),
        ([], "required"),
    ],
)
def test_what_cannot_be_or_must_not_be_is_refused(arguments: list[str], text: str) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert text in ended.text
    assert "Traceback" not in ended.text


# The kernel's own delay, in a network and with a `tc` of the test's own, so that this machine's loopback stays as is.

FAKE_TC = """#!/bin/sh
echo "$@" >> "$TC_LOG"
case "$*" in *"$TC_FAILS"*) echo "kind is unknown" >&2; exit 2;; esac
"""


def in_a_network_of_its_own(*command: str) -> list[str]:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], check=False).returncode:
        pytest.skip("no network namespaces here")
    return ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', *command]


SERVED = """
import socket, subprocess, sys
with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
    target = f"127.0.0.1:{server.getsockname()[1]}"
    process = subprocess.Popen([sys.executable, "-m", "tools.stress", "latency", "--target", target, *sys.argv[1:]])
    print("pid", process.pid, flush=True)
    code = process.wait()
    subprocess.run(["tc", "qdisc", "show", "dev", "lo"])
    sys.exit(abs(code))
"""


@contextmanager
def netem(tmp_path: Path, fails: str, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    log = tmp_path / "tc.log"
    (tmp_path / "tc").write_text(FAKE_TC)
    (tmp_path / "tc").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TC_LOG": str(log), "TC_FAILS": fails}
    command = in_a_network_of_its_own(sys.executable, "-c", SERVED, *map(str, arguments))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        yield process, log


def test_netem_delays_the_target_alone_and_is_taken_away_at_the_end(tmp_path: Path) -> None:
    with netem(tmp_path, "no such word", "--seconds", 0.3, "--delay-ms", 70) as (process, log):
        text = out(process).read()
        assert process.wait() == 0
    port = re.findall(r"127\.0\.0\.1:(\d+)", text)[0]
    steps = [line for line in log.read_text().splitlines() if "show" not in line]
    assert [step.split()[:2] for step in steps] == [
        ["qdisc", "add"],
        ["class", "add"],
        ["qdisc", "add"],
        ["filter", "add"],
        ["qdisc", "del"],
    ]
    assert "netem delay 70ms" in steps[2]
    assert f"dport {port} " in steps[3]
    assert steps[0].split()[2:6] == steps[-1].split()[2:6] == ["dev", "lo", "root", "handle"]


def test_netem_is_taken_away_even_when_killed(tmp_path: Path) -> None:
    with netem(tmp_path, "no such word", "--seconds", 60) as (process, log):
        pid = int(out(process).readline().split()[1])
        wait_until(lambda: log.exists() and "filter add" in log.read_text())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "qdisc del" in log.read_text())
        assert process.wait() == signal.SIGKILL


def test_a_kernel_without_netem_gets_the_flood_and_keeps_nothing_of_the_attempt(tmp_path: Path) -> None:
    with netem(tmp_path, "netem", "--seconds", 0.3) as (process, log):
        text = out(process).read()
        assert process.wait() == 0
    assert "no netem (kind is unknown)" in text
    assert "flood" in text
    assert [line.split()[:2] for line in log.read_text().splitlines()][-2:] == [["qdisc", "del"], ["qdisc", "show"]]


def test_the_real_tc_leaves_loopback_as_it_was() -> None:
    if shutil.which("tc") is None:
        pytest.skip("no tc here")
    command = in_a_network_of_its_own(sys.executable, "-c", SERVED, "--seconds", "0.3")
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "qdisc noqueue" in done.stdout.splitlines()[-1]
