"""Reader of the Server Machine Dataset: 38 metrics of a machine every minute, in two halves (Su et al. 2019).

It is published as folders ``train``, ``test`` and ``test_label`` with one text file per machine, or as one ``.npz`` per
machine. A recording is the training half followed by the test half. The metrics have no names and are numbered from 1,
as in the interpretation labels of the data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.core.errors import UserError
from training.data.readers.arrays import load_npz, load_text, untimed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from training.data.readers.options import ReadOptions
    from training.data.recording import Recording

__all__ = ["read", "recognises"]

_PARTS = ("train", "test", "test_label")


def recognises(path: Path) -> bool:
    """Whether the path is a file of the data set, or a folder in either form."""
    return any(map(_is_ours, _files(path)))


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Yield one recording per machine of the file or folder."""
    for file in _files(path):
        yield _recording(file, options)


def _files(path: Path) -> list[Path]:
    """One file per machine: its ``.npz``, or its text in ``train``."""
    if path.is_dir():
        root = path / "train" if (path / "train").is_dir() else path
        return sorted(file for file in root.iterdir() if _is_ours(file))
    return [path]


def _is_ours(path: Path) -> bool:
    if not path.name.startswith("machine-"):
        return False
    return path.suffix == ".npz" or (path.suffix == ".txt" and path.parent.name in _PARTS)


def _recording(path: Path, options: ReadOptions) -> Recording:
    train, test, label = _halves(path)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise UserError(
            f"train has the shape {train.shape}, test has the shape {test.shape}",
            location=str(path),
            remedy="both need rows of the same metrics; download the file again",
        )
    names = [f"metric.{number}" for number in range(1, train.shape[1] + 1)]
    labels = np.concatenate((np.zeros(len(train), np.bool_), label.ravel() != 0))
    return untimed(
        path,
        path.stem,
        np.concatenate((train, test)),
        names,
        options,
        interval_s=60.0,
        labels=labels,
        train_rows=len(train),
    )


def _halves(path: Path) -> list[npt.NDArray[Any]]:
    if path.suffix == ".npz":
        return load_npz(path, _PARTS)
    root = path.parent.parent
    return [load_text(root / part / path.name) for part in _PARTS]
