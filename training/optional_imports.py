"""Imports of libraries that only an extra of the package installs."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.core.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["importing", "settle_tensorflow"]


@contextmanager
def importing(extra: str) -> Iterator[None]:
    """Context in which to import the libraries of an extra.

    Parameters
    ----------
    extra
        Name of the extra in ``pyproject.toml``. ``training`` also sets up TensorFlow first.

    Raises
    ------
    EnvironmentFault
        A library is missing; the error names it and the command that installs it.
    """
    if extra == "training":
        settle_tensorflow()
    try:
        with _ctrl_c_waits():
            yield
    except ImportError as error:
        missing = error.name or str(error)
        raise EnvironmentFault(f"{missing} is not installed", remedy=f"pip install 'edgewatch[{extra}]'") from error


def settle_tensorflow() -> None:
    """Set the environment variables that make TensorFlow and Keras reproducible; they are read at import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its rounding depends on the processor
    # The number of threads changes the order of sums, and so their rounding. Small networks are as fast with one.
    for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Delay Ctrl-C to the end of the block: raised inside an import, libraries turn it into other errors."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    delayed: list[int] = []
    former = signal.signal(signal.SIGINT, lambda number, _: delayed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
    if delayed:
        raise KeyboardInterrupt
