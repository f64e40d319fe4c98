"""Skoltech Anomaly Benchmark, both valves: F1, false and missed alarms over the rows of all files together.

The first 400 rows of a file are normal. The agent learns from the first 100 of them without alarms; its state score on
the other 300 sets the threshold, by the same rule for all files.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.core.errors import UserError
from tools.benchmark.accuracy import runner
from tools.benchmark.results import Entry, Results, mean_of
from training.data.readers.options import ReadOptions
from training.data.readers.registry import read
from training.evaluation.baselines import frozen_z
from training.evaluation.metrics.points import count_points

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from agent.core.arrays import BoolArray, Float64Array
    from training.data.recording import Recording
    from training.evaluation.metrics.points import Points

__all__ = ["add_arguments", "count_each", "figures_of", "flags", "run", "running_mean"]

_PARTS = ("valve1", "valve2")
# Rows without alarms, a quarter of a file's normal rows; chosen by hand.
_LEARNING_ROWS = 100
# Rule for the state score: a mean over `STATE_ROWS` is flagged above `STATE_FACTOR` times its quantile over the normal
# rows. Chosen by hand, the same for all files.
STATE_ROWS = 30
STATE_QUANTILE = 0.99
STATE_FACTOR = 1.1
# Same rule for the mean absolute z without a model.
_Z_ROWS = 30
_Z_QUANTILE = 1.0
_Z_FACTOR = 1.0
_COLUMNS = {"F1": 2, "false alarms %": 1, "missed alarms %": 1}
# F1, false and missed alarms in percent, from the set's leaderboard.
_PUBLISHED = {
    "convolutional autoencoder": (0.78, 13.6, 28.0),
    "T² + Q": (0.76, 26.6, 24.9),
    "LSTM autoencoder": (0.74, 30.0, 25.9),
    "vanilla LSTM": (0.54, None, None),
    "isolation forest": (0.29, None, None),
}
_CAPTION = (
    "Over all rows of all files together, including the first 400 of each. False alarms are flagged normal rows, "
    "missed alarms are anomalous rows without a flag. One rule sets the threshold from the first 400 rows of each "
    "file. Published figures are from the set's leaderboard, which may include more files."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)


def run(options: argparse.Namespace) -> Results:
    """Score the agent and all comparisons on all files."""
    how = runner.setting(options)
    folders = [options.data / part for part in _PARTS]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise UserError("no such folder", location=str(missing[0]), remedy="name the benchmark's folder data")
    recordings = [
        replace(one, name=f"{folder.name}/{one.name}") for folder in folders
        for one in read([folder], ReadOptions(format="skab"))
    ]  # fmt: skip
    # A file has only 400 normal rows, so the default learning time is too long.
    learning_s = min(how.alerts.learning_s, _LEARNING_ROWS * recordings[0].interval_s)
    how = replace(how, alerts=msgspec.structs.replace(how.alerts, learning_s=learning_s))
    draws: dict[str, list[list[Points]]] = {"state head": [], "alert head, as flagged": []}
    for bundle in how.bundles:
        judged = runner.judge_all(recordings, bundle, how)
        state = [
            flags(
                np.where(_read(one), each.state_score, np.nan),
                one.train_rows or 0,
                STATE_ROWS,
                STATE_QUANTILE,
                STATE_FACTOR,
            )
            for one, each in zip(recordings, judged, strict=True)
        ]
        draws["state head"].append(count_each(recordings, state))
        draws["alert head, as flagged"].append(count_each(recordings, [each.flagged for each in judged]))
    entries = [mean_of(name, "ours", [figures_of(points) for points in each]) for name, each in draws.items()]
    draws["z"] = [count_each(recordings, list(map(_z_flags, recordings)))]
    entries += [
        Entry("z of 30-s means by the first 400 rows", "no model", figures_of(draws["z"][0])),
        Entry(
            "every row", "blind", figures_of(count_each(recordings, [np.ones(one.rows, bool) for one in recordings]))
        ),
        *(Entry(name, "published", dict(zip(_COLUMNS, figures, strict=True))) for name, figures in _PUBLISHED.items()),
    ]
    series = {
        name: {one.name: figures_of([points]) for one, points in zip(recordings, each[0], strict=True)}
        for name, each in draws.items()
    }
    title = f"Skoltech Anomaly Benchmark, {' and '.join(_PARTS)}, {len(recordings)} files"
    return Results(title, _COLUMNS, tuple(entries), series, _CAPTION)


def flags(score: Float64Array, first: int, rows: int, quantile: float, factor: float) -> BoolArray:
    """Flag rows whose running mean exceeds a threshold from the normal rows.

    Parameters
    ----------
    score
        float64[rows], ≥ 0, NaN where a reading is missing; rows before the first score above 0 are ignored.
    first
        Number of normal rows at the begin.
    rows
        Rows of the running mean.
    quantile, factor
        The threshold is ``factor`` times the ``quantile`` of the running mean over the normal rows.
    """
    mean = running_mean(score, rows)
    started = np.maximum.accumulate(np.nan_to_num(score)) > 0.0
    learned = mean[:first][started[:first]]
    threshold = factor * float(np.quantile(learned, quantile)) if learned.size else np.inf
    return np.logical_and(started, mean > threshold)


def running_mean(values: Float64Array, rows: int) -> Float64Array:
    """Mean of the last ``rows`` rows at each row; of fewer at the begin.

    Parameters
    ----------
    values
        float64[n] or float64[n, n_channels]; NaN is ignored.

    Returns
    -------
    Array of the same shape; 0 where all values are missing.

    Examples
    --------
    >>> running_mean(np.array([1.0, 3.0, np.nan, 5.0]), 2).tolist()
    [1.0, 2.0, 3.0, 5.0]
    """
    present = np.isfinite(values)
    total, count = (
        np.cumsum(np.concatenate((np.zeros((rows, *values.shape[1:])), each)), axis=0)
        for each in (np.where(present, values, 0.0), present)
    )
    mean: Float64Array = (total[rows:] - total[:-rows]) / np.maximum(count[rows:] - count[:-rows], 1.0)
    return mean


def _z_flags(one: Recording) -> BoolArray:
    first = one.train_rows or 0
    means = running_mean(one.values.astype(np.float64), _Z_ROWS).astype(np.float32)
    score = frozen_z(means, first).mean(axis=1)
    return flags(score, first, 1, _Z_QUANTILE, _Z_FACTOR)


def count_each(recordings: Sequence[Recording], flagged: Sequence[BoolArray]) -> list[Points]:
    """Count the correct and wrong rows of each file; rows without a reading do not count."""
    return [
        count_points(np.asarray(one.labels)[_read(one)], each[_read(one)])
        for one, each in zip(recordings, flagged, strict=True)
    ]


def _read(one: Recording) -> BoolArray:
    """Rows with at least one reading, bool[rows]."""
    there: BoolArray = np.isfinite(one.values).sum(axis=1) > 0
    return there


def figures_of(points: Sequence[Points]) -> dict[str, float]:
    """F1, false and missed alarms of all rows together."""
    names = ("true_positive", "false_positive", "true_negative", "false_negative")
    right, false, quiet, missed = (sum(getattr(each, name) for each in points) for name in names)
    return dict(
        zip(
            _COLUMNS,
            (2 * right / max(2 * right + false + missed, 1), 100 * false / max(false + quiet, 1),
             100 * missed / max(missed + right, 1)),
            strict=True,
        )
    )  # fmt: skip
