"""The alarm bar: how rare evidence about a channel must be to be worth an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

__all__ = ["DAY_S", "MEMORY_S", "AlarmBar", "cluster_gap"]

# All constants of this file are chosen by hand.
DAY_S = 86400.0
#: Memory of tails, seconds: four weeks, so that weekends count.
MEMORY_S = 28 * DAY_S
# Shortest return period of an alarm on a node, however large the alert budget is: seconds, but no more than blocks.
_SHORTEST_S, _SHORTEST_BLOCKS = 3600.0, 720.0
# While a node is young, an alarm needs evidence rarer than the time learned: this many times, and at least this rare,
# in seconds, but no more than blocks; in the first hour, when tails are least known, more often, up to a day.
_YOUNG, _YOUNGEST_S, _YOUNGEST_BLOCKS = 10.0, 6 * 3600.0, 4320.0
_FIRST = 30.0
# Largest strength: a million times the period at which an alert is sent.
_MOST_STRENGTH = 1e3
# Time without a peak that ends a cluster: blocks, but no more than seconds.
_GAP_BLOCKS, _GAP_S = 10.0, 600.0


def cluster_gap(between_s: Float64Array) -> Float64Array:
    """Values without a peak that end a cluster of peaks, at least 1, by the seconds between values."""
    gap: Float64Array = np.minimum(_GAP_BLOCKS, np.maximum(_GAP_S / between_s, 1.0))
    return gap


class AlarmBar:
    """Return period that raises an alarm, shared by the channels of a node.

    With n channels an alarm on each needs to be n times as rare as one alarm of the node.

    Parameters
    ----------
    budget_per_day
        Alerts a day that the node sends while nothing is wrong.
    n_channels
        Number of channels of the node.
    block_s
        Seconds per block of the finest scale.

    Examples
    --------
    >>> bar = AlarmBar(budget_per_day=0.1, n_channels=2, block_s=5.0)
    >>> (bar.period_s(np.array([30 * 86400.0, 3600.0])) / 86400.0).tolist()
    [20.0, 2.0]
    >>> bar.strength(np.array([0.0, 20.0, 2000.0]) * 86400.0, np.full(3, 30 * 86400.0)).tolist()
    [0.0, 1.0, 10.0]
    """

    def __init__(self, budget_per_day: float, n_channels: int, block_s: float) -> None:
        self._of_node_s = max(DAY_S / budget_per_day, min(_SHORTEST_S, _SHORTEST_BLOCKS * block_s))
        self._youngest_s = min(_YOUNGEST_S, _YOUNGEST_BLOCKS * block_s)
        self._n = n_channels

    def period_s(self, learned_s: Float64Array) -> Float64Array:
        """Return period of an alarm on channels that have learned for so many seconds, float64[n] seconds."""
        young_s = np.maximum(np.maximum(self._youngest_s, np.minimum(_FIRST * learned_s, DAY_S)), _YOUNG * learned_s)
        period_s: Float64Array = self._n * np.minimum(self._of_node_s, young_s)
        return period_s

    def strength(self, period_s: Float64Array, learned_s: Float64Array) -> Float64Array:
        """Root of return periods over that of an alarm, float64[..., n] in 0..1,000; 1 and more is an alarm."""
        strength: Float64Array = np.minimum(np.sqrt(period_s / self.period_s(learned_s)), _MOST_STRENGTH)
        return strength
