"""Judges recordings of one channel each as channels of one node: a step costs little more for many than for one.

A universal bundle judges each channel by itself, so that each recording gets what it would have got alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.alerting.settings import AlertsConfig
    from agent.core.arrays import BoolArray, Float64Array
    from agent.detection.settings import DetectionConfig
    from agent.models.bundle import Bundle
    from training.data.recording import Recording

__all__ = ["Judged", "judge_together", "side_by_side"]

# Of the longest: a recording that ends earlier leaves a channel that costs time and says nothing.
_SHORTEST_SHARE = 1 / 3
# Rows between two reports of progress.
_STRIDE = 256


@dataclass(frozen=True)
class Judged:
    """What the step said of a recording; see `training.evaluation.outcome.Outcome`, of which it is a part.

    Parameters
    ----------
    recording
        What was judged.
    score, state_score
        float64[rows], 0..1, of the alert head and of the state head.
    flagged
        bool[rows].
    """

    recording: Recording
    score: Float64Array
    state_score: Float64Array
    flagged: BoolArray

    def onsets(self) -> BoolArray:
        """Rows in which it begins to be flagged, bool[rows]."""
        onsets: BoolArray = np.diff(self.flagged, prepend=False) & self.flagged
        return onsets


def side_by_side(recordings: Sequence[Recording], most: int) -> list[list[int]]:
    """Which recordings to judge together: of the same interval and of similar length.

    One with several channels, or with a break in time, stands alone.

    Parameters
    ----------
    recordings
        Of any interval and length.
    most
        How many at once.

    Returns
    -------
    Indices, each once.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(recordings)), key=lambda i: -recordings[i].rows):
        one = recordings[index]
        room = (group for group in groups if len(group) < most and _fits(one, recordings[group[0]]))
        group = next(room, None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups


def _fits(one: Recording, longest: Recording) -> bool:
    return (
        one.interval_s == longest.interval_s
        and one.rows >= _SHORTEST_SHARE * longest.rows
        and all(len(each.channels) == 1 and _unbroken(each) for each in (one, longest))
    )


def _unbroken(recording: Recording) -> bool:
    return bool((np.diff(recording.time) < 1.5 * recording.interval_s).all())


def judge_together(
    recordings: Sequence[Recording],
    bundle: Bundle,
    detection: DetectionConfig,
    alerts: AlertsConfig,
    *,
    advance: Callable[[int], object] = lambda _: None,
) -> list[Judged]:
    """Judge every row of each recording by what was learned from its own rows before it.

    Parameters
    ----------
    recordings
        Of one channel and the same interval, without breaks; all begin at once.
    bundle
        A universal one. The wall clock of the first recording is shown to all; such a bundle does not look at it.
    detection, alerts
        The config's sections.
    advance
        Told how many more rows are done, of all recordings together, now and then.
    """
    rows, n = max(recording.rows for recording in recordings), len(recordings)
    lengths = np.array([recording.rows for recording in recordings])
    values = np.full((rows, n), np.nan, np.float32)
    for column, recording in enumerate(recordings):
        values[: recording.rows, column] = recording.values[:, 0]
    interval_s = recordings[0].interval_s
    channels = [recording.channels[0] for recording in recordings]
    detection = msgspec.structs.replace(detection, relations=False)  # they have nothing to do with each other
    monitor = Ensemble(channels, bundle, detection, alerts, interval_s)
    score, state = np.zeros((rows, n)), np.zeros((rows, n))
    flagged = np.zeros((rows, n), bool)
    start = float(recordings[0].time[0])
    for begin in range(0, rows, _STRIDE):
        for row in range(begin, min(begin + _STRIDE, rows)):
            seconds = row * interval_s
            verdict = monitor.step(Frame(row, round(seconds * 1e9), start + seconds, values[row]))
            score[row] = verdict.score()
            state[row] = verdict.state
            flagged[row] = verdict.anomalous
        advance(int(np.clip(lengths - begin, 0, _STRIDE).sum()))
    return [
        Judged(recording, *(each[: recording.rows, column].copy() for each in (score, state, flagged)))
        for column, recording in enumerate(recordings)
    ]
