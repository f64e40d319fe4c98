"""Libraries that only an extra installs."""

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
    """Import within this what the extra `extra` installs.

    Raises
    ------
    EnvironmentFault
        A library is missing: it is named, with the command that installs it.
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
    """Have TensorFlow and Keras, which read this as they begin, give the same bytes on every machine."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its rounding depends on the processor
    # Sums depend on how many share them out; networks as small as ours are no slower by one.
    for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Hold a Ctrl-C back: half-way through an import it comes out as whatever that library makes of it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    held: list[int] = []
    former = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
    if held:
        raise KeyboardInterrupt
