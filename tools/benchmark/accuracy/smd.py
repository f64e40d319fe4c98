"""Server Machine Dataset by the protocol of TSB-AD-M, 13 machines: mean VUS-PR.

The test half of each machine is scored; a prefix of it may be used for training, free of anomalies for all but one
machine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA

from agent.core.errors import UserError
from agent.detection.fitted import FittedDetector
from agent.detection.universal import UniversalDetector
from tools.benchmark.accuracy import runner
from tools.benchmark.results import Entry, Results, mean_of
from training.data.readers.options import ReadOptions
from training.data.readers.registry import read
from training.evaluation.baselines import frozen_z
from training.evaluation.metrics.tsb import period, vus_pr
from training.optional_imports import importing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from agent.core.arrays import Float64Array
    from tools.benchmark.results import DetectorKind
    from training.data.recording import Recording

__all__ = ["add_arguments", "auc_each", "principal_components", "read_machines", "run"]

_FIGURE = "VUS-PR"
_RANDOM = "random scores"
#: By machine, from TSB-AD-M: leading rows of the test half that are left out, and rows of the training prefix.
_MACHINES = {
    "machine-1-2": (0, 4529),
    "machine-1-3": (2500, 2272),
    "machine-1-4": (2500, 3026),
    "machine-1-5": (0, 5926),
    "machine-1-7": (0, 737),
    "machine-2-1": (0, 5923),
    "machine-2-2": (0, 5925),
    "machine-2-3": (0, 757),
    "machine-2-7": (0, 564),
    "machine-2-8": (0, 5925),
    "machine-3-2": (1000, 1980),
    "machine-3-4": (0, 2634),
    "machine-3-10": (0, 500),
}
# VUS-PR, means over these machines of the published results (github.com/TheDatumOrg/TSB-AD).
_PUBLISHED = {
    "PCA": 0.397,
    "CNN": 0.376,
    "extended isolation forest": 0.348,
    "LSTM-AD": 0.325,
    "k-means": 0.324,
    "TranAD": 0.320,
    "nearest neighbours": 0.305,
    "one-class SVM": 0.289,
    "isolation forest": 0.279,
    "autoencoder": 0.267,
    "OmniAnomaly": 0.189,
    "USAD": 0.167,
    "anomaly transformer": 0.071,
}
# Share of the variance that the principal axes explain, as in TSB-AD's PCA.
_COMPONENTS = 0.25
# Draws of random scores, chosen by hand.
_DRAWS = 5
_CAPTION = (
    "Mean over the machines of the volume under the surface of precision, recall and width, with widths up to the "
    "period of a machine's first channel. Ours see each row once, in order; PCA and most published detectors see the "
    "whole series before scoring. Published figures are means over the same machines."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)
    parser.add_argument(
        "--joint", type=Path, metavar="DIR", help="also judge with a folder of fitted bundles, named as the machines"
    )
    parser.add_argument("--fit", action="store_true", help="train missing bundles on the machines' prefixes")


def run(options: argparse.Namespace) -> Results:
    """Score the agent and all comparisons on all machines."""
    if options.fit and options.joint is None:
        raise UserError("needs a folder for the bundles", location="--fit", remedy="name it with --joint")
    how = runner.setting(options)
    machines = read_machines(options.data)
    if options.fit:
        _fit(machines, options.joint)
    series: dict[str, list[list[float]]] = {"state head": [], "alert head": []}
    kinds: dict[str, DetectorKind] = {_RANDOM: "blind"}
    state: list[Float64Array] = []
    for bundle in how.bundles:
        judged = runner.judge_all(machines, bundle, how)
        state = [each.state_score for each in judged]
        series["state head"].append(auc_each(machines, state))
        series["alert head"].append(auc_each(machines, [each.score for each in judged]))
    if options.joint is not None:
        joint = runner.judge_each(machines, [options.joint / machine.name for machine in machines], how)
        trained = [each.state_score for each in joint]
        share = UniversalDetector.weight / (UniversalDetector.weight + FittedDetector.weight)
        both = [one**share * other ** (1.0 - share) for one, other in zip(state, trained, strict=True)]
        series["state head, trained on the prefix"] = [auc_each(machines, trained)]
        series["state head, geometric mean of both"] = [auc_each(machines, both)]
    no_model: dict[str, Callable[[Recording], Float64Array]] = {
        "mean absolute z by the prefix": _z,
        "PCA, of the whole series": principal_components,
    }
    for name, rule in no_model.items():
        series[name] = [auc_each(machines, list(map(rule, machines)))]
        kinds[name] = "no model"
    rng = np.random.default_rng(0)
    series[_RANDOM] = [auc_each(machines, [rng.random(one.rows) for one in machines]) for _ in range(_DRAWS)]
    entries = [
        mean_of(name, kinds.get(name, "ours"), [{_FIGURE: float(np.mean(draw))} for draw in draws])
        for name, draws in series.items()
    ]
    entries += [Entry(name, "published", {_FIGURE: figure}) for name, figure in _PUBLISHED.items()]
    by_machine = {
        name: {machine.name: {_FIGURE: figure} for machine, figure in zip(machines, draws[0], strict=True)}
        for name, draws in series.items()
    }
    title = f"Server Machine Dataset, {len(machines)} machines as in TSB-AD-M"
    return Results(title, {_FIGURE: 3}, tuple(entries), by_machine, _CAPTION)


def read_machines(folder: Path) -> list[Recording]:
    """Read the evaluated part of each machine.

    Raises
    ------
    UserError
        A machine is missing.
    """
    whole = {recording.name: recording for recording in read([folder], ReadOptions(format="smd"))}
    missing = [name for name in _MACHINES if name not in whole]
    if missing:
        raise UserError(
            f"{missing[0]} is missing", location=str(folder), remedy="download the whole Server Machine Dataset"
        )
    return [_evaluated(whole[name], *rows) for name, rows in _MACHINES.items()]


def _evaluated(whole: Recording, left_out: int, prefix: int) -> Recording:
    begin = (whole.train_rows or 0) + left_out
    return replace(
        whole,
        time=whole.time[begin:] - whole.time[begin],
        values=whole.values[begin:],
        labels=None if whole.labels is None else whole.labels[begin:],
        train_rows=prefix,
    )


def auc_each(machines: Sequence[Recording], scores: Sequence[Float64Array]) -> list[float]:
    """VUS-PR of the scores of each machine."""
    return [
        vus_pr(np.asarray(machine.labels), score, period(machine.values[:, 0].astype(np.float64)))
        for machine, score in zip(machines, scores, strict=True)
    ]


def _z(machine: Recording) -> Float64Array:
    mean: Float64Array = frozen_z(machine.values, machine.train_rows or 0).mean(axis=1)
    return mean


def principal_components(machine: Recording) -> Float64Array:
    """Score rows as TSB-AD's PCA: distances from the first axes, each divided by its share of the variance.

    The axes are computed on the whole standardised series and explain a quarter of its variance.

    Returns
    -------
    float64[rows]
    """
    values = machine.values.astype(np.float64)
    deviation = values.std(axis=0)
    standard = ((values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0))[:, deviation > 0]
    axes = PCA(n_components=_COMPONENTS, svd_solver="full").fit(standard)
    distance = np.linalg.norm(standard[:, None] - axes.components_[None], axis=2)
    score: Float64Array = (distance / axes.explained_variance_ratio_).sum(axis=1)
    return score


def _fit(machines: Sequence[Recording], folder: Path) -> None:
    """Train the missing bundles on the machines' prefixes."""
    with importing("training"):
        from training.recipes import fit  # noqa: PLC0415 - TensorFlow takes seconds to import
        from training.recipes.fit_options import FitOptions  # noqa: PLC0415 - with it
    for machine in machines:
        if (folder / machine.name).is_dir():
            continue
        print(f"training on the first {machine.train_rows:,} rows of {machine.name}", flush=True)
        prefix = slice(machine.train_rows)
        part = replace(machine, time=machine.time[prefix], values=machine.values[prefix], labels=None, train_rows=None)
        # One of the 13 models fails the comparison with Keras as int8, on its most extreme rows.
        fit.fit([part], FitOptions(form="float16"), folder / machine.name, name=machine.name, progress=_Quiet())


class _Quiet:
    """Progress that is not shown."""

    def stage(self, name: str, total: int) -> Callable[[int, str], None]:
        """See `training.recipes.fit.Progress`."""
        del name, total
        return lambda _done, _remark: None
