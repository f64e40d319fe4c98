"""Ablation: the benefit of each part of the detector on NAB, and its cost a step.

One part is removed at a time; networks, weights and limits are unchanged. Steps with and without it are timed in turn,
with the default configuration at 1 Hz.
"""

from __future__ import annotations

import contextlib
import statistics
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

from agent.detection import universal
from agent.detection.settings import DetectionConfig
from agent.detection.time_scale import ErrorKind
from tools.benchmark.accuracy import runner
from tools.benchmark.accuracy.nab import score_of
from tools.benchmark.accuracy.nab_files import nab_files
from tools.benchmark.cost.step import agent_step, step_us
from tools.benchmark.results import Entry, Results, mean_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tools.benchmark.accuracy.nab_files import NabFile

__all__ = ["PARTS", "add_arguments", "run", "without"]

#: Parts by name: a kind of error, or a time scale in blocks of the finest.
PARTS: dict[str, ErrorKind | int] = {
    "reconstruction": ErrorKind.RECONSTRUCTION,
    "seasons": ErrorKind.SEASON,
    "level": ErrorKind.LEVEL,
    "scale 12": 12,
    "scale 24": 24,
    "scale 48": 48,
}
_ALL = "everything"
_WITHOUT = "without "
# Channels of a timed step, and rounds whose median is taken; chosen by hand.
_CHANNELS = 10
_ROUNDS = 15
# Blocks a round, a multiple of all scales: every round runs the same inferences.
_BLOCKS = 96
_CAPTION = (
    "NAB score of the alert head without a part, standard profile. Bought: the points lost without it. Cost: the time "
    "saved in a step of ten channels without it, averaged over all scales, at 1 Hz and the default configuration. "
    "Differences below 1.5 points are noise."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)


@contextlib.contextmanager
def without(part: str) -> Iterator[None]:
    """Remove one of `PARTS` from detectors made and used in this context; none if ``part`` is empty."""
    left_out = PARTS[part] if part else None
    kinds_at = universal.kinds_at

    def fewer(block_s: float, *, related: bool = False) -> dict[int, list[ErrorKind]]:
        kinds_of = kinds_at(block_s, related=related)
        return {scale: [kind for kind in kinds if kind is not left_out] for scale, kinds in kinds_of.items()}

    scales = tuple(scale for scale in universal.SCALES if scale != left_out)
    with mock.patch.object(universal, "kinds_at", fewer), mock.patch.object(universal, "SCALES", scales):
        yield


def run(options: argparse.Namespace) -> Results:
    """Time steps, then score all series, with all parts and without each."""
    how = runner.setting(options)
    files = nab_files(options.data)
    cost = _costs(("", *PARTS))
    scores = {part: [_scores(files, bundle, how, part) for bundle in how.bundles] for part in ("", *PARTS)}
    entries = [_entry(part, scores, cost) for part in scores]
    columns = {
        "standard": 1,
        "standard, other half": 1,
        "step, µs": 0,
        "bought": 1,
        "cost, µs": 0,
        "bought per 100 µs": 1,
    }
    return Results(f"Parts of the detector, on {len(files)} series of NAB", columns, tuple(entries), caption=_CAPTION)


def _entry(part: str, scores: Mapping[str, list[dict[str, float]]], cost: Mapping[str, float]) -> Entry:
    draws = []
    for with_all, left in zip(scores[""], scores[part], strict=True):
        figures = {name: left[name] for name in ("standard", "standard, other half")}
        figures["step, µs"] = cost[part]
        if part:
            saved, bought = cost[""] - cost[part], with_all["standard"] - left["standard"]
            figures |= {"bought": bought, "cost, µs": saved}
            # Undefined below 1 µs: the quotient would be noise.
            figures["bought per 100 µs"] = 100.0 * bought / saved if saved >= 1.0 else float("nan")
        draws.append(figures)
    return mean_of(_WITHOUT + part if part else _ALL, "ours", draws)


def _scores(files: list[NabFile], bundle: Path, how: runner.Setting, part: str) -> dict[str, float]:
    judged = runner.judge_all([file.recording() for file in files], bundle, how, within=partial(without, part))
    return score_of(files, [file.on_rows(one.score) for file, one in zip(files, judged, strict=True)])


def _costs(parts: tuple[str, ...]) -> dict[str, float]:
    """Microseconds a step without each part: medians of rounds measured in turn."""
    block = round(DetectionConfig().block_s)
    steps = {}
    for part in parts:
        with without(part):
            steps[part] = agent_step(_CHANNELS, block)
    rounds: dict[str, list[float]] = {part: [] for part in parts}
    for _ in range(_ROUNDS):
        for part in parts:
            with without(part):
                rounds[part].append(step_us(steps[part], _BLOCKS * block))
    return {part: statistics.median(each) for part, each in rounds.items()}
