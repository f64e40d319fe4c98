"""AIOps challenge 2018, 29 KPIs: share of the events found at one false alarm a day and series.

A KPI is an ``.npz`` file with ``train``, ``test``, ``train_timestamp``, ``test_timestamp``, ``train_label`` and
``test_label``, one row a sampling interval. Only the test part is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.core.channel import Channel
from agent.core.errors import UserError
from tools.benchmark.accuracy import runner
from tools.benchmark.results import Results, mean_of
from training.data.readers.arrays import load_npz
from training.data.recording import Recording
from training.evaluation.baselines import relative_size
from training.evaluation.metrics.events import Tally, tally

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from agent.core.arrays import Float64Array
    from tools.benchmark.results import DetectorKind

__all__ = ["Found", "above", "add_arguments", "at_rate", "read_recordings", "run"]

_ARRAYS = ("train", "test", "train_label", "test_label", "train_timestamp", "test_timestamp")
#: Allowed false alarms a day and series, chosen by hand.
ALLOWED_A_DAY = 1.0
# Seconds of a slot: flagged normal rows in one slot are one false alarm. Chosen by hand.
_SLOT_S = 1800.0
_DAY_S = 86400.0
# Draws of random scores, chosen by hand.
_DRAWS = 3
_COLUMNS = {"events found %": 1, "false a day": 2, "median delay min": 0}
_AS_FLAGGED = "alert head, as flagged"
_CAPTION = (
    "Share of the test parts' labelled events with a flagged row, at the lowest common threshold that gives at most "
    "one false alarm a day and series on average. Each half hour with a flagged normal row is a false alarm. As "
    "flagged: at the limits learned by the agent."
)


@dataclass(frozen=True)
class Found:
    """Result of a threshold over the test parts of all series.

    Parameters
    ----------
    threshold
        Rows with a higher score are flagged.
    events
        Number of labelled events.
    delays_s
        Seconds from the begin of each found event to its first flagged row.
    false_a_day
        False alarms a day and series.
    """

    threshold: float
    events: int
    delays_s: tuple[float, ...]
    false_a_day: float

    def figures(self) -> dict[str, float]:
        """Figures for the table."""
        delay = float(np.median(self.delays_s)) / 60.0 if self.delays_s else np.nan
        share = 100.0 * len(self.delays_s) / max(self.events, 1)
        return dict(zip(_COLUMNS, (share, self.false_a_day, delay), strict=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)


def run(options: argparse.Namespace) -> Results:
    """Score the agent and all comparisons on all series."""
    how = runner.setting(options)
    recordings = read_recordings(options.data)
    draws: dict[str, list[Found]] = {"alert head": [], "state head": [], _AS_FLAGGED: []}
    kinds: dict[str, DetectorKind] = {}
    for bundle in how.bundles:
        judged = runner.judge_all(recordings, bundle, how)
        draws["alert head"].append(at_rate(recordings, [each.score for each in judged]))
        draws["state head"].append(at_rate(recordings, [each.state_score for each in judged]))
        draws[_AS_FLAGGED].append(above(recordings, [each.flagged.astype(np.float64) for each in judged], 0.5))
    name = "step over its usual size"
    draws[name], kinds[name] = [at_rate(recordings, _steps(recordings))], "no model"
    rng = np.random.default_rng(0)
    name = "random scores"
    draws[name] = [at_rate(recordings, [rng.random(one.rows) for one in recordings]) for _ in range(_DRAWS)]
    kinds[name] = "blind"
    entries = [
        mean_of(name, kinds.get(name, "ours"), [found.figures() for found in each]) for name, each in draws.items()
    ]
    events, rows = draws[name][0].events, sum(one.rows for one in recordings)
    title = f"AIOps challenge, {len(recordings)} KPIs, {rows:,} rows, {events:,} events to find"
    return Results(title, _COLUMNS, tuple(entries), caption=_CAPTION)


def at_rate(recordings: Sequence[Recording], scores: Sequence[Float64Array]) -> Found:
    """Find the lowest threshold with at most `ALLOWED_A_DAY` false alarms, and give its result.

    Parameters
    ----------
    recordings
        Labelled recordings; only rows after the training part count.
    scores
        Finite anomaly scores of each recording, float64[rows].
    """
    highest = np.concatenate([_false(one, score) for one, score in zip(recordings, scores, strict=True)])
    allowed = int(ALLOWED_A_DAY * _days(recordings))
    lowest = float(np.min(highest)) - 1.0
    return above(recordings, scores, float(-np.sort(-highest)[allowed]) if allowed < highest.size else lowest)


def above(recordings: Sequence[Recording], scores: Sequence[Float64Array], threshold: float) -> Found:
    """Give the result of a threshold; see `at_rate`."""
    false = sum(
        int(np.count_nonzero(_false(one, score) > threshold)) for one, score in zip(recordings, scores, strict=True)
    )
    tallies = (
        tally(np.asarray(one.labels)[one.train_rows :], score[one.train_rows :] > threshold, one.interval_s, 1)
        for one, score in zip(recordings, scores, strict=True)
    )
    total = sum(tallies, Tally())
    return Found(threshold, total.true, total.delays_s, false / _days(recordings))


def _days(recordings: Sequence[Recording]) -> float:
    return sum((one.rows - (one.train_rows or 0)) * one.interval_s for one in recordings) / _DAY_S


def _false(one: Recording, score: Float64Array) -> Float64Array:
    """Highest score of a normal row in each slot of the test part, float64[slots]."""
    normal = np.where(np.asarray(one.labels), -np.inf, score)[one.train_rows :]
    rows = max(1, round(_SLOT_S / one.interval_s))
    slots = np.full(-(-len(normal) // rows) * rows, -np.inf)
    slots[: len(normal)] = normal
    slots = slots.reshape(-1, rows).max(axis=1)
    highest: Float64Array = slots[np.isfinite(slots)]
    return highest


def _steps(recordings: Sequence[Recording]) -> list[Float64Array]:
    """Size of each step relative to the usual size of earlier steps, for each series."""
    longest = max(one.rows for one in recordings)
    steps = np.full((longest, len(recordings)), np.nan, np.float32)
    for column, one in enumerate(recordings):
        steps[1 : one.rows, column] = np.diff(one.values[:, 0])
    relative = np.nan_to_num(relative_size(steps))
    return [relative[: one.rows, column] for column, one in enumerate(recordings)]


def read_recordings(folder: Path) -> list[Recording]:
    """Read all KPIs of a folder, with their labels.

    Raises
    ------
    UserError
        There is none, or one has inconsistent arrays or times.
    """
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UserError(
            "contains no .npz file", location=str(folder), remedy="name the folder with one .npz file a KPI"
        )
    return [_recording(file) for file in files]


def _recording(file: Path) -> Recording:
    train, test, train_label, test_label, train_time, test_time = load_npz(file, _ARRAYS)
    time = np.concatenate((train_time, test_time)).astype(np.float64)
    labels = np.concatenate((train_label, test_label)) != 0
    values = np.concatenate((train, test)).astype(np.float32).reshape(-1, 1)
    if not len(time) == len(labels) == len(values) or len(time) < 2:
        raise UserError("values, labels and times differ in number", location=str(file), remedy="create the file again")
    interval_s = float(np.median(np.diff(time)))
    steps = np.diff(time) / interval_s
    if not np.allclose(steps, np.rint(steps), atol=0.01) or steps.min() < 0.5:
        raise UserError(
            "rows are not a whole number of intervals apart", location=str(file), remedy="create the file again"
        )
    return Recording(
        file.stem, (Channel("value"),), interval_s, time, values, labels, train_rows=len(train), timed=True
    )
