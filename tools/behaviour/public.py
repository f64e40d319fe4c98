"""Slices of public data sets as input for ``replay``; the repository holds none of their data."""

from __future__ import annotations

import csv
import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tools.behaviour.series import START, Series

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["data_folder", "host_live", "motes", "nab", "skab", "smd"]


def data_folder() -> Path:
    """Default folder of public data: ``EDGEWATCH_DATA``, or ``shared/data`` beside the checkout."""
    return Path(os.environ.get("EDGEWATCH_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def _table(path: Path, delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    return header, rows


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc).timestamp()


def nab(data: Path, name: str, begin: int, rows: int) -> Series:
    """Read rows ``[begin, begin + rows)`` of a file of the Numenta Anomaly Benchmark."""
    _, table = _table(data / "nab" / "data" / name)
    table = table[begin : begin + rows]
    interval_s = _seconds(table[1][0]) - _seconds(table[0][0])
    return Series(["value"], interval_s, [[row[1]] for row in table], _seconds(table[0][0]))


def smd(data: Path, machine: str, begin: int, rows: int, channels: Sequence[int]) -> Series:
    """Read rows ``[begin, begin + rows)`` of the test half of a machine of the Server Machine Dataset."""
    with np.load(data / "smd" / f"{machine}.npz") as arrays:
        values = arrays["test"][begin : begin + rows, list(channels)].astype(np.float64)
    cells = [[f"{value:.6f}" for value in row] for row in values.tolist()]
    return Series([f"m{channel}" for channel in channels], 60.0, cells)


def skab(data: Path, name: str, rows: int) -> Series:
    """Read the first rows of a file of the Skoltech Anomaly Benchmark, without its labels."""
    header, table = _table(data / "skab" / name, ";")
    columns = [index for index, title in enumerate(header) if title not in {"datetime", "anomaly", "changepoint"}]
    cells = [[row[index] for index in columns] for row in table[:rows]]
    return Series([header[index] for index in columns], 1.0, cells, _seconds(table[0][0]))


def host_live(data: Path, rows: int) -> Series:
    """Read the first rows of the recording of a busy host."""
    header, table = _table(data / "host_live" / "busy.csv")
    columns = [index for index, title in enumerate(header) if title not in {"t", "late_ms"}]
    cells = [[row[index] for index in columns] for row in table[:rows]]
    return Series([header[index] for index in columns], 1.0, cells, float(table[0][0]))


def motes(data: Path, rows: int) -> Series:
    """Read humidity and temperature of each wireless mote, the first ``rows`` readings."""
    header, table = _table(data / "lwsndr_single_hop" / "data.csv")
    mote, humidity, temperature = (header.index(name) for name in ("mote_id", "humidity", "temperature"))
    by_mote: dict[str, list[list[str]]] = {}
    for row in table:
        by_mote.setdefault(row[mote], []).append([row[humidity], row[temperature]])
    names = [f"mote{number}.{quantity}" for number in by_mote for quantity in ("humidity", "temperature")]
    empty = ["", ""]
    cells = [
        [cell for readings in by_mote.values() for cell in (readings[row] if row < len(readings) else empty)]
        for row in range(rows)
    ]
    return Series(names, 5.0, cells, START)
