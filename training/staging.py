"""Writes a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["refuse_foreign_folder", "staged"]


def refuse_foreign_folder(directory: Path) -> None:
    """Refuse to replace anything but a bundle or an empty folder.

    Raises
    ------
    UserError
        The target is a file or a folder that holds something else.
    """
    if directory.is_dir() and ((directory / "manifest.json").is_file() or not any(directory.iterdir())):
        return
    if directory.exists() or directory.is_symlink():
        raise UserError(
            "there is something here that is no bundle, and it is not replaced",
            place=str(directory),
            remedy="name a new folder or remove it yourself",
        )


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """Give an empty folder beside ``directory`` that takes its place when the block ends well.

    When it does not (an error, Ctrl-C) the new folder is removed and the old one stays as it was.

    Raises
    ------
    UserError
        See `refuse_foreign_folder`; or the folder cannot be written.
    """
    refuse_foreign_folder(directory)
    fresh = directory.parent / f".{directory.name}.new-{os.getpid()}"
    former = directory.parent / f".{directory.name}.old-{os.getpid()}"
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
    except OSError as error:
        raise UserError(
            f"cannot write here: {error.strerror or error}",
            place=str(directory.parent),
            remedy="name a folder that you may write to",
        ) from error
    try:
        yield fresh
        if directory.exists():
            directory.rename(former)
        fresh.rename(directory)
    finally:
        if former.exists() and not directory.exists():
            former.rename(directory)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
