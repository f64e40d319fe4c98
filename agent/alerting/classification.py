"""Classifies anomalies: spike, drop, level shift, variance change, flat line or pattern break.

The values since the onset are compared with those before it, by medians, median absolute deviations and quantiles on
the channel's scale.
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

# All constants of this file are chosen by hand; `tools.benchmark kinds` measures the result.
# Values remembered: seconds, rows at least, rows at most.
_MEMORY_S, _MEMORY_ROWS, _MOST_ROWS = 300.0, 64, 1200
# Values since the onset that are compared: seconds, rows at least.
_LOOK_S, _LOOK_ROWS = 60.0, 12
# Fewest rows before the onset, and fewest changes since it, for a comparison.
_FEW = 8
# The usual range spans these quantiles, widened on both sides by a share of its width.
_BAND = (0.05, 0.95)
_MARGIN = 0.25
# Share of a full minute on one side of the usual range from which on it is a level shift.
_SHIFTED = 0.6
# Share of values outside the usual range below which it is a pattern break.
_EXCURSION = 0.05
# Ratio of the changes' size to that before, beyond which the variance has changed while the median is usual.
_WIDER, _NARROWER = 2.0, 0.4
# The same wherever the median is.
_MUCH_WIDER = 4.0
# A flat line has this many equal rows, this many times the longest run before, and this share of changes before.
_STUCK_ROWS = 12
_STUCK_TIMES = 3
_LIVELY = 0.2


class ClassifierState(State):
    """Fields of a `Classifier` that outlive a restart."""

    # In the channels' units, because their scales are applied only to classify an anomaly.
    ring: Float32Array = array("channel's unit", "row", CHANNEL, initial=np.nan, dtype=np.float32)
    next: int = number("index of the row to be written", initial=0)


class Classifier:
    """Remembers each channel's recent values and classifies its anomalies.

    Parameters
    ----------
    channels
        In the order of the values.
    interval_s
        Seconds between rows. Five minutes are remembered (64 to 1,200 rows) and up to a minute since the onset is
        compared (12 to 240 rows).
    """

    def __init__(self, channels: Sequence[Channel], interval_s: float) -> None:
        self._channels = tuple(channels)
        rows = min(max(_MEMORY_ROWS, round(_MEMORY_S / interval_s)), _MOST_ROWS)
        #: Rows since the onset that are compared; after them the kind is final.
        self.look_rows = min(max(_LOOK_ROWS, round(_LOOK_S / interval_s)), rows // 5)
        self._state = ClassifierState(row=rows, channel=len(self._channels))

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, indices: IntArray) -> None:
        """Forget the values of these channels, int64[m]."""
        self._state.reset(indices)

    def rename(self, channels: Sequence[Channel]) -> None:
        """Set the channels anew, after some were replaced."""
        self._channels = tuple(channels)

    def push(self, values: Float32Array) -> None:
        """Remember a row, float32[n_channels] in the channels' units, NaN where missing."""
        state = self._state
        state.ring[state.next] = values
        state.next = (state.next + 1) % len(state.ring)

    def name(self, channel: int, since_rows: int, course: Course = "readings") -> AnomalyKind | Literal[""]:
        """Classify the anomaly of a channel; empty if there are too few values.

        Parameters
        ----------
        channel
            Index of the channel.
        since_rows
            Rows since the onset, including the onset and the newest.
        course
            Evidence by which the anomaly was noticed. Only anomalies of single readings can be spikes or drops.
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
        """Smallest effect, and the values with NaN where invalid, on the channel's scale."""
        scale = Scale([self._channels[channel]] * len(values))
        scaled, valid = scale.apply(np.nan_to_num(values, nan=2 * ABSURD))
        return float(scale.effect[0]), np.where(valid, scaled, np.nan)


def _roughness(values: Float64Array) -> float:
    """Median absolute deviation of the changes."""
    changes = np.diff(values)
    return float(np.median(np.abs(changes - np.median(changes))))


def _stuck(values: Float64Array, onset: int, n_rows: int) -> bool:
    """Whether the longest run of equal values that extends beyond the onset is unusually long.

    The run may have begun before the onset, because a flat line is noticed late. A run at a value far beyond all
    earlier ones is a level shift instead. If fewer than 8 values precede the run, it must fill more than half of the
    memory of ``n_rows``.
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
    margin = _MARGIN * (high - low)  # a steadily rising channel stops at a value not seen before
    known = low - margin <= values[start] <= high + margin
    return bool(lively and rows >= _STUCK_TIMES * usual_run and known)
