"""Runs the agent's own step over a recording, row by row, as it would have run live."""

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

# Rows between two reports of progress.
_STRIDE = 256


def judge(
    recording: Recording,
    bundle: Bundle,
    detection: DetectionConfig,
    alerts: AlertsConfig,
    *,
    first: int | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Outcome:
    """Judge every row of a recording by what was learned from the rows before it.

    Parameters
    ----------
    recording
        With the channels that the bundle was made for, see `fitted`.
    bundle
        The verified models.
    detection, alerts
        The config's sections.
    first
        The first row that counts; None counts from where the agent has learned enough to speak.
    advance
        Told how many more rows are done, now and then.

    Raises
    ------
    UserError
        No row is left that counts.
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
        spent = "the agent needs all of them to learn" if learned == rows else f"{first:,} of them are for training"
        raise UserError(
            f"no row is left to evaluate: it has {rows:,} rows, and {spent}",
            location=recording.name,
            remedy="use a longer recording, a smaller --train-share, or a config with a smaller alerts.learning_s",
        )
    return Outcome(recording, first, score, state_score, flagged, bounds, channel_score, errors)


def first_counted(recording: Recording, train_share: float | None) -> int | None:
    """Give the first row that counts: by the share asked for, else as the data set says; None when nobody says."""
    return recording.train_rows if train_share is None else int(train_share * recording.rows)


def fitted(recording: Recording, bundle: Bundle) -> Recording:
    """Give the recording with the channels that a bundle was made for, in its order.

    Raises
    ------
    UserError
        A channel of the bundle is missing, or the sampling interval is another.
    """
    manifest = bundle.manifest
    if manifest.interval_s != "any" and not np.isclose(manifest.interval_s, recording.interval_s, rtol=0.01):
        raise UserError(
            f"a row every {recording.interval_s:g} s, and {bundle.label} was made for {manifest.interval_s:g} s",
            location=recording.name,
            remedy=f"read it with --interval {manifest.interval_s:g}, or use the bundle that ships",
        )
    if manifest.channels == "any":
        return recording
    names = [channel.name for channel in recording.channels]
    missing = [name for name in manifest.channels if name not in names]
    if missing:
        raise UserError(
            f"no channel {missing[0]!r}, for which {bundle.label} was made; there are {', '.join(names)}",
            location=recording.name,
            remedy="name the columns as in the data that the bundle was trained on, or use the bundle that ships",
        )
    columns = [names.index(name) for name in manifest.channels]
    others = [name for name in names if name not in manifest.channels]
    notes = (f"left out, as the bundle does not know them: {', '.join(others)}",) if others else ()
    return replace(
        recording,
        channels=tuple(recording.channels[column] for column in columns),
        values=recording.values[:, columns],
        notes=recording.notes + notes,
    )
