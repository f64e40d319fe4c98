"""Excursions: how long a channel stays anomalous after an alarm, and how the anomaly was noticed.

An alarm lasts one block only, because a forecaster re-centres after one step. From then on the values decide: the
excursion lasts until the channel's blocks are back within the band of the blocks before the alarm.
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

#: Rows of arrays of evidence: strength of the errors of single readings, of the pattern, and of the level.
READINGS, PATTERN, LEVEL = 0, 1, 2

# All constants of this file are chosen by hand.
# The band spans these quantiles of the newest blocks before the alarm; 64 blocks of 5 s are five minutes.
_BAND_BLOCKS = 64
_BAND = (0.05, 0.95)
# Consecutive blocks within the band that end an excursion.
_CALM_BLOCKS = 3
# A level has shifted when the blocks lay beyond one side of the band, by this share of its width, for this time, in
# seconds and in rows.
_AWAY_S, _AWAY_ROWS = 60.0, 12
_CLEARLY = 0.25
# Evidence below this share of the strongest does not determine the course of an excursion.
_SHARE = 0.5


class ExcursionsState(State):
    """Fields of `Excursions` that outlive a restart."""

    band: Float64Array = array("channel's scale", 2, CHANNEL)
    # Largest evidence during the present excursion; rows `READINGS`, `PATTERN`, `LEVEL`.
    evidence: Float64Array = array("limits", 3, CHANNEL)
    # Rows for which an alarm within the band still counts, and rows since the channel was last anomalous.
    unconfirmed: Float64Array = array("rows", CHANNEL)
    calm: Float64Array = array("rows", CHANNEL)
    # Whether errors of single readings caused the alarm.
    sudden: BoolArray = array("flag", CHANNEL, dtype=bool)
    # Consecutive rows clearly above the band; negative: below it.
    away: Float64Array = array("rows", CHANNEL)
    # Whether the channel is on an excursion.
    on: BoolArray = array("flag", CHANNEL, dtype=bool)
    anomalous: BoolArray = array("flag", CHANNEL, dtype=bool)
    # Whether the channel is anomalous and must not be learned from.
    deviating: BoolArray = array("flag", CHANNEL, dtype=bool)
    strength: Float64Array = array("limits", CHANNEL)
    # Anomalous rows of the present excursion.
    lasted: Float64Array = array("rows", CHANNEL)


class Excursions:
    """Follows excursions, each with the band that the channel has left.

    Parameters
    ----------
    half_effect
        float64[n_channels] ≥ 0 on the channels' scales, by which bands are widened on each side.
    interval_s
        Seconds between rows.
    block_rows
        Rows per block.
    confirm_s
        Seconds for which an alarm within the band counts.
    accept_after_s
        Seconds after which an excursion is accepted as the new normal.
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
        """Forget these channels, int64[m]; ``half_effect``, float64[m], is that of the channels that replace them."""
        self._state.reset(channels)
        self._recent.reset(channels)
        self._half_effect[channels] = half_effect

    @property
    def on(self) -> BoolArray:
        """Channels on an excursion, bool[n_channels]."""
        return self._state.on

    @property
    def anomalous(self) -> BoolArray:
        """Channels whose newest row is anomalous, bool[n_channels]: on an excursion and not calm."""
        return self._state.anomalous

    @property
    def deviating(self) -> BoolArray:
        """Anomalous channels that must not be learned from, bool[n_channels]; all but broken relations."""
        return self._state.deviating

    @property
    def strength(self) -> Float64Array:
        """Largest strength of the present excursion, float64[n_channels]; 0 without one."""
        return self._state.strength

    @property
    def lasted(self) -> Float64Array:
        """Anomalous rows of the present excursion, float64[n_channels]."""
        return self._state.lasted

    def push(self, values: Float64Array) -> None:
        """Add the newest block means, float64[n_channels], to those that form the band of the next alarm."""
        self._recent.push(values)

    def begin(self, strength: Float64Array, evidence: Float64Array, values: Float64Array) -> BoolArray:
        """Begin excursions at alarms and update the strength and evidence of the others.

        Parameters
        ----------
        strength
            float64[n_channels], in limits; 1 and more is an alarm.
        evidence
            float64[3, n_channels], strength by kind of evidence: `READINGS`, `PATTERN`, `LEVEL`.
        values
            float64[n_channels], the newest block means.

        Returns
        -------
        bool[n_channels], channels whose excursion begins.
        """
        state = self._state
        began: BoolArray = (strength >= 1.0) & ~state.on
        if np.count_nonzero(began):
            low, high = np.quantile(self._recent.view()[began], _BAND, axis=1)
            margin = self._half_effect[began]
            state.band[:, began] = np.stack((low - margin, high + margin))
            outside = (values < state.band[0]) | (values > state.band[1])
            # An alarm within the band, such as a broken pattern, cannot be confirmed by values: it counts for a time.
            state.unconfirmed = np.where(began, np.where(outside, 0.0, self._confirm_rows), state.unconfirmed)
            for counter in (state.lasted, state.calm, state.away):
                counter[began] = 0.0
            state.strength[began] = 0.0
            state.sudden = np.where(began, evidence[READINGS] >= 1.0, state.sudden)
            state.on |= began
        state.strength = np.where(state.on, np.maximum(state.strength, strength), 0.0)
        state.evidence = np.where(state.on, np.maximum(state.evidence, evidence), 0.0)
        return began

    def follow(self, strength: Float64Array, values: Float64Array, valid: BoolArray, unrelated: BoolArray) -> BoolArray:
        """Update the excursions with a row.

        Parameters
        ----------
        strength, values
            As in `begin`.
        valid
            bool[n_channels], channels with a reading; the others stay as they are.
        unrelated
            bool[n_channels], channels that deviate from their relation to others. An excursion that was not noticed by
            single readings lasts as long as this deviation, and the channel is learned meanwhile.

        Returns
        -------
        bool[n_channels], channels whose excursion is accepted as the new normal.
        """
        state = self._state
        # Compare block means, not readings: readings of a noisy channel often leave the band of block means.
        low, high = state.band
        outside = (values < low) | (values > high)
        deviating = outside | (state.unconfirmed > 0) | (strength >= 1.0)
        lasting = deviating | (unrelated & (state.evidence[READINGS] < 1.0))
        state.deviating = state.on & np.where(valid, deviating, state.deviating)
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
        state.deviating &= ~accepted
        return accepted

    def courses(self) -> Mapping[int, Course]:
        """Course (level or pattern) by channel, for excursions that single readings do not show best.

        An excursion that began gradually and has stayed on one side of its band for a minute is a level, too. A sudden
        one is classified by its values.
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
