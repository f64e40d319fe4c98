"""UCR Anomaly Archive: share of the series whose highest score after the training part lies in the anomaly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tools.benchmark.accuracy import runner
from tools.benchmark.results import Entry, Results, mean_of
from training.data.readers.options import ReadOptions
from training.data.readers.registry import read
from training.evaluation.baselines import linear_residual, range_novelty, step_novelty
from training.evaluation.metrics.events import intervals
from training.evaluation.metrics.ranking import highest_inside

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from agent.core.arrays import Float64Array
    from training.data.recording import Recording

__all__ = ["add_arguments", "by_chance", "hits", "run"]

_FIGURE = "accuracy %"
# Published accuracy in percent, of all 250 series of the archive.
_PUBLISHED = {
    "fifth place of the KDD Cup 2021": 83.6,
    "matrix profile": 52.8,
    "convolutional autoencoder": 29.2,
    "isolation forest": 23.6,
}
# Rows beside the anomaly that count as found, at least; the archive's own rule.
_SLACK_ROWS = 100
_CAPTION = (
    "Share of the series whose highest score after the training part lies in the anomaly, plus or minus its length or "
    "at least 100 rows. Ours and the rules see each row once, in order. Published figures are of all 250 series."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)


def run(options: argparse.Namespace) -> Results:
    """Score the agent and all comparisons on all series."""
    how = runner.setting(options)
    recordings = list(read([options.data], ReadOptions(format="ucr")))
    found: dict[str, list[list[bool]]] = {"state head": [], "alert head": []}
    for bundle in how.bundles:
        judged = runner.judge_all(recordings, bundle, how)
        found["state head"].append(hits(recordings, [each.state_score for each in judged]))
        found["alert head"].append(hits(recordings, [each.score for each in judged]))
    entries = [mean_of(name, "ours", [_accuracy(draw) for draw in draws]) for name, draws in found.items()]
    rules: dict[str, Callable[[Recording], Float64Array]] = {
        "residual of a linear forecast, 64 lags": lambda one: linear_residual(_values(one), one.train_rows or 0),
        "range novelty of steps": lambda one: step_novelty(_values(one)),
        "range novelty of values and 24-row means": lambda one: range_novelty(_values(one)),
    }
    for name, rule in rules.items():
        found[name] = [hits(recordings, list(map(rule, recordings)))]
        entries.append(Entry(name, "no model", _accuracy(found[name][0])))
    entries.append(Entry("random scores", "blind", {_FIGURE: 100.0 * float(np.mean(list(map(by_chance, recordings))))}))
    entries += [Entry(name, "published", {_FIGURE: figure}) for name, figure in _PUBLISHED.items()]
    series = {
        name: {one.name: {"hit": hit} for one, hit in zip(recordings, draws[0], strict=True)}
        for name, draws in found.items()
    }
    title = f"UCR Anomaly Archive, {len(recordings)} series, {sum(one.rows for one in recordings):,} rows"
    return Results(title, {_FIGURE: 1}, tuple(entries), series, _CAPTION)


def hits(recordings: Sequence[Recording], scores: Sequence[Float64Array]) -> list[bool]:
    """Whether the highest score after the training part lies in or near the anomaly, for each series."""
    return [
        bool(highest_inside(np.asarray(one.labels)[one.train_rows :], score[one.train_rows :]))
        for one, score in zip(recordings, scores, strict=True)
    ]


def by_chance(recording: Recording) -> float:
    """Probability that a random row after the training part is a hit."""
    begin, end = intervals(np.asarray(recording.labels))[0].tolist()
    train = recording.train_rows or 0
    slack = max(_SLACK_ROWS, end - begin)
    near = min(end + slack, recording.rows) - max(begin - slack, train)
    return float(near / (recording.rows - train))


def _values(recording: Recording) -> Float64Array:
    return recording.values[:, 0].astype(np.float64)


def _accuracy(found: Sequence[bool]) -> dict[str, float]:
    return {_FIGURE: 100.0 * float(np.mean(found))}
