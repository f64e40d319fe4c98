"""The KPIs of the AIOps challenge 2018, 29 series: share of the events found at one false event a day and series.

A KPI is an ``.npz`` of ``train``, ``test``, ``train_timestamp`` and ``test_timestamp``, ``train_label`` and
``test_label``, a row a sampling interval. What is scored is its test part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import UserError
from agent.types import Channel
from tools.benchmark import judging
from tools.benchmark.results import Results, mean_of
from training.baselines import relative_size
from training.metrics.events import Tally, tally
from training.readers.arrays import load_npz
from training.recording import Recording

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from agent.types import BoolArray, Float64Array
    from tools.benchmark.results import Kind
    from training.metrics.events import Events

__all__ = ["AtRate", "add_arguments", "at_rate", "run"]

_ARRAYS = ("train", "test", "train_label", "test_label", "train_timestamp", "test_timestamp")
#: False events a day and series that are allowed.
ALLOWED_A_DAY = 1.0
# Flagged rows closer than this are one event.
_MERGE_S = 1800.0
# Of all thresholds that could be: enough that the next one is hardly different.
_THRESHOLDS = 100
_DRAWS = 3
_COLUMNS = {"events found %": 1, "false a day": 2, "median delay min": 0}
_AS_FLAGGED = "alert head, as flagged"
_CAPTION = (
    "Share of the labelled events of all series' test parts with a flagged row in them, at the threshold, the same for "
    "all series, that finds most with at most one false event a day and series on average. Flagged rows less than half "
    "an hour apart are one event. As flagged: at the limits that the agent has learned itself."
)


@dataclass(frozen=True)
class AtRate:
    """What the best threshold gives."""

    threshold: float
    events: Events


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's arguments."""
    judging.add_arguments(parser)


def run(options: argparse.Namespace) -> Results:
    """Judge all series, score ours and what to hold it against."""
    how = judging.setting(options)
    recordings = _recordings(options.data)
    draws: dict[str, list[Events]] = {"alert head": [], "state head": [], _AS_FLAGGED: []}
    kinds: dict[str, Kind] = {}
    for bundle in how.bundles:
        judged = judging.judge_all(recordings, bundle, how)
        draws["alert head"].append(at_rate(recordings, [each.score for each in judged]).events)
        draws["state head"].append(at_rate(recordings, [each.state_score for each in judged]).events)
        draws[_AS_FLAGGED].append(_counted(recordings, [each.flagged for each in judged]).events())
    name = "step over its usual size"
    draws[name], kinds[name] = [at_rate(recordings, _steps(recordings)).events], "no model"
    rng = np.random.default_rng(0)
    name = "random scores"
    draws[name] = [at_rate(recordings, [rng.random(one.rows) for one in recordings]).events for _ in range(_DRAWS)]
    kinds[name] = "blind"
    entries = [mean_of(name, kinds.get(name, "ours"), list(map(_figures, each))) for name, each in draws.items()]
    events = sum((_tested(one, np.zeros(one.rows, np.bool_)) for one in recordings), Tally()).true
    title = f"AIOps challenge, {len(recordings)} KPIs, {sum(one.rows for one in recordings):,} rows, {events} events"
    return Results(title, _COLUMNS, tuple(entries), caption=_CAPTION)


def at_rate(recordings: Sequence[Recording], scores: Sequence[Float64Array]) -> AtRate:
    """Find the threshold with most events among those with few enough false ones.

    Parameters
    ----------
    recordings
        Labelled; the rows behind their training part count.
    scores
        float64[rows] each, finite, larger is stranger; rows of a score and above are flagged.
    """
    behind = np.concatenate([score[one.train_rows :] for one, score in zip(recordings, scores, strict=True)])
    shares = np.geomspace(0.5, 1.0 / behind.size, _THRESHOLDS)
    best = AtRate(np.inf, _counted(recordings, [np.zeros(len(score), np.bool_) for score in scores]).events())
    for threshold in np.unique(np.quantile(behind, 1.0 - shares, method="higher"))[::-1].tolist():
        events = _counted(recordings, [score >= threshold for score in scores]).events()
        if (events.false_a_day or 0.0) <= ALLOWED_A_DAY and events.found > best.events.found:
            best = AtRate(threshold, events)
    return best


def _counted(recordings: Sequence[Recording], flagged: Sequence[BoolArray]) -> Tally:
    return sum((_tested(one, each) for one, each in zip(recordings, flagged, strict=True)), Tally())


def _tested(one: Recording, flagged: BoolArray) -> Tally:
    """Count the events of a series' test part."""
    merge_rows = max(1, round(_MERGE_S / one.interval_s))
    return tally(np.asarray(one.labels)[one.train_rows :], flagged[one.train_rows :], one.interval_s, merge_rows)


def _figures(events: Events) -> dict[str, float]:
    share, rate, delay = events.recall or 0.0, events.false_a_day or 0.0, events.delay_median_s
    return dict(zip(_COLUMNS, (100.0 * share, rate, np.nan if delay is None else delay / 60.0), strict=True))


def _steps(recordings: Sequence[Recording]) -> list[Float64Array]:
    """Size of each step over the usual size of steps until then, of all series at once."""
    longest = max(one.rows for one in recordings)
    steps = np.full((longest, len(recordings)), np.nan, np.float32)
    for column, one in enumerate(recordings):
        steps[1 : one.rows, column] = np.diff(one.values[:, 0])
    relative = np.nan_to_num(relative_size(steps))
    return [relative[: one.rows, column] for column, one in enumerate(recordings)]


def _recordings(folder: Path) -> list[Recording]:
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UserError("no .npz in it", place=str(folder), remedy="give the folder that holds the KPIs, a file each")
    return [_recording(file) for file in files]


def _recording(file: Path) -> Recording:
    train, test, train_label, test_label, train_time, test_time = load_npz(file, _ARRAYS)
    time = np.concatenate((train_time, test_time)).astype(np.float64)
    labels = np.concatenate((train_label, test_label)) != 0
    values = np.concatenate((train, test)).astype(np.float32).reshape(-1, 1)
    if not len(time) == len(labels) == len(values) or len(time) < 2:
        raise UserError("values, labels and times differ in number", place=str(file), remedy="get the file again")
    interval_s = float(np.median(np.diff(time)))
    steps = np.diff(time) / interval_s
    if not np.allclose(steps, np.rint(steps), atol=0.01) or steps.min() < 0.5:
        raise UserError("rows are not a whole number of intervals apart", place=str(file), remedy="get the file again")
    return Recording(
        file.stem, (Channel("value"),), interval_s, time, values, labels, train_rows=len(train), timed=True
    )
