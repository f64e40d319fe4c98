"""Write a folder atomically."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.core.errors import UserError
from training.files.disk_errors import no_folder, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["BUNDLE", "EVALUATION", "refuse_foreign_folder", "staged"]

#: Patterns of the files in a bundle and in an evaluation result; a file matching the first must exist.
BUNDLE = ("manifest.json", "*.tflite", "report.html", "*.png")
EVALUATION = ("metrics.json", "report.html", "*.png")


def refuse_foreign_folder(directory: Path, ours: Sequence[str] = BUNDLE) -> None:
    """Refuse to replace anything but an earlier result or an empty folder.

    Parameters
    ----------
    directory
        The target.
    ours
        Patterns of the files of an earlier result; the file named by the first must exist.

    Raises
    ------
    UserError
        The target is a file, or a folder with other content.
    """
    if not (directory.exists() or directory.is_symlink()):
        return
    entries = sorted(directory.iterdir()) if directory.is_dir() else [directory]
    foreign = [entry for entry in entries if entry.is_dir() or not any(map(entry.match, ours))]
    if foreign or (entries and not (directory / ours[0]).is_file()):
        found = f"{foreign[0].name!r}" if foreign else f"files, but no {ours[0]}"
        raise UserError(
            f"the output folder holds something else ({found}) and is not replaced",
            location=str(directory),
            remedy="name a new or empty folder, or remove this one",
        )


@contextmanager
def staged(directory: Path, ours: Sequence[str] = BUNDLE) -> Iterator[Path]:
    """Yield an empty folder beside ``directory``; rename it to ``directory`` when the block succeeds.

    After an error or Ctrl-C the new folder is removed and the old one is unchanged.

    Parameters
    ----------
    directory, ours
        See `refuse_foreign_folder`.

    Raises
    ------
    UserError
        See `refuse_foreign_folder`; or the parent folder is not writable.
    EnvironmentFault
        Writing fails while the block runs, for example on a full disk.
    """
    refuse_foreign_folder(directory, ours)
    fresh = directory.parent / f".{directory.name}.new-{os.getpid()}"
    former = directory.parent / f".{directory.name}.old-{os.getpid()}"
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
    except OSError as error:
        raise no_folder(directory.parent, error) from error
    try:
        with writing(directory):
            yield fresh
            if directory.exists():
                directory.rename(former)
            fresh.rename(directory)
    finally:
        if former.exists() and not directory.exists():
            former.rename(directory)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
