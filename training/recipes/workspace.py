"""Temporary folder of a fit, for checkpoints."""

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
    """Yield a hidden folder beside ``output`` for checkpoints.

    The folder of an interrupted fit is reused if data and options are the same. The folder is removed at the end of the
    fit and after an error, but kept after Ctrl-C.

    Parameters
    ----------
    output
        Target folder of the fit.
    data
        Hash of the data.
    plan
        Options of the fit.
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
        raise KeyboardInterrupt("the same command continues from the last complete epoch") from None
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
