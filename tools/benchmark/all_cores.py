"""Runs many pieces of work in as many processes as there are cores, with a bar that counts rows."""

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

# Between two looks at how far it is.
_POLL_S = 0.2

_Result = TypeVar("_Result")


def on_all_cores(
    work: Callable[..., _Result], pieces: Sequence[tuple[Any, ...]], *, rows: int, title: str, processes: int
) -> list[_Result]:
    """Call a function once a piece of work, in the order of the pieces.

    The processes are started anew: a script that comes here needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    work
        A function of a module; besides a piece it takes ``advance``, to be told how many more rows are done.
    pieces
        Its arguments.
    rows
        Of all pieces together.
    title
        Of the bar.
    processes
        How many at once.

    Raises
    ------
    EnvironmentFault
        A process was ended from outside, as by a system without memory.
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
                "one of its processes was ended from outside", remedy="is there memory enough? Try --processes 1"
            ) from error


class _Process:
    """What each process keeps."""

    done: Any


def _start(done: Any) -> None:
    _Process.done = done
    # Ctrl-C goes to all processes: this one ends without a word, and the first one says why.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the process that gave the work is gone, whatever ended it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[..., _Result], piece: tuple[Any, ...]) -> _Result:
    return work(*piece, advance=_Process.done.put)
