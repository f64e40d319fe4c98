"""Run a check on inputs one by one, and store minimised inputs that fail."""

from __future__ import annotations

import hashlib
import signal
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from agent.service.process_memory import rss_mib

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from tools.fuzzing.targets import Check

__all__ = ["LONGEST_S", "Examiner"]

#: Allowed CPU seconds an input, the promise in docs/reliability.md.
LONGEST_S = 1.0
# CPU seconds after which a check is aborted as a hang, chosen by hand.
_PATIENCE_S = 3.0
# Seconds to minimise an input, chosen by hand.
_SMALL_S = 20.0


class _HangError(BaseException):
    """Aborts a hanging check; no `Exception`, so that the code under test cannot catch it."""


class Examiner:
    """Run a check on inputs; count them, measure time and memory, and collect failures.

    Parameters
    ----------
    check
        Raises an exception if an input is neither used nor refused as documented.
    folder
        Folder for failed inputs; created with the first.
    """

    def __init__(self, check: Check, folder: Path) -> None:
        self._check = check
        self._folder = folder
        #: Number of inputs.
        self.count = 0
        #: CPU seconds of the slowest input.
        self.slowest_s = 0.0
        #: Failures: error type and location, to message and file of the input.
        self.failures: dict[str, str] = {}
        signal.signal(signal.SIGVTALRM, self._give_up)
        self._start_mib = 0.0

    def begin(self) -> None:
        """Start measuring memory, after warm-up."""
        # Writing 5 resets the peak, see proc(5).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._start_mib = rss_mib()

    @property
    def growth_mib(self) -> float:
        """Peak of resident memory since `begin`, less memory at `begin`, in MiB."""
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return int(peak) / 1024 - self._start_mib

    def examine(self, data: bytes) -> None:
        """Run the check on an input; minimise and store it if it fails in a new way."""
        self.count += 1
        begin = time.process_time()
        failure = self._failure(data)
        seconds = time.process_time() - begin
        if seconds > self.slowest_s:
            # Measure again: the first time may include a garbage collection.
            begin = time.process_time()
            self._failure(data)
            self.slowest_s = max(self.slowest_s, min(seconds, time.process_time() - begin))
            if self.slowest_s > LONGEST_S:
                failure = failure or "slow"
        kind, _, message = failure.partition(": ")
        if kind and kind not in self.failures:
            self.failures[kind] = message
            small = data if kind == "slow" else self._minimised(data, kind)
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / hashlib.sha256(small).hexdigest()[:12]
            path.write_bytes(small)
            self.failures[kind] = f"{message} – {path}"

    def _failure(self, data: bytes) -> str:
        """Describe the failure of an input; empty if the check passes."""
        signal.setitimer(signal.ITIMER_VIRTUAL, _PATIENCE_S)
        try:
            self._check(data)
        except _HangError:
            return "hang"
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            return f"{type(error).__name__} {_location(error.__traceback__)}: {str(error)[:120]}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        return ""

    def _minimised(self, data: bytes, kind: str) -> bytes:
        """Remove parts of an input that are not needed for the same failure, larger ones first."""
        size, until = max(1, len(data) // 2), time.monotonic() + _SMALL_S
        while time.monotonic() < until:
            start = 0
            while start < len(data) and time.monotonic() < until:
                shorter = data[:start] + data[start + size :]
                if self._failure(shorter).partition(": ")[0] == kind:
                    data = shorter
                else:
                    start += size
            if size == 1:
                break
            size //= 2
        return data

    @staticmethod
    def _give_up(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise _HangError


def _location(trace: TracebackType | None) -> str:
    """Innermost function of the agent or the targets in a traceback, as ``file:function``."""
    frames = traceback.extract_tb(trace)
    ours = [f for f in frames if "/agent/" in f.filename or "/fuzzing/targets" in f.filename] or list(frames)
    return f"{Path(ours[-1].filename).name}:{ours[-1].name}"
