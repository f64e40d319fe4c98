"""Alerts as people receive them: those that the default configuration sends, held against labelled events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.models import loader as agent_bundle
from tools.benchmark.accuracy import runner
from tools.benchmark.accuracy.alert_baselines import BASELINES, at_most, at_threshold
from tools.benchmark.accuracy.alert_score import AlertScore, incidents_of, score
from tools.benchmark.accuracy.alert_sets import SETS, read_set
from tools.benchmark.all_cores import on_all_cores
from tools.benchmark.cost.opens import messages
from tools.benchmark.results import Results, mean_of
from training.commands.arguments import comma_separated

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from agent.alerting.settings import AlertsConfig
    from agent.core.arrays import Float32Array
    from agent.detection.settings import DetectionConfig
    from tools.benchmark.accuracy.alert_sets import Node
    from tools.benchmark.results import Entry

__all__ = ["REPORTED_SEED", "add_arguments", "run"]

#: First seed of the simulated hosts whose figures are reported; those below are for tuning.
REPORTED_SEED = 1000
# Rows between two updates of the progress bar.
_ADVANCE_ROWS = 1000
_COLUMNS = {
    "events": 0,
    "told %": 0,
    "false a day": 2,
    "median delay s": 0,
    "open %": 0,
    "false all-clear %": 0,
    "outside its range %": 0,
    "named right %": 0,
}
_CAPTION = (
    "An event is told if an alert (an opening, or an update because of another channel or a higher severity) is sent "
    "during it, up to two minutes or a tenth of it before its label, or within three rows after it. False: incidents "
    "that overlap no event, a day and node. Open: share of the events during which an incident was open. False "
    "all-clear: incidents of an event that closed as recovered while it went on. Outside its range: openings whose "
    "first value lies outside the range called expected. Named right: told events whose first alert names an affected "
    "channel first. Rows without a model send at most as many false alerts as Edgewatch on the same set, except the "
    "rules as written."
)

_Judged = tuple[AlertScore, "dict[str, Float32Array]"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)
    parser.add_argument(
        "--sets",
        type=comma_separated,
        default=(),
        metavar="NAME,NAME",
        help=f"sets to run (default: all): {', '.join(SETS)}",
    )
    parser.add_argument(
        "--seed", type=int, default=REPORTED_SEED, metavar="N",
        help=f"first seed of simulated hosts (default {REPORTED_SEED}; tune with smaller ones)",
    )  # fmt: skip
    parser.add_argument("--without-baselines", action="store_true", help="score Edgewatch alone, which is faster")


def run(options: argparse.Namespace) -> Results:
    """Run detector and incidents over all sets and score the messages."""
    how = runner.setting(options)
    names = options.sets or tuple(SETS)
    nodes = [(name, node) for name in names for node in read_set(name, Path(options.data), options.seed)]
    directory = how.bundles[0]
    agent_bundle.load(directory)  # so that errors appear before any process starts
    nodes.sort(key=lambda pair: -pair[1].recording.values.size)
    baselines = () if options.without_baselines else tuple(BASELINES)
    pieces = [(node, directory, how.detection, how.alerts, baselines) for _, node in nodes]
    rows = sum(node.recording.rows for _, node in nodes)
    judged = on_all_cores(_judged, pieces, rows=rows, title="rows, with alerts", processes=how.processes)
    entries: list[Entry] = []
    series: dict[str, dict[str, dict[str, float]]] = {}
    days = 0.0
    for name in names:
        mine = [(node, *result) for (of, node), result in zip(nodes, judged, strict=True) if of == name]
        total = AlertScore()
        for _, found, _ in mine:
            total.add(found)
        days += total.days
        entries.append(mean_of(name, "ours", [total.figures()]))
        series[name] = {node.recording.name: found.figures() for node, found, _ in mine}
        series[name]["kinds, told %"] = total.told_by_kind()
        for baseline, other in _others([node for node, _, _ in mine], [scores for _, _, scores in mine], total.false):
            entries.append(mean_of(f"{name}: {baseline}", "no model", [other.figures()]))
            series[f"{name}: {baseline}"] = {"kinds, told %": other.told_by_kind()}
    title = f"Alerts sent, {len(nodes)} nodes, {days:,.0f} node-days"
    return Results(title, _COLUMNS, tuple(entries), series, _CAPTION)


def _others(
    nodes: Sequence[Node], scores: Sequence[dict[str, Float32Array]], false: int
) -> list[tuple[str, AlertScore]]:
    """Result of each baseline that applies to a set, at no more than ``false`` false alerts."""
    found = []
    for name in scores[0]:
        mine = [each[name] for each in scores]
        found.append((name, at_most(nodes, mine, false)))
        if name == "static rules":
            found.append((f"{name}, as written", at_threshold(nodes, mine, 1.0)))
    return found


def _judged(
    node: Node,
    directory: Path,
    detection: DetectionConfig,
    alerts: AlertsConfig,
    baselines: Sequence[str],
    *,
    advance: Callable[[int], object],
) -> _Judged:
    """Score of Edgewatch on a node, and each baseline's score of its rows."""
    recording = node.recording
    sent = []
    for row, found in enumerate(messages(recording, runner.loaded(directory), detection, alerts), 1):
        sent += found
        if row % _ADVANCE_ROWS == 0:
            advance(_ADVANCE_ROWS)
    advance(recording.rows % _ADVANCE_ROWS)
    end = float(recording.time[-1])
    ours = score(incidents_of(sent, end), node.events, node.begin, end, recording.interval_s)
    scores = {name: BASELINES[name](recording) for name in baselines}
    return ours, {name: each for name, each in scores.items() if each is not None}
