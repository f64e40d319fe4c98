"""Numenta Anomaly Benchmark, 58 series: scores of the three profiles with one threshold for all series."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tools.benchmark.accuracy import runner
from tools.benchmark.accuracy.nab_files import nab_files
from tools.benchmark.cost.opens import all_opens
from tools.benchmark.results import Entry, Results, mean_of
from training.evaluation.baselines import range_novelty
from training.evaluation.metrics.nab import PROFILES, NabSweep, split_halves

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent.core.arrays import Float64Array, IntArray
    from tools.benchmark.accuracy.nab_files import NabFile
    from training.evaluation.batched_run import Judged

__all__ = ["add_arguments", "alerts_score", "run", "score_of"]

_NAMES = dict(zip((profile.name for profile in PROFILES), ("standard", "low FP", "low FN"), strict=True))
_BUDGETED = "alerts, one a day"
_OTHER_HALF = ", other half"
# Standard, low FP and low FN, from the benchmark's scoreboard and published score files.
_PUBLISHED = {
    "ARTime": (74.9, 65.1, 80.4),
    "Numenta HTM": (70.5, 62.6, 75.2),
    "CAD OSE": (69.9, 67.0, 73.2),
    "earthgecko Skyline": (58.2, None, None),
    "KNN CAD": (58.0, None, None),
    "relative entropy": (54.6, None, None),
    "random cut forest": (51.7, None, None),
    "Twitter ADVec": (47.1, None, None),
    "windowed Gaussian": (39.6, 20.9, 47.4),
}
# Draws of random scores, chosen by hand.
_DRAWS = 5
_CAPTION = (
    "No detection scores 0, a perfect detector 100. One threshold holds for all series, the best one for the profile. "
    "Other half: the threshold is chosen on a random half of the series, the others are scored; mean over 20 splits, "
    "both ways. Alerts are scored as raised, without choosing a threshold. Most published detectors get the minimum "
    "and maximum of each series in advance."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)


def run(options: argparse.Namespace) -> Results:
    """Score the agent and all comparisons on all series."""
    how = runner.setting(options)
    files = nab_files(options.data)
    recordings = [file.recording() for file in files]
    ours: dict[str, list[dict[str, float]]] = {"alert head": [], "state head": [], "alerts": [], _BUDGETED: []}
    series: dict[str, dict[str, Any]] = {}
    for bundle in how.bundles:
        judged = runner.judge_all(recordings, bundle, how)
        heads = {
            "alert head": [file.on_rows(one.score) for file, one in zip(files, judged, strict=True)],
            "state head": [file.on_rows(one.state_score) for file, one in zip(files, judged, strict=True)],
        }
        for name, scores in heads.items():
            ours[name].append(score_of(files, scores))
        ours["alerts"].append(_of_alerts(files, judged))
        ours[_BUDGETED].append(_of_budget(files, judged, bundle, how))
        series = series or _each(files, heads["alert head"])
    rng = np.random.default_rng(0)
    random = [score_of(files, [rng.random(len(file.time)) for file in files]) for _ in range(_DRAWS)]
    entries = (
        *(mean_of(name, "ours", draws) for name, draws in ours.items()),
        Entry("range novelty of values and 24-row means", "no model", score_of(files, list(map(_novelty, files)))),
        mean_of("random scores", "blind", random),
        Entry("an alert every 5 % of a series", "blind", _every(files, 0.05)),
        *(
            Entry(name, "published", dict(zip(_NAMES.values(), scores, strict=True)))
            for name, scores in _PUBLISHED.items()
        ),
    )
    columns = dict.fromkeys((*_NAMES.values(), *(name + _OTHER_HALF for name in _NAMES.values())), 1)
    title = f"Numenta Anomaly Benchmark, {len(files)} series, {sum(len(file.time) for file in files):,} rows"
    return Results(title, columns, entries, {"alert head": series}, _CAPTION)


def score_of(files: Sequence[NabFile], scores: Sequence[Float64Array]) -> dict[str, float]:
    """NAB score by profile, with the best threshold and with the threshold from the other half of the series.

    Parameters
    ----------
    files
        From `nab_files`.
    scores
        Anomaly scores of each file, float64[rows].
    """
    sweep = NabSweep([file.scored(score) for file, score in zip(files, scores, strict=True)])
    best = {_NAMES[profile.name]: sweep.best(profile).score for profile in PROFILES}
    halves = {_NAMES[profile.name] + _OTHER_HALF: float(np.mean(split_halves(sweep, profile))) for profile in PROFILES}
    return best | halves


def alerts_score(files: Sequence[NabFile], alerts: Mapping[str, IntArray]) -> dict[str, float]:
    """NAB score of alerts by profile, as raised.

    Parameters
    ----------
    files
        From `nab_files`.
    alerts
        Rows of the file in which an alert opens, int64[n], by file name.
    """
    raised = [np.isin(np.arange(len(file.time)), alerts[file.name]).astype(np.float64) for file in files]
    sweep = NabSweep([file.scored(each) for file, each in zip(files, raised, strict=True)])
    return {_NAMES[profile.name]: sweep.at(1.0, profile) for profile in PROFILES}


def _of_alerts(files: Sequence[NabFile], judged: Sequence[Judged]) -> dict[str, float]:
    """NAB score of the rows at which flagging starts."""
    onsets = {file.name: file.forward[one.onsets()] for file, one in zip(files, judged, strict=True)}
    return alerts_score(files, onsets)


def _of_budget(
    files: Sequence[NabFile], judged: Sequence[Judged], bundle: Path, how: runner.Setting
) -> dict[str, float]:
    """NAB score of the incidents sent under a budget of one a day and series."""
    one_a_day = replace(how, alerts=msgspec.structs.replace(how.alerts, budget_per_day=1.0))
    found = all_opens([one.recording for one in judged], bundle, one_a_day)
    return alerts_score(files, {file.name: file.forward[rows] for file, rows in zip(files, found, strict=True)})


def _novelty(file: NabFile) -> Float64Array:
    return range_novelty(file.value)


def _every(files: Sequence[NabFile], share: float) -> dict[str, float]:
    return alerts_score(
        files, {file.name: np.arange(0, len(file.time), max(1, round(share * len(file.time)))) for file in files}
    )


def _each(files: Sequence[NabFile], scores: Sequence[Float64Array]) -> dict[str, dict[str, Any]]:
    """Score, windows, windows found and false rows by series, at the best threshold of the standard profile."""
    sweep = NabSweep([file.scored(score) for file, score in zip(files, scores, strict=True)])
    threshold = sweep.best(PROFILES[0]).threshold
    found: dict[str, dict[str, Any]] = {}
    for index, (file, score) in enumerate(zip(files, scores, strict=True)):
        only = np.arange(len(files)) == index
        detected = (score >= threshold) & (np.arange(len(score)) >= file.scored(score).probation)
        windows = [bool(detected[begin:end].any()) for begin, end in file.windows.tolist()]
        for begin, end in file.windows.tolist():
            detected[begin:end] = False
        found[file.name] = {
            "score": sweep.at(threshold, PROFILES[0], only),
            "windows": len(windows),
            "found": sum(windows),
            "false_rows": int(np.count_nonzero(detected)),
        }
    return found
