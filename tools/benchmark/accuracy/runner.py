"""Run many recordings through the agent's step on all cores."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from agent.config import loader
from agent.config.schema import Config
from agent.models import loader as agent_bundle
from agent.models.manifest import FixedScaling
from tools.benchmark.all_cores import on_all_cores
from training.commands.arguments import comma_separated, natural
from training.evaluation.batched_run import Judged, judge_together, side_by_side
from training.evaluation.run import fitted, judge

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from agent.alerting.settings import AlertsConfig
    from agent.core.arrays import BoolArray, Float64Array
    from agent.detection.settings import DetectionConfig
    from agent.models.bundle import Bundle
    from training.data.recording import Recording

__all__ = ["Setting", "add_arguments", "judge_all", "judge_each", "loaded", "setting"]

# Recordings that share a step; with more, the time a channel no longer falls. Chosen by hand.
_MOST = 32

_Result = tuple["Float64Array", "Float64Array", "BoolArray"]
_Within: TypeAlias = "Callable[[], AbstractContextManager[None]]"


@dataclass(frozen=True)
class Setting:
    """Models and settings of a benchmark run.

    Parameters
    ----------
    bundles
        Bundle folders, at least one; several hold the same networks trained from other seeds.
    detection, alerts
        Sections of the configuration.
    processes
        Parallel processes.
    """

    bundles: tuple[Path, ...]
    detection: DetectionConfig
    alerts: AlertsConfig
    processes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of all benchmarks on recordings."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--bundle", type=comma_separated, default=(), metavar="DIR,DIR",
        help="models (default: the shipped ones); for several, mean and standard deviation are reported",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="agent configuration; detection and alerts are used"
    )
    parser.add_argument("--processes", type=natural, metavar="N", help="parallel processes (default: one a core)")


def setting(options: argparse.Namespace) -> Setting:
    """Load the configuration and bundles named by the options.

    Raises
    ------
    UserError
        The configuration is invalid.
    """
    config = loader.load(options.config) if options.config else Config()
    bundles = tuple(map(Path, options.bundle)) or (agent_bundle.builtin_directory(),)
    return Setting(bundles, config.detection, config.alerts, options.processes or os.cpu_count() or 1)


def judge_all(
    recordings: Sequence[Recording], directory: Path, how: Setting, within: _Within = nullcontext
) -> list[Judged]:
    """Judge all recordings with one bundle; see `judge_each`."""
    return judge_each(recordings, [directory] * len(recordings), how, within)


def judge_each(
    recordings: Sequence[Recording], directories: Sequence[Path], how: Setting, within: _Within = nullcontext
) -> list[Judged]:
    """Judge every row of every recording, learning only from earlier rows; shows a progress bar.

    With a universal bundle, recordings of one channel run together as channels of one node. A calling script needs
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    recordings
        Recordings in memory.
    directories
        Bundle folder of each recording.
    how
        Settings, without the bundles.
    within
        Module-level function that gives a context manager, entered in each worker process.

    Raises
    ------
    UserError
        A bundle is damaged or was made for other channels.
    """
    # Load here first, so that errors appear before any process starts.
    bundles = {directory: agent_bundle.load(directory) for directory in dict.fromkeys(directories)}
    recordings = [fitted(one, bundles[where]) for one, where in zip(recordings, directories, strict=True)]
    groups = []
    for directory, bundle in bundles.items():
        ours = [index for index, where in enumerate(directories) if where == directory]
        universal = not isinstance(bundle.manifest.scaling, FixedScaling)
        most = min(_MOST, -(-len(ours) // how.processes)) if universal else 1
        groups += [[ours[i] for i in group] for group in side_by_side([recordings[i] for i in ours], most)]
    groups.sort(key=lambda group: -_cost([recordings[i] for i in group]))
    pieces = [
        ([recordings[i] for i in group], directories[group[0]], how.detection, how.alerts, within) for group in groups
    ]
    title = f"rows by {bundles[directories[0]].label}{' and others' * (len(bundles) > 1)}"
    rows = sum(recording.rows for recording in recordings)
    results = on_all_cores(_judge, pieces, rows=rows, title=title, processes=how.processes)
    judged = {
        index: Judged(recordings[index], *result)
        for group, found in zip(groups, results, strict=True)
        for index, result in zip(group, found, strict=True)
    }
    return [judged[index] for index in range(len(recordings))]


def _cost(recordings: Sequence[Recording]) -> float:
    """Estimated run time in steps of one channel, for starting the longest group first."""
    channels = sum(len(recording.channels) for recording in recordings)
    return max(recording.rows for recording in recordings) * (1.0 + 0.15 * channels)


@lru_cache(maxsize=1)
def loaded(directory: Path) -> Bundle:
    """Load a bundle, cached for the next task of this process."""
    return agent_bundle.load(directory)


def _judge(
    recordings: list[Recording],
    directory: Path,
    detection: DetectionConfig,
    alerts: AlertsConfig,
    within: _Within,
    *,
    advance: Callable[[int], object],
) -> list[_Result]:
    bundle = loaded(directory)
    with within():
        if len(recordings) > 1:
            together = judge_together(recordings, bundle, detection, alerts, advance=advance)
            return [(each.score, each.state_score, each.flagged) for each in together]
        outcome = judge(recordings[0], bundle, detection, alerts, first=0, advance=advance)
        return [(outcome.score, outcome.state_score, outcome.flagged)]
