"""Excursions: for how long a channel is anomalous after an alarm, and by what it was noticed.

An alarm is a matter of one block, for a forecaster re-centres after one step. What follows is told by the values: a
channel is on an excursion until its blocks lie within the band of those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below
from agent.core.ring_buffer import RingBuffer
from agent.detection.verdict import NO_COURSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.detection.verdict import Course

__all__ = ["LEVEL", "PATTERN", "READINGS", "Excursions"]

#: Rows of the evidence: what errors of single readings, of patterns, and of the level say.
READINGS, PATTERN, LEVEL = 0, 1, 2

# Recent blocks whose 5 % and 95 % quantiles are the band outside which a deviation is confirmed.
_BAND_BLOCKS = 64
_BAND = (0.05, 0.95)
# A channel that was within its band for so many blocks is over its excursion. One that was clearly on one side of it
# for so long, and so many rows, has another level: by this share of its width.
_CALM_BLOCKS = 3
_AWAY_S, _AWAY_ROWS = 60.0, 12
_CLEARLY = 0.25
# What has less than this share in the strongest evidence does not say what an excursion is.
_SHARE = 0.5


class ExcursionsState(State):
    """Fields of `Excursions` that outlive a restart."""

    band: Float64Array = array("channel's scale", 2, CHANNEL)
    # The most that kinds of error have said of the present excursion.
    evidence: Float64Array = array("limits", 3, CHANNEL)
    # Rows for which an alarm within the band still counts, and for which the channel has been calm.
    unconfirmed: Float64Array = array("rows", CHANNEL)
    calm: Float64Array = array("rows", CHANNEL)
    # Where single readings made the alarm.
    sudden: BoolArray = array("flag", CHANNEL, dtype=bool)
    # Rows for which the blocks have been clearly above the band, or below it with a negative sign.
    away: Float64Array = array("rows", CHANNEL)
    on: BoolArray = array("flag", CHANNEL, dtype=bool)
    anomalous: BoolArray = array("flag", CHANNEL, dtype=bool)
    strange: BoolArray = array("flag", CHANNEL, dtype=bool)
    strength: Float64Array = array("limits", CHANNEL)
    lasted: Float64Array = array("rows", CHANNEL)


class Excursions:
    """Where channels are on an excursion, each with the band that it has left.

    Parameters
    ----------
    half_effect
        float64[n_channels] ≥ 0, by which bands are widened.
    interval_s
        Seconds between rows.
    block_rows
        Rows a block.
    confirm_s, accept_after_s
        For how long an alarm within the band counts, and after how long what a channel does is its new normal.
    """

    def __init__(
        self, half_effect: Float64Array, interval_s: float, *, block_rows: int, confirm_s: float, accept_after_s: float
    ) -> None:
        n = half_effect.size
        self._half_effect = half_effect
        self._calm_rows = _CALM_BLOCKS * block_rows
        self._confirm_rows = max(1, round(confirm_s / interval_s))
        self._accept_rows = max(accept_after_s / interval_s, 2.0)
        self._away_rows = max(_AWAY_ROWS, round(_AWAY_S / interval_s))
        self._recent = RingBuffer(n, _BAND_BLOCKS)
        self._state = ExcursionsState(channel=n)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("recent", self._recent)

    def reset(self, channels: IntArray, half_effect: Float64Array) -> None:
        """Forget these channels, int64[m]; float64[m] is half of the smallest effect of those that come instead."""
        self._state.reset(channels)
        self._recent.reset(channels)
        self._half_effect[channels] = half_effect

    @property
    def on(self) -> BoolArray:
        """Where there is an excursion, bool[n]."""
        return self._state.on

    @property
    def anomalous(self) -> BoolArray:
        """Where the newest row is anomalous, bool[n]: on an excursion that is not just calm."""
        return self._state.anomalous

    @property
    def strange(self) -> BoolArray:
        """Those of the anomalous whose values say so, bool[n]: of them nothing is to be learned."""
        return self._state.strange

    @property
    def strength(self) -> Float64Array:
        """Greatest strength of the present excursion, float64[n]; 0 where there is none."""
        return self._state.strength

    @property
    def lasted(self) -> Float64Array:
        """Anomalous rows of the present excursion, float64[n]."""
        return self._state.lasted

    def push(self, values: Float64Array) -> None:
        """Remember the newest blocks, float64[n]."""
        self._recent.push(values)

    def begin(self, strength: Float64Array, told: Float64Array, values: Float64Array) -> BoolArray:
        """Begin excursions where there is an alarm, each with the band of its recent blocks; go on with the others.

        Parameters
        ----------
        strength
            float64[n], an alarm from 1 on.
        told
            float64[3, n], what the kinds of error say: `READINGS`, `PATTERN`, `LEVEL`.
        values
            float64[n], the newest blocks.

        Returns
        -------
        bool[n], where one began.
        """
        state = self._state
        began: BoolArray = (strength >= 1.0) & ~state.on
        if np.count_nonzero(began):
            low, high = np.quantile(self._recent.view()[began], _BAND, axis=1)
            margin = self._half_effect[began]
            state.band[:, began] = np.stack((low - margin, high + margin))
            outside = (values < state.band[0]) | (values > state.band[1])
            # What is unusual though its values are not cannot be confirmed by values: it lasts for the time of one.
            state.unconfirmed = np.where(began, np.where(outside, 0.0, self._confirm_rows), state.unconfirmed)
            for counter in (state.lasted, state.calm, state.away):
                counter[began] = 0.0
            state.strength[began] = 0.0
            state.sudden = np.where(began, told[READINGS] >= 1.0, state.sudden)
            state.on |= began
        state.strength = np.where(state.on, np.maximum(state.strength, strength), 0.0)
        state.evidence = np.where(state.on, np.maximum(state.evidence, told), 0.0)
        return began

    def follow(self, strength: Float64Array, values: Float64Array, valid: BoolArray, estranged: BoolArray) -> BoolArray:
        """Take in a row while there are excursions.

        Parameters
        ----------
        strength, values
            As in `begin`.
        valid
            bool[n], where there is a reading; without one all stays as it was.
        estranged
            bool[n], channels that do not go with the others: an excursion noticed by that lasts as long, and is learned
            from all the while.

        Returns
        -------
        bool[n], where an excursion is over because it lasted so long that it is the new normal.
        """
        state = self._state
        # The band is that of blocks: single readings of a noisy channel leave it all the time.
        low, high = state.band
        outside = (values < low) | (values > high)
        strange = outside | (state.unconfirmed > 0) | (strength >= 1.0)
        lasting = strange | (estranged & (state.evidence[READINGS] < 1.0))
        state.strange = state.on & np.where(valid, strange, state.strange)
        state.anomalous = state.on & np.where(valid, lasting, state.anomalous)
        margin = _CLEARLY * (high - low)
        side = (values > high + margin).astype(np.float64) - (values < low - margin)
        state.away = side * (1.0 + np.maximum(state.away * side, 0.0))
        state.unconfirmed = np.maximum(state.unconfirmed - 1.0, 0.0)
        state.lasted += state.anomalous
        state.calm = np.where(state.anomalous, 0.0, state.calm + valid)
        accepted: BoolArray = state.on & (state.lasted >= self._accept_rows)
        state.on &= (state.calm < self._calm_rows) & ~accepted
        state.anomalous &= ~accepted
        state.strange &= ~accepted
        return accepted

    def courses(self) -> Mapping[int, Course]:
        """What the excursions are, of those that single readings do not show best.

        A level, too, is what has come to stay on one side of its band, unless it went there at once: then its values
        say what it is.
        """
        state = self._state
        if not np.count_nonzero(state.on):
            return NO_COURSES
        readings, _, level = state.evidence
        enough = _SHARE * state.evidence.max(axis=0)
        gone = ~state.sudden & (np.abs(state.away) >= self._away_rows)
        slow = np.flatnonzero(state.on & ((readings < np.maximum(enough, 1.0)) | gone))
        levels = gone | (level >= enough)
        return {int(c): "level" if levels[c] else "pattern" for c in slow}
