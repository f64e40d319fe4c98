"""Runs many recordings through the agent's step on all cores."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from agent import bundle as agent_bundle
from agent import config as agent_config
from agent.bundle import FixedScaling
from agent.types import Verdict
from training.commands.arguments import comma_separated, natural
from training.judge import fitted, judge
from training.report.terminal import COLUMNS, console
from training.side_by_side import Judged, judge_together, side_by_side

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from agent.bundle import Bundle
    from agent.config import AlertsConfig, DetectionConfig
    from agent.types import BoolArray, Float64Array
    from training.recording import Recording

__all__ = ["Setting", "add_arguments", "judge_all", "setting"]

# Channels beyond which a step no longer gets cheaper for each.
_MOST = 32
# Only where a verdict tells the channels' states apart.
_TOGETHER = hasattr(Verdict, "state")
# Between two looks at how far it is.
_POLL_S = 0.2

_Result = tuple["Float64Array", "Float64Array", "BoolArray"]


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
    config = agent_config.load(options.config) if options.config else agent_config.Config()
    bundles = tuple(map(Path, options.bundle)) or (agent_bundle.builtin_directory(),)
    return Setting(bundles, config.detection, config.alerts, options.processes or os.cpu_count() or 1)


def judge_all(recordings: Sequence[Recording], directory: Path, how: Setting) -> list[Judged]:
    """Judge every row of every recording by what was learned from its rows before; a bar tells how far it is.

    Recordings of one channel are judged side by side where the bundle is a universal one. The processes are started
    anew: a script that calls this needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    recordings
        In memory, all of them.
    directory
        The bundle's; one of ``how.bundles`` or another.
    how
        The rest.

    Raises
    ------
    UserError
        The bundle is not sound or was made for other channels.
    """
    bundle = agent_bundle.load(directory)  # errors are told before any process starts
    recordings = [fitted(recording, bundle) for recording in recordings]
    universal = not isinstance(bundle.manifest.scaling, FixedScaling)
    most = min(_MOST, -(-len(recordings) // how.processes)) if universal and _TOGETHER else 1
    groups = sorted(side_by_side(recordings, most), key=lambda group: -_cost([recordings[i] for i in group]))
    judged: dict[int, Judged] = {}
    context = multiprocessing.get_context("spawn")
    done: Any = context.SimpleQueue()
    with (
        Progress(*COLUMNS, console=console(), transient=True) as progress,
        ProcessPoolExecutor(min(how.processes, len(groups)), context, _start, (done, directory)) as pool,
    ):
        bar = progress.add_task(f"rows by {bundle.label}", total=sum(recording.rows for recording in recordings))
        tasks = {
            pool.submit(_judge, [recordings[i] for i in group], how.detection, how.alerts): group for group in groups
        }
        waiting = set(tasks)
        while waiting:
            finished, waiting = wait(waiting, _POLL_S, FIRST_EXCEPTION)
            while not done.empty():
                progress.advance(bar, done.get())
            for task in finished:
                for index, result in zip(tasks[task], task.result(), strict=True):
                    judged[index] = Judged(recordings[index], *result)
    return [judged[index] for index in range(len(recordings))]


def _cost(recordings: Sequence[Recording]) -> float:
    """Time it takes, in steps of one channel: the longest is begun first."""
    channels = sum(len(recording.channels) for recording in recordings)
    return max(recording.rows for recording in recordings) * (1.0 + 0.15 * channels)


class _Worker:
    """What each process keeps between two tasks."""

    done: Any
    bundle: Bundle


def _start(done: Any, directory: Path) -> None:
    _Worker.done = done
    _Worker.bundle = agent_bundle.load(directory)


def _judge(recordings: list[Recording], detection: DetectionConfig, alerts: AlertsConfig) -> list[_Result]:
    advance = _Worker.done.put
    if len(recordings) > 1:
        together = judge_together(recordings, _Worker.bundle, detection, alerts, advance=advance)
        return [(each.score, each.state_score, each.flagged) for each in together]
    outcome = judge(recordings[0], _Worker.bundle, detection, alerts, first=0, advance=advance)
    return [(outcome.score, outcome.state_score, outcome.flagged)]
