"""Tries one input after another, and keeps what broke a promise, as small as it can be made."""

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

#: Processor time that one input may take.
LONGEST_S = 1.0
# What takes so long is ended.
_PATIENCE_S = 3.0
# Time for making one input small.
_SMALL_S = 20.0


class _HangError(BaseException):
    """Not an error that the code under examination may survive."""


class Examiner:
    """Counts, measures, and collects what failed.

    Parameters
    ----------
    check
        Raises where an input is neither used nor refused as documented.
    folder
        Where the inputs that failed are kept; made when there is one.
    """

    def __init__(self, check: Check, folder: Path) -> None:
        self._check = check
        self._folder = folder
        #: Inputs tried.
        self.count = 0
        #: Seconds of processor time of the slowest.
        self.slowest_s = 0.0
        #: What failed: where and how, with the file that holds the input.
        self.failures: dict[str, str] = {}
        signal.signal(signal.SIGVTALRM, self._give_up)
        self._start_mib = 0.0

    def begin(self) -> None:
        """Measure memory from here on: all is loaded and warm."""
        # Five resets the peak, see proc(5).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._start_mib = rss_mib()

    @property
    def growth_mib(self) -> float:
        """How much larger than at the beginning the process has been since."""
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return int(peak) / 1024 - self._start_mib

    def examine(self, data: bytes) -> None:
        """Try an input; one that fails in a new way is made small and kept."""
        self.count += 1
        begin = time.process_time()
        failure = self._failure(data)
        seconds = time.process_time() - begin
        if seconds > self.slowest_s:
            # Once more: the processor may have been busy with what is cleaned up now and then.
            begin = time.process_time()
            self._failure(data)
            self.slowest_s = max(self.slowest_s, min(seconds, time.process_time() - begin))
            if self.slowest_s > LONGEST_S:
                failure = failure or "slow"
        kind, _, told = failure.partition(": ")
        if kind and kind not in self.failures:
            self.failures[kind] = told
            small = data if kind == "slow" else self._minimised(data, kind)
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / hashlib.sha256(small).hexdigest()[:12]
            path.write_bytes(small)
            self.failures[kind] = f"{told} – {path}"

    def _failure(self, data: bytes) -> str:
        """What an input breaks, and where; empty where all is well."""
        signal.setitimer(signal.ITIMER_VIRTUAL, _PATIENCE_S)
        try:
            self._check(data)
        except _HangError:
            return "hang"
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            return f"{type(error).__name__} {_place(error.__traceback__)}: {str(error)[:120]}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        return ""

    def _minimised(self, data: bytes, kind: str) -> bytes:
        """Leave out what is not needed for the same failure, larger parts first."""
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


def _place(trace: TracebackType | None) -> str:
    """The innermost line of ours."""
    frames = traceback.extract_tb(trace)
    ours = [f for f in frames if "/agent/" in f.filename or "/fuzzing/targets" in f.filename] or list(frames)
    return f"{Path(ours[-1].filename).name}:{ours[-1].name}"
