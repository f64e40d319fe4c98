"""Deviation of a channel's level from its usual one, averaged over minutes to hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array
from agent.detection.alarm_bar import DAY_S
from agent.detection.running import learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["LevelDeviation", "averages"]

# All constants of this file are chosen by hand.
# Blocks over which levels are averaged, at most three hours; with blocks of 5 s one minute, four minutes, half an hour,
# three hours.
_BLOCKS, _LONGEST_S = (12.0, 48.0, 360.0, 2160.0), 3 * 3600.0
# A level is known after this many times the blocks that it averages, and from ten minutes on not before a day was seen.
_FEWEST_AVERAGES, _SLOW_S = 20.0, 600.0
# Largest step of the centre, and largest deviation learned, in usual deviations.
_STEP, _CLIP = 3.0, 5.0


def averages(block_s: float) -> Float64Array:
    """Blocks over which levels are averaged, ascending, float64[scales].

    Examples
    --------
    >>> averages(5.0).tolist(), averages(60.0).tolist(), averages(3600.0).tolist()
    ([12.0, 48.0, 360.0, 2160.0], [12.0, 48.0, 180.0], [3.0])
    """
    return np.unique(np.minimum(_BLOCKS, max(_LONGEST_S / block_s, 1.0)))


class LevelDeviationState(State):
    """Fields of a `LevelDeviation` that outlive a restart."""

    count: Float64Array = array("blocks learned", CHANNEL)
    seen: Float64Array = array("blocks", CHANNEL)
    # Mean over each number of blocks, and the slow centre and usual deviation that it is compared with.
    mean: Float64Array = array("channel's scale", "average", CHANNEL)
    centre: Float64Array = array("channel's scale", "average", CHANNEL)
    usual: Float64Array = array("channel's scale", "average", CHANNEL)


class LevelDeviation:
    """Exponentially weighted means of each channel at several time scales, each with its own slow centre.

    Parameters
    ----------
    n_channels
        Number of channels.
    block_s
        Seconds per block.
    memory
        Time constant of the centres and usual deviations, blocks.
    """

    def __init__(self, n_channels: int, block_s: float, memory: float) -> None:
        self._averaged = averages(block_s)[:, None]
        slow = self._averaged * block_s >= _SLOW_S
        self._fewest = np.maximum(_FEWEST_AVERAGES * self._averaged, np.where(slow, DAY_S / block_s, 0.0))
        self._slowest = 1.0 / memory
        self._state = LevelDeviationState(channel=n_channels, average=self._averaged.size)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    @property
    def count(self) -> Float64Array:
        """Blocks learned, float64[n_channels]."""
        return self._state.count

    @property
    def mean(self) -> Float64Array:
        """Means, float64[scales, n_channels]."""
        return self._state.mean

    @property
    def centre(self) -> Float64Array:
        """Usual means, float64[scales, n_channels]."""
        return self._state.centre

    @property
    def usual(self) -> Float64Array:
        """Usual deviations of the means from the centre, float64[scales, n_channels]."""
        return self._state.usual

    @property
    def known(self) -> BoolArray:
        """Whether centre and usual deviation are known, bool[scales, n_channels]."""
        known: BoolArray = self._state.count > self._fewest
        return known

    def follow(self, values: Float64Array, valid: BoolArray) -> None:
        """Update the means with the newest block means, float64[n_channels], of valid channels, bool[n_channels]."""
        state = self._state
        state.seen += valid
        rate = np.maximum(1.0 / np.maximum(state.seen, 1.0), 1.0 / self._averaged) * valid
        state.mean += rate * (values - state.mean)

    def learn(self, weight: Float64Array, floor: Float64Array) -> None:
        """Learn the present means.

        Parameters
        ----------
        weight
            float64[scales, n_channels] in 0..1, share of the learning rate; 0 where a mean is not learned.
        floor
            float64[n_channels], smallest usual deviation.
        """
        state = self._state
        first = (weight > 0.0) & (state.count == 0)
        state.centre = np.where(first, state.mean, state.centre)
        state.count += (weight > 0.0).any(axis=0)
        usual = np.maximum(state.usual, floor)
        settled = self.known
        away = state.mean - state.centre
        rate = learning_rate(state.count, self._slowest) * weight
        step = np.where(settled, _STEP * usual, np.inf)
        state.centre += rate * np.maximum(np.minimum(away, step), -step)
        state.usual += rate * (np.minimum(np.abs(away), np.where(settled, _CLIP * usual, np.inf)) - state.usual)

    def accept(self, which: BoolArray) -> None:
        """Make the present means of these channels, bool[n_channels], the usual ones."""
        self._state.centre = np.where(which, self._state.mean, self._state.centre)
