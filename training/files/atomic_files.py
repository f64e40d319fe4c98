"""Write several files atomically."""

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
    """Yield one temporary path for each target; rename them to the targets when the block succeeds.

    After an error or Ctrl-C the temporary files are removed and the targets are unchanged.

    Raises
    ------
    UserError
        A folder or file cannot be written.
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
            with suppress(OSError):  # missing, or its parent is not a folder
                new.unlink()
