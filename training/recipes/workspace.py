"""The temporary folder of a fit."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from typing import TYPE_CHECKING

import msgspec

from training.files.disk_errors import no_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from training.recipes.fit_options import FitOptions


__all__ = ["workspace"]


@contextlib.contextmanager
def workspace(output: Path, data: str, plan: FitOptions) -> Iterator[Path]:
    """Give a hidden folder for checkpoints: that of an interrupted fit of the same data and plan, if there is one.

    It is removed when the fit ends, well or not; only an interruption leaves it.
    """
    work = output.parent / f".{output.name}.fit"
    key = hashlib.sha256(data.encode() + msgspec.json.encode(plan, order="sorted")).hexdigest()
    try:
        if not (work / key).exists():
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            (work / key).touch()
    except OSError as error:
        raise no_folder(output.parent, error) from error
    try:
        yield work
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on from the last whole epoch") from None
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
