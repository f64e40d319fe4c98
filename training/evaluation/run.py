"""Runs the agent's own step over a recording, row by row, as on a device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.core.errors import UserError
from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble
from training.evaluation.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.alerting.settings import AlertsConfig
    from agent.detection.settings import DetectionConfig
    from agent.models.bundle import Bundle
    from training.data.recording import Recording

__all__ = ["first_counted", "fitted", "judge"]

_STRIDE = 256  # rows between two reports of progress


def judge(
    recording: Recording,
    bundle: Bundle,
    detection: DetectionConfig,
    alerts: AlertsConfig,
    *,
    first: int | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Outcome:
    """Run the agent's step over a recording; each row is judged by the rows before it.

    Parameters
    ----------
    recording
        Recording with the channels of the bundle, see `fitted`.
    bundle
        Verified models.
    detection, alerts
        Sections of the configuration.
    first
        First row that is measured; None: the first after the learning time of the agent.
    advance
        Called repeatedly with the number of rows done since the last call.

    Raises
    ------
    UserError
        No rows are left to measure.
    """
    values = np.asarray(recording.values)  # rows of a memory map are slower to take
    rows, n = values.shape
    monitor = Ensemble(recording.channels, bundle, detection, alerts, recording.interval_s)
    score = np.zeros(rows)
    state_score = np.zeros(rows)
    flagged = np.zeros(rows, bool)
    bounds = np.empty((3, rows, n), np.float32)
    channel_score = np.empty((rows, n), np.float32)
    errors = np.empty((2, rows, n), np.float32)
    ticks = np.rint((recording.time - recording.time[:1]) / recording.interval_s).astype(np.int64).tolist()
    learned = rows
    for row, tick in enumerate(ticks):
        wall = float(recording.time[row])
        verdict = monitor.step(Frame(tick, round(tick * recording.interval_s * 1e9), wall, values[row]))
        scores = verdict.score()
        score[row] = scores.max()
        state_score[row] = verdict.state_score
        flagged[row] = verdict.anomalous.any()
        bounds[:, row] = verdict.bounds()
        channel_score[row] = scores
        errors[:, row] = verdict.errors
        if learned == rows and verdict.progress().max() >= 1.0:
            learned = row + 1
        if row % _STRIDE == _STRIDE - 1:
            advance(_STRIDE)
    advance(rows % _STRIDE)
    first = learned if first is None else first
    if first >= rows:
        used = "the agent needs all of them to learn" if learned == rows else f"{first:,} of them are for training"
        raise UserError(
            f"no rows are left to evaluate: it has {rows:,} rows, and {used}",
            location=recording.name,
            remedy="use a longer recording, a smaller --train-share, or a smaller alerts.learning_s in --config",
        )
    return Outcome(recording, first, score, state_score, flagged, bounds, channel_score, errors)


def first_counted(recording: Recording, train_share: float | None) -> int | None:
    """First row to measure: by the requested share, else as the data set defines; None if neither is given."""
    return recording.train_rows if train_share is None else int(train_share * recording.rows)


def fitted(recording: Recording, bundle: Bundle) -> Recording:
    """Select the channels of a bundle from a recording, in the order of the bundle.

    Raises
    ------
    UserError
        A channel of the bundle is missing, or the sampling interval differs by more than 1 %.
    """
    manifest = bundle.manifest
    if manifest.interval_s != "any" and not np.isclose(manifest.interval_s, recording.interval_s, rtol=0.01):
        raise UserError(
            f"its interval is {recording.interval_s:g} s; {bundle.label} was made for {manifest.interval_s:g} s",
            location=recording.name,
            remedy=f"resample with --interval {manifest.interval_s:g}, or use the builtin bundle",
        )
    if manifest.channels == "any":
        return recording
    names = [channel.name for channel in recording.channels]
    missing = [name for name in manifest.channels if name not in names]
    if missing:
        raise UserError(
            f"it lacks the channel {missing[0]!r} of {bundle.label}; its channels are {', '.join(names)}",
            location=recording.name,
            remedy="rename the columns as in the training data of the bundle, or use the builtin bundle",
        )
    columns = [names.index(name) for name in manifest.channels]
    others = [name for name in names if name not in manifest.channels]
    notes = (f"channels left out because the bundle does not have them: {', '.join(others)}",) if others else ()
    return replace(
        recording,
        channels=tuple(recording.channels[column] for column in columns),
        values=recording.values[:, columns],
        notes=recording.notes + notes,
    )
