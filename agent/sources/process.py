"""Programs on this machine: processor time, memory, file descriptors, number of processes, restarts."""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import nan
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import msgspec
import psutil
from msgspec import Meta

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig, named_twice

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ProcessConfig", "ProcessSource", "Program"]

# Figure, unit, smallest effect, log_reference. Effects are chosen by hand; with a log_reference they are factors.
_FIGURES = (
    ("cpu", "%", 10.0, 0.0),
    ("memory", "B", 1.5, 16e6),
    ("descriptors", "", 20.0, 0.0),
    ("running", "", 1.0, 0.0),
    ("restarts", "", 1.0, 0.0),
)
# Mount points of the cgroup hierarchy of version 2, and of systemd's hierarchy of version 1.
_CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd")


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Processes watched under one name; exactly one of `process` and `unit` is given."""

    name: Annotated[str, Meta(min_length=1, description="Name in the channels, such as `process.<name>.cpu`.")]
    process: Annotated[
        str, Meta(description="Name of the processes, as `ps -e` shows it; `*` and `?` match as in a shell.")
    ] = ""
    unit: Annotated[
        str, Meta(description="Name of a systemd service, such as `nginx.service`: all processes in it.")
    ] = ""

    def __post_init__(self) -> None:
        if bool(self.process) == bool(self.unit):
            raise ValueError("give either process or unit")


class ProcessConfig(SourceConfig, frozen=True):
    """Keys of the `process` source."""

    programs: Annotated[tuple[Program, ...], Meta(min_length=1, max_length=256, description="Programs to watch.")]


class _Seen(NamedTuple):
    """A process at the last read.

    Its start time in seconds since 1970 distinguishes it from a later process with the same PID; `cpu_s` is its
    processor time so far.
    """

    begun: float
    cpu_s: float


class _Totals(NamedTuple):
    """Sums over the processes of a program, in the order of `_FIGURES`."""

    cpu: float
    memory: float
    descriptors: float
    running: float
    restarts: float


class ProcessSource:
    """Measures programs, each summed over its processes.

    ``process.<name>.cpu`` is in percent of one core. ``descriptors`` is NaN if the agent's user may not count them.
    ``restarts`` counts the processes that ended and were replaced since the agent's start.

    Raises
    ------
    UserError
        Two programs have the same name.
    """

    Config: ClassVar[type[SourceConfig]] = ProcessConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: ProcessConfig, interval_s: float) -> None:  # noqa: ARG002 - shares use the clock
        names = [program.name for program in config.programs]
        twice = named_twice(names)
        if twice is not None:
            raise UserError(f"two programs are called {twice!r}", location="$.programs", remedy="rename one")
        self._watched = [_Watched(program) for program in config.programs]
        self.channels: tuple[Channel, ...] = tuple(
            Channel(f"process.{name}.{figure}", unit, effect=effect, log_reference=reference, minimum=0.0)
            for name in names
            for figure, unit, effect, reference in _FIGURES
        )

    def read(self) -> Sequence[float]:
        """Return five numbers for each program; without a process all but the restarts are 0.

        ``cpu`` is NaN at the first read.
        """
        by_name = any(watched.program.process for watched in self._watched)
        processes = (
            [(process.pid, process.info["name"]) for process in psutil.process_iter(["name"])] if by_name else []
        )
        return [figure for watched in self._watched for figure in watched.update(processes)]

    def close(self) -> None:
        """No-op: nothing stays open between reads."""


class _Watched:
    """A program and its state at the last read."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._seen: dict[int, _Seen] = {}
        self._at = nan
        self._restarts = 0
        self._gone = 0

    def update(self, processes: Iterable[tuple[int, str]]) -> _Totals:
        """Return the figures since the last call; `processes` are PIDs and names of all processes."""
        program = self.program
        pids = (
            _in_unit(program.unit)
            if program.unit
            else [pid for pid, name in processes if fnmatchcase(name, program.process)]
        )
        now, seen = monotonic(), {}
        memory = descriptors = 0.0
        for pid in pids:
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                seen[pid] = _Seen(process.create_time(), times.user + times.system)
                memory += process.memory_info().rss
                descriptors += _descriptors(process)
            except psutil.Error:
                continue  # ended meanwhile
        first, elapsed, before = self._at != self._at, now - self._at, self._seen  # NaN: first call
        went = [n for n, old in before.items() if n not in seen or seen[n].begun != old.begun]
        came = [n for n, new in seen.items() if n not in before or before[n].begun != new.begun]
        self._gone += len(went)
        replaced = min(self._gone, len(came)) if not first else 0
        self._restarts += replaced
        self._gone -= replaced
        busy = sum(max(0.0, new.cpu_s - before[n].cpu_s) for n, new in seen.items() if n in before and n not in came)
        self._seen, self._at = seen, now
        cpu = nan if first or elapsed <= 0.0 else 100.0 * busy / elapsed
        return _Totals(cpu, memory, descriptors, float(len(seen)), float(self._restarts))


def _descriptors(process: psutil.Process) -> float:
    try:
        return float(process.num_fds())
    except psutil.AccessDenied:
        return nan


def _in_unit(unit: str) -> list[int]:
    """Return the PIDs of a systemd service; empty while it does not run."""
    for root in _CGROUPS:
        folder = Path(root) / "system.slice" / unit
        try:
            return [
                int(line)
                for path in (folder / "cgroup.procs", *folder.glob("*/cgroup.procs"))
                for line in path.read_text("ascii").split()
            ]
        except (OSError, ValueError):
            continue
    return []
