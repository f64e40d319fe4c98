"""Runs the agent's step over many single-channel recordings at once, as channels of one node.

A step takes little longer for many channels than for one. A universal bundle judges each channel independently, so that
each recording gets the same result as alone.
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

# Shortest recording of a group, as share of the longest, because an ended channel costs time; chosen by hand.
_SHORTEST_SHARE = 1 / 3
_STRIDE = 256  # rows between two reports of progress


@dataclass(frozen=True)
class Judged:
    """Scores and verdicts of a recording, a part of `training.evaluation.outcome.Outcome`.

    Parameters
    ----------
    recording
        The recording.
    score, state_score
        float64[rows], 0 to 1: alert score and state score of the agent.
    flagged
        bool[rows], whether the channel is anomalous.
    """

    recording: Recording
    score: Float64Array
    state_score: Float64Array
    flagged: BoolArray

    def onsets(self) -> BoolArray:
        """First row of each run of flagged rows, bool[rows]."""
        onsets: BoolArray = np.diff(self.flagged, prepend=False) & self.flagged
        return onsets


def side_by_side(recordings: Sequence[Recording], most: int) -> list[list[int]]:
    """Group recordings with the same interval and similar lengths for `judge_together`.

    A recording with several channels or a break in time is a group of its own.

    Parameters
    ----------
    recordings
        Recordings of any interval and length.
    most
        Largest size of a group.

    Returns
    -------
    Groups of indices; each index occurs once.
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
    """Run the agent's step over recordings in parallel.

    Parameters
    ----------
    recordings
        Recordings of one channel with the same interval and without breaks; all start at the same time.
    bundle
        A universal bundle. All recordings get the wall clock of the first, which such a bundle does not use.
    detection, alerts
        Sections of the configuration.
    advance
        Called repeatedly with the number of rows done since the last call, over all recordings.

    Returns
    -------
    Scores and verdicts by recording, in order.
    """
    rows, n = max(recording.rows for recording in recordings), len(recordings)
    lengths = np.array([recording.rows for recording in recordings])
    values = np.full((rows, n), np.nan, np.float32)
    for column, recording in enumerate(recordings):
        values[: recording.rows, column] = recording.values[:, 0]
    interval_s = recordings[0].interval_s
    channels = [recording.channels[0] for recording in recordings]
    detection = msgspec.structs.replace(detection, relations=False)  # the recordings are independent
    monitor = Ensemble(channels, bundle, detection, alerts, interval_s, among=1)
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
