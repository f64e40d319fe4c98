"""Runs the production step over a recorded file, at full speed, with the verdicts that live gave or would have given."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec
import numpy as np

from agent import bundle
from agent.daemon import load_bundle, open_sources
from agent.errors import EdgewatchError, UserError
from agent.incidents import Incidents
from agent.monitor import Monitor
from agent.sources.csv import CsvReader
from agent.types import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.config import Config
    from agent.types import Frame, Verdict

__all__ = ["replay"]

_COLUMNS = ("value", "expected", "lower", "upper", "score", "threshold")


def replay(
    config: Config,
    source: Path,
    *,
    bundle_directory: Path | None = None,
    output: Path | None = None,
    incidents: Path | None = None,
) -> str:
    """Replay a CSV file; gives a summary for a person.

    Parameters
    ----------
    config
        Detection and alerts; its sources only lend unit, scale and smallest effect to columns named like their
        channels.
    source
        See `agent.sources.csv.CsvReader`; its own sampling interval replaces the config's.
    bundle_directory
        Models, instead of the config's.
    output
        Where to write one row a step.
    incidents
        Where to write the alerts, one JSON object a line.

    Raises
    ------
    UserError
        The file, the bundle or an output cannot be used.
    """
    reader = CsvReader(source)
    models = bundle.load(bundle_directory) if bundle_directory else load_bundle(config)
    known = _known_channels(config)
    channels = [known.get(name, Channel(name)) for name in reader.names]
    monitor = Monitor(channels, models, config.detection, config.alerts, reader.interval_s)
    ledger = Incidents(
        channels,
        config.alerts,
        reader.interval_s,
        node=config.node,
        model=models.label,
        instance="replay",
    )
    opened = steps = 0
    begin = time.perf_counter()
    with contextlib.ExitStack() as stack:
        rows = stack.enter_context(_writing(output)) if output else None
        lines = stack.enter_context(_writing(incidents)) if incidents else None
        if rows:
            header = [f"{channel.name}.{column}" for channel in channels for column in _COLUMNS]
            rows.write(",".join(("timestamp", "score", "state_score", "anomalous", *map(_quoted, header))) + "\n")
        for frame in reader:
            verdict = monitor.step(frame)
            alerts = ledger.step(frame, verdict)
            opened += sum(alert.phase == "open" for alert in alerts)
            steps += 1
            if lines:
                lines.writelines(msgspec.json.encode(alert).decode() + "\n" for alert in alerts)
            if rows:
                rows.write(_row(frame, verdict))
    seconds = time.perf_counter() - begin
    return (
        f"{source}: {steps} steps of {len(channels)} channels every {reader.interval_s:g} s in {seconds:.1f} s, "
        f"{opened} incidents, {len(ledger.open)} still open\n{reader.report.summary()}"
    )
