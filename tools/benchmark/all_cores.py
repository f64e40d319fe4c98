"""Run tasks in parallel processes, with a progress bar of rows."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, TypeVar

from rich.progress import Progress

from agent.core.errors import EnvironmentFault
from training.reports.page.terminal import COLUMNS, console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["on_all_cores"]

# Seconds between updates of the progress bar.
_POLL_S = 0.2

_Result = TypeVar("_Result")


def on_all_cores(
    work: Callable[..., _Result], pieces: Sequence[tuple[Any, ...]], *, rows: int, title: str, processes: int
) -> list[_Result]:
    """Call a function for each tuple of arguments; give the results in the same order.

    Processes are spawned: a calling script needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    work
        A module-level function; its keyword ``advance`` is a callback for the number of rows just finished.
    pieces
        Positional arguments of each call.
    rows
        Total of all calls, for the progress bar.
    title
        Title of the progress bar.
    processes
        Parallel processes.

    Raises
    ------
    EnvironmentFault
        A process was killed, for example for lack of memory.
    """
    context = multiprocessing.get_context("spawn")
    done: Any = context.SimpleQueue()
    with (
        Progress(*COLUMNS, console=console(), transient=True) as progress,
        ProcessPoolExecutor(min(processes, len(pieces)), context, _start, (done,)) as pool,
    ):
        bar = progress.add_task(title, total=rows)
        tasks = [pool.submit(_call, work, piece) for piece in pieces]
        waiting = set(tasks)
        while waiting:
            finished, waiting = wait(waiting, _POLL_S, FIRST_EXCEPTION)
            while not done.empty():
                progress.advance(bar, done.get())
            if any(task.exception() for task in finished):
                pool.shutdown(wait=False, cancel_futures=True)
                break
        try:
            return [task.result() for task in tasks]
        except BrokenProcessPool as error:
            raise EnvironmentFault(
                "a worker process was killed", remedy="is there enough memory? Try --processes 1"
            ) from error


class _Process:
    """Per-process state."""

    done: Any


def _start(done: Any) -> None:
    _Process.done = done
    # Ctrl-C reaches all processes: workers end silently, the parent reports it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has ended for any reason."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[..., _Result], piece: tuple[Any, ...]) -> _Result:
    return work(*piece, advance=_Process.done.put)
