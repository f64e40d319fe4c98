"""Reader of the UCR Anomaly Archive: one series per file with one anomaly each (Wu and Keogh 2021).

The file name holds training end and anomaly: ``NNN_UCR_Anomaly_NAME_TRAINEND_BEGIN_END``. The archive was made with
Matlab: rows count from 1, and both BEGIN and END belong to the anomaly. Counted from 0, the anomaly is therefore
``[BEGIN - 1, END)``, and the first TRAINEND rows are for training. Converted ``.npz`` files repeat these numbers as
``begin`` and ``end`` with the meaning ``[begin, end)`` from 0, one row less. Both forms are read by name here, so that
the same series has the same labels.
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

# Seconds between rows, chosen by hand because the archive does not define it: at 10 s the agent judges single rows
# instead of averages of several.
_INTERVAL_S = 10.0

_NAME = re.compile(r"(\d+_UCR_Anomaly_.+)_(\d+)_(\d+)_(\d+)")
_SUFFIXES = (".txt", ".npz")


def recognises(path: Path) -> bool:
    """Whether the path is a file of the archive, or a folder with such files."""
    return any(map(_is_ours, _files(path)))


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Yield the recordings of the file or folder, named without the three numbers at the end."""
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
            "the file name does not hold the end of training and the anomaly",
            location=str(path),
            remedy="restore its name: NNN_UCR_Anomaly_NAME_TRAINEND_BEGIN_END.txt",
        )
    train_rows, begin, end = (int(number) for number in match.groups()[1:])
    values = load_npz(path, ["x"])[0].reshape(-1, 1) if path.suffix == ".npz" else load_text(path)
    if not (values.shape[1] == 1 and 0 < train_rows < begin <= end <= len(values)):
        raise UserError(
            f"the name has training to row {train_rows} and an anomaly in rows {begin} – {end}; the file has "
            f"{len(values)} rows and {values.shape[1]} columns, where one column is expected",
            location=str(path),
            remedy="download the file again under its original name",
        )
    labels = np.zeros(len(values), np.bool_)
    labels[begin - 1 : end] = True
    return untimed(
        path, match[1], values, ["value"], options, interval_s=_INTERVAL_S, labels=labels, train_rows=train_rows
    )
