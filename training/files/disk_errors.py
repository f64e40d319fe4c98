"""Errors of writing, with location and remedy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.core.errors import EnvironmentFault, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["no_folder", "writing"]


@contextmanager
def writing(location: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into an error with location and remedy.

    Parameters
    ----------
    location
        File or folder being written, for the error.

    Raises
    ------
    EnvironmentFault
        Writing fails, for example on a full disk.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"cannot be written: {error.strerror or error}",
            location=str(location),
            remedy="free disk space or name a folder on another disk, then repeat the command",
        ) from error


def no_folder(parent: Path, error: OSError) -> UserError:
    """Return the error for a folder in which no subfolder can be made."""
    return UserError(
        f"cannot write here: {error.strerror or error}",
        location=str(parent),
        remedy="name a folder that you may write to",
    )
