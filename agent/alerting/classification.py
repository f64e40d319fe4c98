"""What an anomaly looks like: spike, drop, level shift, variance change, flat line or pattern break.

It is told by robust statistics of the values themselves, the part since the onset against the part before it: medians,
median absolute deviations and quantiles, on the channel's scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, number
from agent.detection.scaling import ABSURD, Scale

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import Float32Array, Float64Array, IntArray
    from agent.core.channel import Channel
    from agent.detection.verdict import Course
    from agent.messages.alert import AnomalyKind

__all__ = ["Classifier"]

_MEMORY_S, _MEMORY_ROWS, _MOST_ROWS = 300.0, 64, 1200
_LOOK_S, _LOOK_ROWS = 60.0, 12
# Fewer rows before the onset, or changes since it, tell nothing.
_FEW = 8
# The usual range lies between these quantiles, widened on both sides by a share of its width.
_BAND = (0.05, 0.95)
_MARGIN = 0.25
# A level shift is this share of a minute on one side; less than the other share is no excursion.
_SHIFTED = 0.6
_EXCURSION = 0.05
# Changes so many times as large are another variance; or so many times, wherever the median went with them.
_WIDER, _NARROWER = 2.0, 0.4
_MUCH_WIDER = 4.0
# Stuck: so many equal rows and so many times the longest run before, in a channel that changes at all.
_STUCK_ROWS = 12
_STUCK_TIMES = 3
_LIVELY = 0.2


class ClassifierState(State):
    """Fields of `Classifier` that outlive a restart."""

    # The channels' scale is needed only when there is an anomaly to name.
    ring: Float32Array = array("channel's unit", "row", CHANNEL, initial=np.nan, dtype=np.float32)
    next: int = number("index of the row to be written", initial=0)


class Classifier:
    """Keeps each channel's recent values and names what has become of them.

    Parameters
    ----------
    channels
        In the order of the values.
    interval_s
        Seconds between rows. Five minutes are kept and the last minute is looked at, in rows at least 64 and 12, at
        most 1,200 and 240.
    """

    def __init__(self, channels: Sequence[Channel], interval_s: float) -> None:
        self._channels = tuple(channels)
        rows = min(max(_MEMORY_ROWS, round(_MEMORY_S / interval_s)), _MOST_ROWS)
        #: Rows that the look at a channel takes in, after which its name is final.
        self.look_rows = min(max(_LOOK_ROWS, round(_LOOK_S / interval_s)), rows // 5)
        self._state = ClassifierState(row=rows, channel=len(self._channels))

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, indices: IntArray) -> None:
        """Forget the values of these channels, int64[m]."""
        self._state.reset(indices)

    def rename(self, channels: Sequence[Channel]) -> None:
        """Take over what channels are called and how they are scaled."""
        self._channels = tuple(channels)

    def push(self, values: Float32Array) -> None:
        """Take in a row, float32[n_channels], NaN where missing."""
        state = self._state
        state.ring[state.next] = values
        state.next = (state.next + 1) % len(state.ring)

    def name(self, channel: int, since_rows: int, course: Course = "readings") -> AnomalyKind | Literal[""]:
        """Name the anomaly of a channel; empty if none can tell.

        Parameters
        ----------
        channel
            Which.
        since_rows
            So many rows ago it began, the newest included.
        course
            How it was noticed. What single readings do not show is no spike, however far out one of them happens to be.
        """
        column = np.roll(self._state.ring[:, channel], -self._state.next)
        since_rows = min(max(since_rows, 1), len(column))
        effect, recent = self._scaled(channel, column)
        valid = np.isfinite(recent)
        onset = int(np.count_nonzero(valid[: len(column) - since_rows]))
        recent = recent[valid]
        if _stuck(recent, onset, len(column)):
            return "flat_line"
        if course != "readings":
            return "level_shift" if course == "level" else "pattern_break"
        before, since = recent[:onset], recent[onset:][-self.look_rows :]
        if before.size < _FEW or not since.size:
            return ""
        return self._compare(before, since, effect)

    def _compare(self, before: Float64Array, since: Float64Array, effect: float) -> AnomalyKind:
        low, high = np.quantile(before, _BAND)
        margin = max(effect / 2, _MARGIN * (high - low))
        low, high = low - margin, high + margin
        above, below = int(np.count_nonzero(since > high)), int(np.count_nonzero(since < low))
        if since.size > _FEW:
            ratio = _roughness(since) / max(_roughness(before), effect / 10, 1e-9)
            central = low <= np.median(since) <= high
            if ratio > _MUCH_WIDER or (central and not _NARROWER <= ratio <= _WIDER):
                return "variance_change"
        if max(above, below) >= _SHIFTED * self.look_rows:
            return "level_shift"
        if above + below < max(1.0, _EXCURSION * since.size):
            return "pattern_break"
        return "spike" if since.max() - high > low - since.min() else "drop"

    def _scaled(self, channel: int, values: Float32Array) -> tuple[float, Float64Array]:
        """Smallest effect, and the values with NaN for what is no reading, both on the channel's scale."""
        scale = Scale([self._channels[channel]] * len(values))
        scaled, valid = scale.apply(np.nan_to_num(values, nan=2 * ABSURD))
        return float(scale.effect[0]), np.where(valid, scaled, np.nan)


def _roughness(values: Float64Array) -> float:
    """Median absolute deviation of the changes."""
    changes = np.diff(values)
    return float(np.median(np.abs(changes - np.median(changes))))


def _stuck(values: Float64Array, onset: int, n_rows: int) -> bool:
    """Whether the longest run of equal values that reaches into the part since the onset is out of the ordinary.

    The run may have begun before what was taken for the onset: that one is stuck is seen late. At a value far beyond
    all others it is no flat line but a shift. Where it fills the memory of ``n_rows`` there is nothing to compare with.
    """
    ends = np.append(np.flatnonzero(np.diff(values)) + 1, values.size)
    starts = np.concatenate(([0], ends[:-1]))
    reaching = ends > onset
    index = int(np.argmax(np.where(reaching, ends - starts, 0)))
    start, rows = int(starts[index]), int(ends[index] - starts[index])
    if rows < _STUCK_ROWS:
        return False
    before = values[:start]
    if before.size < _FEW:
        return rows > n_rows // 2
    lively = np.count_nonzero(np.diff(before)) > _LIVELY * before.size
    usual_run = int(np.max((ends - starts)[:index], initial=1))
    low, high = float(before.min()), float(before.max())
    margin = _MARGIN * (high - low)  # what rises or falls all the time stops where it has not been yet
    known = low - margin <= values[start] <= high + margin
    return bool(lively and rows >= _STUCK_TIMES * usual_run and known)
