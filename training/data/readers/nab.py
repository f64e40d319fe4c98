"""Reader of the Numenta Anomaly Benchmark: CSV files in ``data``, labels in ``labels/combined_windows.json``.

The first 15 % of a series, at most 750 rows, are the probationary period, which is not scored (Lavin and Ahmad 2015).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from training.data import labels
from training.data.readers.csv import CsvTable, is_csv
from training.data.readers.table import leading_rows, recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from training.data.readers.options import ReadOptions
    from training.data.recording import Recording

__all__ = ["read", "recognises"]

_WINDOWS = "labels/combined_windows.json"


def recognises(path: Path) -> bool:
    """Whether the path is the folder of the benchmark, or a folder or CSV file inside its ``data``."""
    return _root(path) is not None and any(map(is_csv, _files(path)))


def read(path: Path, options: ReadOptions) -> Iterator[Recording]:
    """Yield one recording per file, named by its path within ``data``."""
    root = _root(path)
    for file in _files(path):
        name = file.stem if root is None else file.relative_to(root / "data").with_suffix("").as_posix()
        read_one = recording(CsvTable.open(file), options, name)
        if root is not None and options.labels is None:
            read_one = labels.apply(read_one, root / _WINDOWS, whole=options.rows is None)
        readings = int(np.count_nonzero(~np.isnan(read_one.values[:, 0])))
        yield replace(read_one, train_rows=leading_rows(read_one, int(0.15 * min(readings, 5000))))


def _root(path: Path) -> Path | None:
    """Root folder of the benchmark that contains the path, or None."""
    path = _absolute(path)
    candidates = [path] + [at.parent for at in (path, *path.parents) if at.name == "data"]
    return next((at for at in candidates if (at / _WINDOWS).is_file() and (at / "data").is_dir()), None)


def _files(path: Path) -> list[Path]:
    path = _absolute(path)
    if not path.is_dir():
        return [path]
    return sorted(((path / "data") if path == _root(path) else path).rglob("*.csv"))


def _absolute(path: Path) -> Path:
    """Absolute path; a symbolic link to a file keeps its own name."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name
