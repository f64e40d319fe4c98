"""Reader of the Skoltech Anomaly Benchmark: eight sensors of a water circuit every second (Katser and Kozitsin 2020).

The column ``anomaly`` holds the labels; the column ``changepoint`` is ignored. The file ``anomaly-free`` has no labels
because all its rows are normal. The benchmark trains on the first 400 rows of each other file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from training.data.readers.csv import CsvTable, is_csv
from training.data.readers.table import leading_rows, recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from training.data.readers.options import ReadOptions
    from training.data.recording import Recording

__all__ = ["read", "recognises"]

_TRAIN_ROWS = 400
_CHANGE = "changepoint"
_NORMAL = "anomaly-free"


def recognises(path: Path) -> bool:
    """Whether the path is a file of the benchmark, or a folder with such files at any depth."""
    return any(map(_is_labelled, _files(path)))


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Yield one recording per file, named by its path within the folder."""
    for file in _files(path):
        name = file.relative_to(path).with_suffix("").as_posix() if path.is_dir() else file.stem
        read_one = recording(CsvTable.open(file), options, name, ignored={_CHANGE})
        if file.stem == _NORMAL:
            read_one = replace(read_one, labels=np.zeros(read_one.rows, np.bool_))
        else:
            read_one = replace(read_one, train_rows=leading_rows(read_one, _TRAIN_ROWS))
        yield read_one


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.csv")) if path.is_dir() else [path]


def _is_labelled(path: Path) -> bool:
    if not is_csv(path):
        return False
    with path.open("rb") as file:
        head = file.readline(4096).decode(errors="replace").strip().split(";")
    return head[0] == "datetime" and head[-2:] == ["anomaly", _CHANGE]
