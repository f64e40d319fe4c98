"""Hard limits: values that are incidents even if they are usual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.detection.scaling import ABSURD, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
    from agent.core.channel import Channel

__all__ = ["HardLimits"]


class HardLimits:
    """Detects values at or beyond hard limits, and their return with hysteresis.

    Parameters
    ----------
    channels
        In the order of the values.

    Examples
    --------
    >>> from agent.core.channel import Channel
    >>> limits = HardLimits([Channel("disk.percent", "%", effect=2.0, alarm_above=95.0)])
    >>> [(bool(limits.reached(v)[0]), bool(limits.left(v)[0])) for v in map(np.float32, ([95.0], [94.5], [93.9]))]
    [(True, False), (False, False), (False, True)]
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        n = len(channels)
        self._above, self._below = np.full(n, np.inf), np.full(n, -np.inf)
        self._calm_above, self._calm_below = self._above.copy(), self._below.copy()
        self._nowhere = np.zeros(n, bool)
        self.replace(np.arange(n), channels)

    def replace(self, indices: IntArray, channels: Sequence[Channel]) -> None:
        """Assign these indices, int64[m], to other channels."""
        above = np.array([c.alarm_above for c in channels])
        below = np.array([c.alarm_below for c in channels])
        self._above[indices], self._below[indices] = above, below
        self._calm_above[indices] = _moved(channels, above, -0.5)
        self._calm_below[indices] = _moved(channels, below, 0.5)
        self._any = bool(np.isfinite(self._above).any() or np.isfinite(self._below).any())

    def reached(self, values: Float32Array) -> BoolArray:
        """Values at or beyond a limit, bool[n_channels]; False where missing, infinite or beyond 1e30."""
        if not self._any:
            return self._nowhere
        reached: BoolArray = ((values >= self._above) | (values <= self._below)) & (np.abs(values) < ABSURD)
        return reached

    def left(self, values: Float32Array) -> BoolArray:
        """Values within both limits by half of the channel's smallest effect, bool[n_channels]; False where missing."""
        left: BoolArray = (values < self._calm_above) & (values > self._calm_below)
        return left


def _moved(channels: Sequence[Channel], limit: Float64Array, effects: float) -> Float64Array:
    """Finite limits moved by a multiple of the smallest effect, on the channels' scales; float64[m]."""
    scale = Scale(channels)
    finite = np.isfinite(limit)
    scaled, _ = scale.apply(np.where(finite, limit, 0.0))
    return np.where(finite, scale.invert(scaled + effects * scale.effect), limit)
