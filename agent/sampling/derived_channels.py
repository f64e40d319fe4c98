"""Channels computed from others, as in the section ``derived``: rates, differences, ratios and sums."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from agent.core.channel import NOBODY, Channel
from agent.core.name_patterns import glob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import Float32Array, Float64Array, IntArray
    from agent.sampling.settings import DerivedConfig

__all__ = ["DerivedChannels"]


class DerivedChannels:
    """Computes derived channels, in the order of the configuration; each may use those before it.

    A value is NaN if any of its inputs is NaN, except that a sum ignores missing inputs.

    Parameters
    ----------
    parts
        The section ``derived``.
    interval_s
        Seconds between frames.

    Examples
    --------
    >>> from agent.sampling.settings import DerivedConfig
    >>> parts = (DerivedConfig(name="spread", how="difference", of=("flow", "back")),)
    >>> derivations = DerivedChannels(parts, interval_s=1.0)
    >>> derivations.find([Channel("flow"), Channel("back"), *derivations.channels])
    >>> row = np.array([60.0, 45.0, np.nan], np.float32)
    >>> derivations.fill(row, seq=0)
    >>> row.tolist()
    [60.0, 45.0, 15.0]
    """

    def __init__(self, parts: Sequence[DerivedConfig], interval_s: float) -> None:
        self._parts = parts
        self._interval_s = interval_s
        self._inputs: list[list[int]] = [[] for _ in parts]
        self._courses = [_Course(part, interval_s) for part in parts]
        #: The derived channels, in the order of the configuration.
        self.channels = tuple(Channel(part.name, part.unit) for part in parts)

    def find(self, channels: Sequence[Channel]) -> None:
        """Find the inputs among the channels of the frame, the last of which are the derived ones."""
        if not self._parts:
            return
        indices = {channel.name: index for index, channel in enumerate(channels) if channel is not NOBODY}
        first = len(channels) - len(self._parts)
        for number, part in enumerate(self._parts):
            before = {name: index for name, index in indices.items() if index < first + number}
            if part.how == "sum":
                pattern = glob(part.of)
                self._inputs[number] = [index for name, index in before.items() if pattern.match(name)]
            else:
                self._inputs[number] = [before[name] for name in part.of if name in before]

    def pace(self, every: IntArray) -> IntArray:
        """Ticks between values of each derived channel, int64[m]: those of its slowest input.

        Parameters
        ----------
        every
            int64[n], ticks between readings of the channels of sources.
        """
        known = every.tolist()
        for inputs in self._inputs:
            # Unknown inputs count as the fastest.
            known.append(max((known[index] for index in inputs), default=min(known, default=1)))
        return np.array(known[every.size :], np.int64)

    def fill(self, row: Float32Array, seq: int) -> None:
        """Write the derived values to the end of a row, in place.

        Parameters
        ----------
        row
            float32[n], NaN where a reading is missing.
        seq
            Number of the frame.
        """
        first = row.size - len(self._parts)
        for number, (part, inputs, course) in enumerate(zip(self._parts, self._inputs, self._courses, strict=True)):
            with np.errstate(over="ignore", invalid="ignore"):  # an overflow is an invalid reading
                row[first + number] = _derived(part, row[inputs].astype(np.float64), course, seq)


def _derived(part: DerivedConfig, inputs: Float64Array, course: _Course, seq: int) -> float:
    if part.how == "sum":
        given = inputs[~np.isnan(inputs)]
        return float(given.sum()) if given.size else np.nan
    if inputs.size < len(part.of):  # an input is unknown
        return np.nan
    if part.how == "rate":
        return course.rate(float(inputs[0]), seq)
    first, second = inputs.tolist()
    if part.how == "difference":
        return float(first - second)
    return float(first / second) if second else np.nan


class _Course:
    """Past values of a channel, for its rate of change."""

    def __init__(self, part: DerivedConfig, interval_s: float) -> None:
        self._interval_s = interval_s
        self._counter = part.counter
        self._over = max(1, round(part.over_s / interval_s))
        self._kept: deque[tuple[int, float]] = deque()

    def rate(self, value: float, seq: int) -> float:
        """Change per second since the newest value that is at least ``over_s`` old; NaN without such a value."""
        if np.isnan(value):
            return np.nan
        kept = self._kept
        if self._counter and kept and value < kept[-1][1]:
            kept.clear()  # the counter was reset
        while len(kept) > 1 and kept[1][0] <= seq - self._over:
            kept.popleft()
        rate = np.nan
        if kept and kept[0][0] <= seq - self._over:
            then, before = kept[0]
            rate = (value - before) / ((seq - then) * self._interval_s)
        kept.append((seq, value))
        return rate
