"""Numbers printed by a program, such as a script."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta, field

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig
from agent.sources.payload import NoReading, at_path, decoded, number

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CommandConfig", "CommandError", "CommandSource"]

# Bytes of each output; bounds memory, chosen by hand.
_MOST_BYTES = 65_536
# Bytes of one read.
_AT_ONCE = 8192
# Characters of a failed program's standard error in the log; chosen by hand.
_MOST_REASON = 200


class CommandError(Exception):
    """The program failed or printed no configured value; the text is the reason."""


class CommandConfig(SourceConfig, frozen=True):
    """Keys of the `command` source."""

    command: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Program and its arguments; it runs without a shell.")
    ]
    name: Annotated[
        str,
        Meta(
            min_length=1,
            description="Name of the channel, or the first part of the channels' names if `values` is set.",
        ),
    ]
    values: Annotated[
        dict[str, str],
        Meta(
            max_length=1000,
            description=(
                "Channel names, each with a path in the JSON document that the program prints, such as "
                "`battery.level`. Default: it prints one number."
            ),
        ),
    ] = field(default_factory=dict)
    timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="Time-out in seconds, after which the program is killed.")
    ] = 5.0


class CommandSource:
    """Runs the program at each tick, one at a time.

    Raises
    ------
    UserError
        The program does not exist or is not executable.
    """

    Config: ClassVar[type[SourceConfig]] = CommandConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: CommandConfig, interval_s: float) -> None:  # noqa: ARG002 - readings do not depend on it
        from shutil import which  # noqa: PLC0415 - costs memory only where there is a command

        program = which(config.command[0])
        if program is None:
            raise UserError(
                f"cannot run {config.command[0]!r}: not found or not executable",
                location="$.command",
                remedy="give a list such as [/usr/local/bin/level, --brief], and make the file executable",
            )
        self._command = (program, *config.command[1:])
        self._paths = tuple(config.values.values()) or ("",)
        self._timeout_s = config.timeout_s
        names = [f"{config.name}.{name}" for name in config.values] or [config.name]
        self.channels: tuple[Channel, ...] = tuple(map(Channel, names))
        self._process: subprocess.Popen[bytes] | None = None

    def read(self) -> Sequence[float]:
        """Run the program; return one number for each channel, NaN for a value that its document lacks.

        Raises
        ------
        CommandError
            The program failed, took too long, or printed no configured value.
        """
        try:
            document = decoded(self._run())
        except NoReading as fault:
            raise CommandError(f"{self._command[0]}: {fault}") from None
        values, missing = [], []
        for path in self._paths:
            try:
                values.append(number(at_path(document, path)))
            except NoReading as fault:
                values.append(float("nan"))
                missing.append(f"{path or 'output'}: {fault}")
        if len(missing) == len(values):
            raise CommandError(f"{self._command[0]}: {missing[0]}")
        return values

    def close(self) -> None:
        """Kill the program if it is running."""
        if (process := self._process) is not None:
            _kill(process)

    def _run(self) -> bytes:
        """Run the program and return its standard output."""
        process = subprocess.Popen(  # noqa: S603 - the administrator configures the command
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A process group of its own, so that its children can be killed with it.
            start_new_session=True,
        )
        self._process = process
        try:
            out, errors = _collect(process, time.monotonic() + self._timeout_s)
            code = process.wait()
        except (TimeoutError, subprocess.TimeoutExpired):
            raise CommandError(f"{self._command[0]} did not end within {self._timeout_s:g} s") from None
        finally:
            self._process = None
            _kill(process)
            process.wait()
            for output in (process.stdout, process.stderr):
                if output is not None:
                    output.close()
        if code:
            reason = " ".join(errors.decode("utf-8", "replace").split())[:_MOST_REASON]
            raise CommandError(f"{self._command[0]} ended with {code}{f': {reason}' if reason else ''}")
        return out


def _collect(process: subprocess.Popen[bytes], until: float) -> tuple[bytes, bytes]:
    """Read standard output and standard error in parallel until the program ends.

    Parameters
    ----------
    until
        Deadline in monotonic seconds.

    Raises
    ------
    CommandError
        One of the outputs is longer than `_MOST_BYTES`.
    TimeoutError, subprocess.TimeoutExpired
        The program has not ended at the deadline.
    """
    outputs: dict[Any, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for output in outputs:
            selector.register(output, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                part = os.read(key.fd, _AT_ONCE)
                if not part:
                    selector.unregister(key.fileobj)
                outputs[key.fileobj] += part
                if len(outputs[key.fileobj]) > _MOST_BYTES:
                    raise CommandError(f"the program prints more than {_MOST_BYTES // 1024} KiB")
    process.wait(max(0.0, until - time.monotonic()) or 0.01)
    return bytes(outputs[process.stdout]), bytes(outputs[process.stderr])


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
