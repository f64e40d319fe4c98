"""Runs many recordings through the agent's step on all cores."""

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

# Channels beyond which a step no longer gets cheaper for each.
_MOST = 32

_Result = tuple["Float64Array", "Float64Array", "BoolArray"]
_Within: TypeAlias = "Callable[[], AbstractContextManager[None]]"


@dataclass(frozen=True)
class Setting:
    """What recordings are judged with.

    Parameters
    ----------
    bundles
        Their folders, at least one: several are the same networks retrained.
    detection, alerts
        The config's sections.
    processes
        How many at once.
    """

    bundles: tuple[Path, ...]
    detection: DetectionConfig
    alerts: AlertsConfig
    processes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what all benchmarks on recordings take."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data set's folder")
    parser.add_argument(
        "--bundle", type=comma_separated, default=(), metavar="DIR,DIR",
        help="models (default: those that ship); of several, retrained from other seeds, mean and spread are told",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, metavar="FILE", help="the agent's configuration: detection and alerts")
    parser.add_argument("--processes", type=natural, metavar="N", help="at once (default: one a core)")


def setting(options: argparse.Namespace) -> Setting:
    """Read what the arguments name.

    Raises
    ------
    UserError
        The configuration cannot be used.
    """
    config = loader.load(options.config) if options.config else Config()
    bundles = tuple(map(Path, options.bundle)) or (agent_bundle.builtin_directory(),)
    return Setting(bundles, config.detection, config.alerts, options.processes or os.cpu_count() or 1)


def judge_all(
    recordings: Sequence[Recording], directory: Path, how: Setting, within: _Within = nullcontext
) -> list[Judged]:
    """Judge all recordings with the same bundle; see `judge_each`."""
    return judge_each(recordings, [directory] * len(recordings), how, within)


def judge_each(
    recordings: Sequence[Recording], directories: Sequence[Path], how: Setting, within: _Within = nullcontext
) -> list[Judged]:
    """Judge every row of every recording by what was learned from its rows before; a bar tells how far it is.

    Recordings of one channel are judged side by side where the bundle is a universal one. A script that calls this
    needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    recordings
        In memory, all of them.
    directories
        Of each recording's bundle.
    how
        The rest.
    within
        A function of a module: recordings are judged in the context that it gives, in whatever process.

    Raises
    ------
    UserError
        A bundle is not sound or was made for other channels.
    """
    # Errors are told before any process starts.
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
    """Time it takes, in steps of one channel: the longest is begun first."""
    channels = sum(len(recording.channels) for recording in recordings)
    return max(recording.rows for recording in recordings) * (1.0 + 0.15 * channels)


@lru_cache(maxsize=1)
def loaded(directory: Path) -> Bundle:
    """The bundle that this process uses, kept from one piece of work to the next."""
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
