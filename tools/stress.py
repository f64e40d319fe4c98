"""Put this machine under real stress for a limited time, for the agent to detect.

``python -m tools.stress cpu|memory|disk|latency --seconds N``. Nothing is left behind, even if it is interrupted or
killed: workers die with their parent, the file is unlinked, and a guard process removes the delay in the kernel.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import ipaddress
import math
import mmap
import os
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

from agent.core.errors import EdgewatchError, UserError
from tools.demo.tcp_listener import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["main"]

_MIB = 1 << 20
# Limits, chosen by hand: seconds of a stress, and share of the available memory.
_LONGEST_S = 600.0
_LARGEST_SHARE = 0.8
# Share of the free disk space, and bytes written in total; limited because flash memory wears.
_LARGEST_SHARE_OF_DISK = 0.25
_MOST_WRITTEN = 64 << 30
# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 also when interrupted, 2 for invalid arguments."""
    args = _parser().parse_args(arguments)
    for number in _END_SIGNALS:
        signal.signal(number, _interrupt)
    try:
        _log(f"{args.command}: began")
        started = time.monotonic()
        with suppress(KeyboardInterrupt):
            args.run(args)
        _log(f"{args.command}: ended after {time.monotonic() - started:.1f} s")
    except EdgewatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _log(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.stress", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[[Any], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--seconds", type=_between(0.1, _LONGEST_S), default=30.0, help="duration, at most 600")
        added.set_defaults(run=run)
        return added

    cpu = command("cpu", _cpu, "keep processor cores busy")
    cpu.add_argument("--workers", type=_whole(1, 256), default=os.cpu_count() or 1, help="default: one a core")

    memory = command("memory", _memory, "allocate memory and write to it")
    memory.add_argument(
        "--share", type=_between(0.001, _LARGEST_SHARE), default=0.3, help="share of the available memory, at most 0.8"
    )

    disk = command("disk", _disk, "rewrite a file, syncing each block to the disk")
    disk.add_argument("--directory", type=Path, default=Path(), help="directory of the file; default: the current one")
    disk.add_argument(
        "--size-mib", type=_whole(1, 16_384), default=256, help="size of the file, at most a quarter of the free space"
    )

    latency = command("latency", _latency, "slow down connections to a service on this machine")
    latency.add_argument(
        "--target",
        default="{}:{}".format(*DEFAULT_ADDRESS),
        metavar="HOST:PORT",
        help="loopback address; default: the service of `make run`",
    )
    latency.add_argument(
        "--mechanism", choices=("auto", "netem", "flood"), default="auto", help="default: netem if available"
    )
    latency.add_argument("--delay-ms", type=_whole(1, 5000), default=200, help="with netem; default 200")
    latency.add_argument(
        "--workers", type=_whole(1, 64), default=2 * (os.cpu_count() or 1), help="with flood; default: two a core"
    )
    return parser


def _between(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be {least:g} to {most:g}: {text}")
        return value

    return number


def _whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be {least} to {most}: {text}")
        return value

    return number


def _fork(work: Callable[[], None]) -> int:
    """Run `work` in a child process with the signals of `_END_SIGNALS` blocked; return its process id.

    They are blocked before the fork, so that the child never runs the handlers of this process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)
    try:
        child = os.fork()
        if child == 0:
            try:
                work()
            finally:
                os._exit(0)  # skip the parent's exit handlers and buffers
        return child
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _END_SIGNALS)


@contextmanager
def _workers(count: int, work: Callable[[], None]) -> Iterator[None]:
    """Run `work` in processes that end with this block, or with this process even if it is killed."""
    parent = os.getpid()

    def worker() -> None:
        for number in _END_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _END_SIGNALS)
        # The parent may have ended before `prctl` took effect.
        if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0 and os.getppid() == parent:
            work()

    children: list[int] = []
    try:
        children.extend(_fork(worker) for _ in range(count))
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)


def _cpu(args: Any) -> None:
    _log(f"cpu: {args.workers} busy processes for {args.seconds:g} s")
    deadline = time.monotonic() + args.seconds

    def burn() -> None:
        while time.monotonic() < deadline:
            sum(range(10_000))

    with _workers(args.workers, burn):
        time.sleep(args.seconds)


def _memory(args: Any) -> None:
    size = int(args.share * _available_memory())
    _log(f"memory: allocating {size // _MIB} MiB for {args.seconds:g} s")
    with suppress(OSError):
        # If memory runs out, the kernel should kill this process first.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    deadline = time.monotonic() + args.seconds
    # Random data: neither compressed swap nor page merging can shrink it.
    block = os.urandom(_MIB)
    with mmap.mmap(-1, max(size, _MIB)) as taken:
        for start in range(0, len(taken) - _MIB + 1, _MIB):
            if time.monotonic() >= deadline:
                break
            taken[start : start + _MIB] = block
        time.sleep(max(deadline - time.monotonic(), 0.0))


def _available_memory() -> int:
    """Bytes available without swapping, as estimated by the kernel.

    Raises
    ------
    UserError
        The kernel gives no estimate.
    """
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise UserError("no MemAvailable in this file", location="/proc/meminfo")


def _disk(args: Any) -> None:
    try:
        free = shutil.disk_usage(args.directory).free
        size = min(args.size_mib * _MIB, int(_LARGEST_SHARE_OF_DISK * free) // _MIB * _MIB)
        if not size:
            raise UserError(
                f"only {free // _MIB} MiB free", location=str(args.directory), remedy="choose another --directory"
            )
        _log(f"disk: writing {size // _MIB} MiB repeatedly in {args.directory.resolve()} for {args.seconds:g} s")
        # An unnamed file: its space is freed when this process ends.
        with tempfile.TemporaryFile(dir=args.directory, buffering=0) as file:
            _overwrite(file, size, time.monotonic() + args.seconds)
    except OSError as error:
        raise UserError(
            f"cannot write: {error.strerror}", location=str(args.directory), remedy="choose another --directory"
        ) from error


def _overwrite(file: IO[bytes], size: int, deadline: float) -> None:
    block = os.urandom(_MIB)
    written = 0
    try:
        while time.monotonic() < deadline and written < _MOST_WRITTEN:
            file.seek(written % size)
            written += file.write(block)
            os.fsync(file.fileno())
    finally:
        _log(f"disk: {written // _MIB} MiB written")


# Latency: a delay in the kernel if available (netem), else a flood of connections that fills the listener's queue.


class _Target(NamedTuple):
    family: int
    address: tuple[Any, ...]

    @property
    def port(self) -> int:
        return int(self.address[1])


def _latency(args: Any) -> None:
    target = _loopback(args.target)
    before = [_connect_ms(target) for _ in range(10)]
    if all(math.isinf(milliseconds) for milliseconds in before):
        raise UserError(
            "nothing answers", location=args.target, remedy="start the service first (the default one: make run)"
        )
    deadline = time.monotonic() + args.seconds
    during: list[float] = []
    with ExitStack() as cleanup:
        if args.mechanism == "flood" or not _try_netem(cleanup, args, target):
            _log(f"latency: {args.workers} processes flood {args.target} with connections for {args.seconds:g} s")
            cleanup.enter_context(_workers(args.workers, lambda: _flood(target, deadline)))
        try:
            while time.monotonic() < deadline:
                during.append(_connect_ms(target))
                time.sleep(min(0.1, max(deadline - time.monotonic(), 0.0)))
        finally:
            _log(f"latency: connecting took {_summary(before)} before, {_summary(during)} during the stress")


def _loopback(text: str) -> _Target:
    """Resolve ``host:port``.

    Raises
    ------
    UserError
        The text is malformed, or the address is not on this machine.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise UserError("not HOST:PORT", location=f"--target {text}", remedy="such as 127.0.0.1:1883")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(
            f"unknown host: {error}", location=f"--target {text}", remedy="such as 127.0.0.1:1883"
        ) from error
    if not all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found):
        raise UserError("not this machine", location=f"--target {text}", remedy="use a loopback address")
    targets = [_Target(family, address) for family, _, _, _, address in found]
    # The first that answers: a name may have addresses without a listener.
    return next((target for target in targets if math.isfinite(_connect_ms(target))), targets[0])


def _connect_ms(target: _Target) -> float:
    """Milliseconds to connect; infinite if refused or longer than 3 s."""
    with socket.socket(target.family, socket.SOCK_STREAM) as probe:
        probe.settimeout(3.0)
        started = time.perf_counter()
        try:
            probe.connect(target.address)
        except OSError:
            return math.inf
        return 1e3 * (time.perf_counter() - started)


def _summary(milliseconds: list[float]) -> str:
    if not milliseconds:
        return "(not measured)"

    def formatted(value: float) -> str:
        return "no answer within 3 s" if math.isinf(value) else f"{value:.2f} ms"

    slow = sum(value > 100.0 for value in milliseconds)
    return (
        f"{formatted(statistics.median(milliseconds))} in the median, {formatted(max(milliseconds))} at most, "
        f"more than 100 ms in {slow} of {len(milliseconds)}"
    )


# Seconds until a service with a thousand connections a second has room for one more in its queue.
_FULL_S = 0.001


def _flood(target: _Target, deadline: float) -> None:
    """Fill the listener's queue, so that some connections wait for the kernel's retransmission after 1 s.

    While the queue is full it sleeps: the service should be slow, but not the processors busy.
    """
    # Closing with a reset leaves no port in TIME_WAIT.
    reset = struct.pack("ii", 1, 0)
    while time.monotonic() < deadline:
        with socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as flood:
            flood.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            if flood.connect_ex(target.address) not in {0, errno.EINPROGRESS}:
                time.sleep(0.01)
            elif not select.select((), (flood,), (), 0)[1]:
                time.sleep(_FULL_S)


# Handle of the queueing discipline; a separate class for the target's port leaves other loopback traffic alone.
_HANDLE = "ed9e:"


def _try_netem(cleanup: ExitStack, args: Any, target: _Target) -> bool:
    """Delay packets to the target's port in the kernel until `cleanup`; False if that is unavailable.

    Raises
    ------
    UserError
        It is unavailable but was requested explicitly.
    """
    tc = shutil.which("tc")
    if tc is None or os.geteuid() != 0:
        reason = "tc is not installed" if tc is None else "not root"
    else:
        cleanup.enter_context(_guard([tc, *f"qdisc del dev lo root handle {_HANDLE}".split()]))
        protocol, match = ("ip", "match ip") if target.family == socket.AF_INET else ("ipv6", "match ip6")
        match += f" dport {target.port} 0xffff"
        reason = _first_failure(
            [tc, *command.split()]
            for command in (
                f"qdisc add dev lo root handle {_HANDLE} htb",
                f"class add dev lo parent {_HANDLE} classid {_HANDLE}1 htb rate 10gbit",
                f"qdisc add dev lo parent {_HANDLE}1 netem delay {args.delay_ms}ms limit 10000",
                f"filter add dev lo parent {_HANDLE} protocol {protocol} u32 {match} flowid {_HANDLE}1",
            )
        )
        if not reason:
            _log(f"latency: netem delays packets to {args.target} by {args.delay_ms} ms for {args.seconds:g} s")
            return True
        cleanup.close()
    if args.mechanism == "netem":
        raise UserError(f"no netem: {reason}", location="--mechanism netem", remedy="use --mechanism flood")
    _log(f"latency: no netem ({reason})")
    return False


def _first_failure(commands: Iterator[list[str]]) -> str:
    """Run commands until one fails; return its error output, empty on success."""
    for command in commands:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip() or f"{' '.join(command)} failed"
    return ""


@contextmanager
def _guard(command: list[str]) -> Iterator[None]:
    """Run `command` at the end of this block, or when this process ends for any reason."""
    reader, writer = os.pipe()

    def watch() -> None:
        os.setsid()  # detach from the terminal's signals
        os.close(writer)
        os.read(reader, 1)  # returns when the other end is closed
        subprocess.run(command, check=False, capture_output=True)

    guard = _fork(watch)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(guard, 0)


if __name__ == "__main__":
    sys.exit(main())
