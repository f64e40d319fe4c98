"""Simulated anomalies by kind: share found, and share of those named correctly.

Each stream holds one anomaly in its second half and runs through detector and incidents as in replay. An anomaly is
found if an alert overlaps it or follows within twelve rows or a minute; its name is that of the last message.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.channel import Channel
from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble
from agent.detection.settings import DetectionConfig
from agent.models import loader
from training.synthetic.labelled_streams import LabelledKind as Planted
from training.synthetic.labelled_streams import Season, StreamSpec, simulate_stream

if TYPE_CHECKING:
    import argparse

    from agent.messages.alert import Alert, AnomalyKind
    from agent.models.bundle import Bundle

#: Correct name of each simulated kind. A trend ends as a level shift; a missing season or a broken correlation keeps
#: each reading within its usual range and breaks only the pattern.
NAMES: dict[Planted, AnomalyKind] = {
    "spike": "spike",
    "dip": "drop",
    "level_shift": "level_shift",
    "trend": "level_shift",
    "variance_change": "variance_change",
    "flat_line": "flat_line",
    "missing_season": "pattern_break",
    "correlation_break": "pattern_break",
}
# An incident this long after the end of an anomaly still belongs to it: the longer of seconds and rows, by hand.
_LATE_S, _LATE_ROWS = 60.0, 12


class _Result(NamedTuple):
    """Result of one stream; ``named`` is empty if the anomaly was not found, ``held`` counts suppressed incidents."""

    planted: Planted
    found: bool
    named: str
    others: int
    held: int
    days: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    parser.add_argument("--seeds", type=int, default=20, help="streams of each kind (default 20)")
    parser.add_argument(
        "--ratio", type=float, default=3.0, help="common signal over own noise of a channel (default 3)"
    )
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between rows (default 60)")
    parser.add_argument("--rows", type=int, default=8000, help="rows of a stream (default 8,000)")
    parser.add_argument("--budget", type=float, default=1.0, help="alert budget a day (default 1)")
    parser.add_argument("--processes", type=int, default=2)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    jobs = [(options, kind, seed) for seed in range(options.seeds) for kind in get_args(Planted)]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        results = pool.starmap(_stream, jobs, chunksize=1)
    days = sum(result.days for result in results)
    figures: dict[str, Any] = {
        "streams_of_each_kind": options.seeds,
        "interval_s": options.interval,
        "ratio": options.ratio,
        "budget_per_day": options.budget,
        "other_alerts_a_day": round(sum(result.others for result in results) / days, 3),
        "held_back_a_day": round(sum(result.held for result in results) / days, 3),
        "kinds": {},
    }
    print(f"{'planted':<18}{'correct name':<17}{'found':>6}{'named':>7}  names given")
    for kind in get_args(Planted):
        of_kind = [result for result in results if result.planted == kind]
        called = Counter(result.named for result in of_kind if result.found)
        found = sum(called.values())
        right = called[NAMES[kind]]
        figures["kinds"][kind] = {
            "recall": round(found / len(of_kind), 3),
            "named_right": round(right / found, 3) if found else None,
            "called": dict(called),
        }
        words = ", ".join(f"{count} {name.replace('_', ' ') or 'nothing'}" for name, count in called.most_common())
        share = f"{right / found:.0%}" if found else "–"
        print(f"{kind:<18}{NAMES[kind]:<17}{found / len(of_kind):>6.0%}{share:>7}  {words}")
    print(f"other alerts a day {figures['other_alerts_a_day']}, suppressed a day {figures['held_back_a_day']}")
    return figures


_bundle: list[Bundle] = []


def _stream(options: argparse.Namespace, kind: Planted, seed: int) -> _Result:
    """Simulate a stream with one anomaly and run the agent on it."""
    if not _bundle:
        _bundle.append(loader.load_builtin())  # once a process
    models = _bundle[0]
    interval_s = options.interval
    end = np.datetime64("2026-01-01") + np.timedelta64(round(options.rows * interval_s * 1000), "ms")
    season: Season = "daily" if options.rows * interval_s >= 4 * 86400 else "hourly"
    config = StreamSpec(
        end=str(end),
        interval_s=interval_s,
        seed=seed,
        season=(season,),
        noise=1.0 / options.ratio,
        anomalies=(kind,),
        count=1,
    )
    stream = simulate_stream(config)
    channels = [Channel(name) for name in stream.channels]
    alerts_config = AlertsConfig(budget_per_day=options.budget)
    ensemble = Ensemble(channels, models, DetectionConfig(), alerts_config, interval_s)
    incidents = Incidents(channels, alerts_config, interval_s, node="kinds", model=models.label, instance="0")
    alerts: list[Alert] = []
    for seq, (wall, row) in enumerate(zip(stream.time.tolist(), stream.values.astype(np.float32), strict=True)):
        frame = Frame(seq, seq, wall, row)
        alerts += incidents.step(frame, ensemble.step(frame))
    held = len(incidents.take_suppressed())
    alerts += incidents.stop(frame)
    (anomaly,) = stream.anomalies
    begin, end_s = float(stream.time[anomaly.begin]), float(stream.time[anomaly.end - 1])
    late_s = max(_LATE_S, _LATE_ROWS * interval_s)
    last = [alert for alert in alerts if alert.phase == "close"]
    about = [alert for alert in last if alert.started <= end_s + late_s and alert.ts >= begin]
    named = about[-1].contributors[0].kind if about else ""
    days = options.rows * interval_s / 86400.0
    return _Result(kind, bool(about), named, len(last) - len(about), held, days)
