"""The UCR Anomaly Archive: one series a file, one anomaly each (Wu and Keogh 2021).

Everything but the values stands in the file's name, ``NNN_UCR_Anomaly_NAME_TRAINEND_BEGIN_END``. The archive was made
with Matlab: its numbers count rows from 1, and both BEGIN and END belong to the anomaly. So the anomaly is rows
``[BEGIN - 1, END)`` counted from 0, and the first TRAINEND rows are for training. Converted ``.npz`` files repeat the
numbers of the name as ``begin`` and ``end``, meant as ``[begin, end)`` from 0, which is one row less; here both forms
are read by name, so that the same series has the same labels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from agent.core.errors import UserError
from training.data.readers.arrays import load_npz, load_text, untimed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from training.data.readers.options import ReadOptions
    from training.data.recording import Recording

__all__ = ["read", "recognises"]

# Nobody says how far apart the rows are; so far the agent judges them one by one and averages none away.
_INTERVAL_S = 10.0

_NAME = re.compile(r"(\d+_UCR_Anomaly_.+)_(\d+)_(\d+)_(\d+)")
_SUFFIXES = (".txt", ".npz")


def recognises(path: Path) -> bool:
    """Whether it is such a file, or a folder that holds some."""
    return any(map(_is_ours, _files(path)))


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Give the file's recording, or those of all files of the folder, named without the numbers."""
    for file in _files(path):
        yield _recording(file, options)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if _is_ours(file))
    return [path]


def _is_ours(path: Path) -> bool:
    return "UCR_Anomaly" in path.name and path.suffix in _SUFFIXES


def _recording(path: Path, options: ReadOptions) -> Recording:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise UserError(
            "the file's name does not say where training and anomaly end",
            location=str(path),
            remedy="NNN_UCR_Anomaly_NAME_TRAINEND_BEGIN_END.txt is expected",
        )
    train_rows, begin, end = (int(number) for number in match.groups()[1:])
    values = load_npz(path, ["x"])[0].reshape(-1, 1) if path.suffix == ".npz" else load_text(path)
    if not (values.shape[1] == 1 and 0 < train_rows < begin <= end <= len(values)):
        raise UserError(
            f"training to {train_rows}, anomaly {begin} – {end}, but {len(values)} rows of {values.shape[1]}",
            location=str(path),
            remedy="is the file complete, and was it renamed?",
        )
    labels = np.zeros(len(values), np.bool_)
    labels[begin - 1 : end] = True
    return untimed(
        path, match[1], values, ["value"], options, interval_s=_INTERVAL_S, labels=labels, train_rows=train_rows
    )
