"""Errors of writing, with the place and a remedy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.core.errors import EnvironmentFault, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["no_folder", "writing"]


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn a failure to write into an error with a place and a remedy.

    Parameters
    ----------
    place
        What is written.

    Raises
    ------
    EnvironmentFault
        The disk is full, or fails.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"cannot be written: {error.strerror or error}",
            location=str(place),
            remedy="make room or name another disk, and give the same command again",
        ) from error


def no_folder(parent: Path, error: OSError) -> UserError:
    """Give the error of a folder in which none can be made."""
    return UserError(
        f"cannot write here: {error.strerror or error}",
        location=str(parent),
        remedy="name a folder that you may write to",
    )
