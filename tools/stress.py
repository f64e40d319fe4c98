"""Make this machine really misbehave, for a bounded time: something true for the agent to find.

``python -m tools.stress cpu|memory|disk|latency --seconds N``. Nothing is left behind, neither when it ends nor when
it is interrupted or killed: worker processes die with their parent, the file on disk has no name, and a delay in the
kernel is taken away by a guard that outlives whoever asked for it.
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
_LONGEST_S = 600.0
_LARGEST_SHARE = 0.8
# Of the free space at most, and in all: flash memory wears.
_LARGEST_SHARE_OF_DISK = 0.25
_MOST_WRITTEN = 64 << 30
_PR_SET_PDEATHSIG = 1
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it ran or was interrupted, 2 for a mistake in the arguments."""
    args = _parser().parse_args(arguments)
    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    try:
        _say(f"{args.command}: began")
        started = time.monotonic()
        with suppress(KeyboardInterrupt):
            args.run(args)
        _say(f"{args.command}: ended after {time.monotonic() - started:.1f} s")
    except EdgewatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.stress", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[[Any], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--seconds", type=_between(0.1, _LONGEST_S), default=30.0, help="how long, at most 600")
        added.set_defaults(run=run)
        return added

    cpu = command("cpu", _cpu, "keep processor cores busy")
    cpu.add_argument("--workers", type=_whole(1, 256), default=os.cpu_count() or 1, help="default: one a core")

    memory = command("memory", _memory, "take memory and touch it")
    memory.add_argument(
        "--share", type=_between(0.001, _LARGEST_SHARE), default=0.3, help="of what is available, at most 0.8"
    )

    disk = command("disk", _disk, "write a file over and over, each block forced to the disk")
    disk.add_argument("--directory", type=Path, default=Path(), help="where; default: here")
    disk.add_argument(
        "--size-mib", type=_whole(1, 16_384), default=256, help="of the file, at most a quarter of the free"
    )

    latency = command("latency", _latency, "make connecting to a service on this machine slow")
    latency.add_argument(
        "--target",
        default="{}:{}".format(*DEFAULT_ADDRESS),
        metavar="HOST:PORT",
        help="loopback only; default: the listener of `make run`",
    )
    latency.add_argument("--mechanism", choices=("auto", "netem", "flood"), default="auto", help="default: what works")
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
    """Run `work` in a child, with the signals of `_ENDINGS` held back in it; its process id.

    They are held back over the fork itself, so that the child never runs this process' way of ending.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        child = os.fork()
        if child == 0:
            try:
                work()
            finally:
                os._exit(0)  # the parent's open files and exit handlers are not the child's
        return child
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)


@contextmanager
def _workers(count: int, work: Callable[[], None]) -> Iterator[None]:
    """Run `work` in processes that end with this block, or with this process, whatever ends it."""
    parent = os.getpid()

    def worker() -> None:
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
        # The second question is for a parent that went before the kernel was told to watch it.
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
    _say(f"cpu: {args.workers} busy processes for {args.seconds:g} s")
    deadline = time.monotonic() + args.seconds

    def burn() -> None:
        while time.monotonic() < deadline:
            sum(range(10_000))

    with _workers(args.workers, burn):
        time.sleep(args.seconds)


def _memory(args: Any) -> None:
    size = int(args.share * _available_memory())
    _say(f"memory: taking {size // _MIB} MiB for {args.seconds:g} s")
    with suppress(OSError):
        # Should memory run out after all, the kernel is to end this process and no other.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    deadline = time.monotonic() + args.seconds
    # Random, so that neither compressed swap nor page merging can make it small.
    block = os.urandom(_MIB)
    with mmap.mmap(-1, max(size, _MIB)) as taken:
        for start in range(0, len(taken) - _MIB + 1, _MIB):
            if time.monotonic() >= deadline:
                break
            taken[start : start + _MIB] = block
        time.sleep(max(deadline - time.monotonic(), 0.0))


def _available_memory() -> int:
    """Bytes that can be had without swapping, as the kernel estimates."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise UserError("the kernel does not say how much memory is available", location="/proc/meminfo")


def _disk(args: Any) -> None:
    try:
        free = shutil.disk_usage(args.directory).free
        size = min(args.size_mib * _MIB, int(_LARGEST_SHARE_OF_DISK * free) // _MIB * _MIB)
        if not size:
            raise UserError(
                f"only {free // _MIB} MiB free", location=str(args.directory), remedy="choose another --directory"
            )
        _say(f"disk: writing {size // _MIB} MiB over and over in {args.directory.resolve()} for {args.seconds:g} s")
        # Without a name from the start: the space is free again the moment this process ends.
        with tempfile.TemporaryFile(dir=args.directory, buffering=0) as file:
            _overwrite(file, size, time.monotonic() + args.seconds)
    except OSError as error:
        raise UserError(
            f"cannot write there: {error.strerror}", location=str(args.directory), remedy="choose another --directory"
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
        _say(f"disk: {written // _MIB} MiB written")


# Latency: a delay in the kernel where it can be had, else a listener kept too busy to take everyone at once.


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
            "nothing answers there", location=args.target, remedy="start it first (the default one: make run)"
        )
    deadline = time.monotonic() + args.seconds
    during: list[float] = []
    with ExitStack() as cleanup:
        if args.mechanism == "flood" or not _try_netem(cleanup, args, target):
            _say(f"latency: {args.workers} processes flood {args.target} with connections for {args.seconds:g} s")
            cleanup.enter_context(_workers(args.workers, lambda: _flood(target, deadline)))
        try:
            while time.monotonic() < deadline:
                during.append(_connect_ms(target))
                time.sleep(min(0.1, max(deadline - time.monotonic(), 0.0)))
        finally:
            _say(f"latency: connecting took {_summary(before)} before, {_summary(during)} meanwhile")


def _loopback(text: str) -> _Target:
    """Resolve ``host:port``.

    Raises
    ------
    UserError
        It is none, or leads to another machine.
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
        raise UserError("not this machine", location=f"--target {text}", remedy="only loopback addresses are stressed")
    targets = [_Target(family, address) for family, _, _, _, address in found]
    # The first that answers: a name may have an address on which nobody listens.
    return next((target for target in targets if math.isfinite(_connect_ms(target))), targets[0])


def _connect_ms(target: _Target) -> float:
    """Milliseconds to connect; infinite when refused or longer than 3 s."""
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

    def said(value: float) -> str:
        return "no answer within 3 s" if math.isinf(value) else f"{value:.2f} ms"

    slow = sum(value > 100.0 for value in milliseconds)
    return (
        f"{said(statistics.median(milliseconds))} in the median, {said(max(milliseconds))} at most, "
        f"more than 100 ms in {slow} of {len(milliseconds)}"
    )


# The queue of a service that takes a thousand connections a second has no more room than one after this time.
_FULL_S = 0.001


def _flood(target: _Target, deadline: float) -> None:
    """Fill the listener's queue, so that the kernel lets some who connect wait for a second try (1 s).

    While it is full there is nothing to do: the service is to be slow, the processors are not to be busy.
    """
    # Closing with a reset leaves no port behind in TIME_WAIT.
    reset = struct.pack("ii", 1, 0)
    while time.monotonic() < deadline:
        with socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as flood:
            flood.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            if flood.connect_ex(target.address) not in {0, errno.EINPROGRESS}:
                time.sleep(0.01)
            elif not select.select((), (flood,), (), 0)[1]:
                time.sleep(_FULL_S)


# A class of its own for the target's port: all other traffic on loopback passes untouched.
_HANDLE = "ed9e:"


def _try_netem(cleanup: ExitStack, args: Any, target: _Target) -> bool:
    """Delay packets to the target's port in the kernel until `cleanup`; False where that is not to be had."""
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
            _say(f"latency: netem delays packets to {args.target} by {args.delay_ms} ms for {args.seconds:g} s")
            return True
        cleanup.close()
    if args.mechanism == "netem":
        raise UserError(f"no netem: {reason}", location="--mechanism netem", remedy="use --mechanism flood")
    _say(f"latency: no netem ({reason})")
    return False


def _first_failure(commands: Iterator[list[str]]) -> str:
    """Run commands until one fails; what it said, empty when all went well."""
    for command in commands:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip() or f"{' '.join(command)} failed"
    return ""


@contextmanager
def _guard(command: list[str]) -> Iterator[None]:
    """Run `command` at the end of this block, or when this process is gone, whatever ended it."""
    reader, writer = os.pipe()

    def watch() -> None:
        os.setsid()  # out of the terminal's reach
        os.close(writer)
        os.read(reader, 1)  # returns when the last holder of the other end is gone
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
