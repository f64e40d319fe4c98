"""Excursions: for how long a channel is anomalous after an alarm, and by what it was noticed.

An alarm is a matter of one block, for a forecaster re-centres after one step. What follows is told by the values: a
channel is on an excursion until its blocks lie within the band of those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.ring import Ring
from agent.types import NO_COURSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.types import BoolArray, Course, Float64Array

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
        self._recent = Ring(n, _BAND_BLOCKS)
        self._band = np.zeros((2, n))
        # float64[3, n], the most that kinds of error have said of the present excursion.
        self._evidence = np.zeros((3, n))
        # Rows for which an alarm within the band still counts, and for which the channel has been calm.
        self._unconfirmed = np.zeros(n)
        self._calm = np.zeros(n)
        # Where single readings made the alarm; and rows for which the blocks have been clearly above the band, or below
        # it with a negative sign.
        self._sudden = np.zeros(n, bool)
        self._away = np.zeros(n)
        #: bool[n], where there is an excursion.
        self.on = np.zeros(n, bool)
        #: bool[n], where the newest row is anomalous: on an excursion that is not just calm.
        self.anomalous = np.zeros(n, bool)
        #: bool[n], those of the anomalous whose values say so: of them nothing is to be learned.
        self.strange = np.zeros(n, bool)
        #: float64[n], the greatest strength of the present excursion; 0 where there is none.
        self.strength = np.zeros(n)
        #: float64[n], anomalous rows of the present excursion.
        self.lasted = np.zeros(n)

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
        began: BoolArray = (strength >= 1.0) & ~self.on
        if np.count_nonzero(began):
            low, high = np.quantile(self._recent.view()[began], _BAND, axis=1)
            margin = self._half_effect[began]
            self._band[:, began] = np.stack((low - margin, high + margin))
            outside = (values < self._band[0]) | (values > self._band[1])
            # What is unusual though its values are not cannot be confirmed by values: it lasts for the time of one.
            self._unconfirmed = np.where(began, np.where(outside, 0.0, self._confirm_rows), self._unconfirmed)
            for counter in (self.lasted, self._calm, self._away):
                counter[began] = 0.0
            self.strength[began] = 0.0
            self._sudden = np.where(began, told[READINGS] >= 1.0, self._sudden)
            self.on |= began
        self.strength = np.where(self.on, np.maximum(self.strength, strength), 0.0)
        self._evidence = np.where(self.on, np.maximum(self._evidence, told), 0.0)
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
        # The band is that of blocks: single readings of a noisy channel leave it all the time.
        low, high = self._band
        outside = (values < low) | (values > high)
        strange = outside | (self._unconfirmed > 0) | (strength >= 1.0)
        lasting = strange | (estranged & (self._evidence[READINGS] < 1.0))
        self.strange = self.on & np.where(valid, strange, self.strange)
        self.anomalous = self.on & np.where(valid, lasting, self.anomalous)
        margin = _CLEARLY * (high - low)
        side = (values > high + margin).astype(np.float64) - (values < low - margin)
        self._away = side * (1.0 + np.maximum(self._away * side, 0.0))
        self._unconfirmed = np.maximum(self._unconfirmed - 1.0, 0.0)
        self.lasted += self.anomalous
        self._calm = np.where(self.anomalous, 0.0, self._calm + valid)
        accepted: BoolArray = self.on & (self.lasted >= self._accept_rows)
        self.on &= (self._calm < self._calm_rows) & ~accepted
        self.anomalous &= ~accepted
        self.strange &= ~accepted
        return accepted

    def courses(self) -> Mapping[int, Course]:
        """What the excursions are, of those that single readings do not show best.

        A level, too, is what has come to stay on one side of its band, unless it went there at once: then its values
        say what it is.
        """
        if not np.count_nonzero(self.on):
            return NO_COURSES
        readings, _, level = self._evidence
        enough = _SHARE * self._evidence.max(axis=0)
        gone = ~self._sudden & (np.abs(self._away) >= self._away_rows)
        slow = np.flatnonzero(self.on & ((readings < np.maximum(enough, 1.0)) | gone))
        levels = gone | (level >= enough)
        return {int(c): "level" if levels[c] else "pattern" for c in slow}
