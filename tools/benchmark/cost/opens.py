"""Run detection and incidents over recordings, and give the rows in which incidents open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.alerting.incidents import Incidents
from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble
from tools.benchmark.accuracy import runner
from tools.benchmark.all_cores import on_all_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from agent.alerting.settings import AlertsConfig
    from agent.core.arrays import IntArray
    from agent.detection.settings import DetectionConfig
    from agent.messages.alert import Alert
    from agent.models.bundle import Bundle
    from training.data.recording import Recording

__all__ = ["all_opens", "messages", "opens"]


def all_opens(recordings: Sequence[Recording], directory: Path, how: runner.Setting) -> list[IntArray]:
    """Rows in which incidents open, int64[n] for each recording, computed on all cores."""
    pieces = [([one], directory, how.detection, how.alerts) for one in recordings]
    rows = sum(one.rows for one in recordings)
    found = on_all_cores(_opens, pieces, rows=rows, title="rows, with alerts", processes=how.processes)
    return [each for piece in found for each in piece]


def _opens(
    recordings: Sequence[Recording],
    directory: Path,
    detection: DetectionConfig,
    alerts: AlertsConfig,
    *,
    advance: Callable[[int], object],
) -> list[IntArray]:
    found = []
    for one in recordings:
        found.append(opens(one, runner.loaded(directory), detection, alerts))
        advance(one.rows)
    return found


def opens(recording: Recording, bundle: Bundle, detection: DetectionConfig, alerts: AlertsConfig) -> IntArray:
    """Rows of a recording in which an incident opens, int64[n]."""
    raised = enumerate(messages(recording, bundle, detection, alerts))
    return np.array([row for row, found in raised if any(alert.phase == "open" for alert in found)], np.int64)


def messages(
    recording: Recording, bundle: Bundle, detection: DetectionConfig, alerts: AlertsConfig
) -> Iterator[list[Alert]]:
    """Alert messages of each row."""
    step = recording.interval_s
    ensemble = Ensemble(recording.channels, bundle, detection, alerts, step)
    incidents = Incidents(recording.channels, alerts, step, node="benchmark", model=bundle.label, instance="0")
    ticks = np.rint((recording.time - recording.time[:1]) / step).astype(np.int64).tolist()
    for row, values in enumerate(np.asarray(recording.values)):
        frame = Frame(ticks[row], round(ticks[row] * step * 1e9), float(recording.time[row]), values)
        yield incidents.step(frame, ensemble.step(frame))
