"""Files of the Numenta Anomaly Benchmark: series and labelled windows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agent.core.channel import Channel
from agent.core.errors import UserError
from training.data.recording import Recording
from training.evaluation.metrics.nab import NabSeries, probation_rows

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.arrays import Float64Array, IntArray

__all__ = ["NabFile", "nab_files"]

_WINDOWS = "labels/combined_windows.json"
# Time differences whose median is the sampling interval, as in `edgewatch replay`.
_DIFFERENCES = 10


@dataclass(frozen=True)
class NabFile:
    """One series of the benchmark.

    Parameters
    ----------
    name
        Path below ``data``, with suffix.
    time
        float64[rows], seconds since 1970; a time stamp may be repeated or go back.
    value
        float64[rows].
    windows
        int64[n, 2], first row and end row (exclusive) of each labelled window.
    """

    name: str
    time: Float64Array
    value: Float64Array
    windows: IntArray

    def scored(self, score: Float64Array) -> NabSeries:
        """Combine scores of the file's rows, float64[rows], with its windows for the benchmark's scorer."""
        return NabSeries(self.name, score, self.windows, probation_rows(len(self.time)))

    @cached_property
    def forward(self) -> IntArray:
        """Rows whose time stamp is later than all before, int64[n]; replay skips the others."""
        latest = np.maximum.accumulate(self.time)
        return np.flatnonzero(np.append(True, self.time[1:] > latest[:-1]))

    def recording(self) -> Recording:
        """Recording of the `forward` rows, with times rounded to ticks of the median interval, as in replay."""
        time = self.time[self.forward]
        interval_s = float(np.median(np.diff(time[: _DIFFERENCES + 1])))
        ticks = np.maximum(1.0, np.rint(np.diff(time) / interval_s))
        steps = interval_s * np.concatenate(([0.0], np.cumsum(ticks)))
        values = self.value[self.forward, None].astype(np.float32)
        return Recording(self.name, (Channel("value"),), interval_s, steps, values, timed=False)

    def on_rows(self, score: Float64Array) -> Float64Array:
        """Map scores of the recording's rows to the file's rows; skipped rows get 0."""
        own = np.zeros(len(self.time))
        own[self.forward] = score
        return own


def nab_files(folder: Path) -> list[NabFile]:
    """Read all series of the benchmark, sorted by name.

    Raises
    ------
    UserError
        The folder does not have the benchmark's layout, or a file cannot be read.
    """
    labels = folder / _WINDOWS
    try:
        windows: dict[str, list[tuple[str, str]]] = json.loads(labels.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"not the Numenta Anomaly Benchmark: {error}",
            location=str(labels),
            remedy="name the checkout of github.com/numenta/NAB with data and labels",
        ) from error
    return [_file(folder / "data" / name, name, windows[name]) for name in sorted(windows)]


def _file(path: Path, name: str, windows: list[tuple[str, str]]) -> NabFile:
    try:
        lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:] if line]
        stamps = np.array([line[0] for line in lines], "datetime64[us]")
        value = np.array([line[1] for line in lines], np.float64)
        limits = np.array(windows, "datetime64[us]").reshape(-1, 2)
    except (OSError, ValueError, IndexError) as error:
        raise UserError(
            f"not a series of the benchmark: {error}", location=str(path), remedy="download the benchmark again"
        ) from error
    rows = [(_row(stamps, begin, path), _row(stamps, end, path) + 1) for begin, end in limits]
    time = stamps.astype(np.int64) / 1e6
    return NabFile(name, time, value, np.array(rows, np.int64).reshape(-1, 2))


def _row(stamps: np.ndarray[tuple[int, ...], np.dtype[np.datetime64]], at: np.datetime64, path: Path) -> int:
    found = np.flatnonzero(stamps == at)
    if not found.size:
        raise UserError(
            f"no row at {at}, where a window begins or ends", location=str(path), remedy="download the benchmark again"
        )
    return int(found[0])
