"""Writes files whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["staged_files"]


@contextmanager
def staged_files(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Give a path to write to for each of these; the new files take their places when the block ends well.

    When it does not (an error, Ctrl-C) the new files are removed and the old ones stay as they were.

    Raises
    ------
    UserError
        A folder cannot be written to.
    """
    fresh = tuple(path.with_name(f".{path.name}.new-{os.getpid()}") for path in paths)
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        for new, path in zip(fresh, paths, strict=True):
            new.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror or error}",
            location=str(paths[0]),
            remedy="name a folder that you may write to, with room on its disk",
        ) from error
    finally:
        for new in fresh:
            with suppress(OSError):  # the folder may not even be one
                new.unlink()
