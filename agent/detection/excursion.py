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

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
    from agent.core.persistent_state import Record
    from agent.detection.verdict import Course

__all__ = ["LEVEL", "PATTERN", "READINGS", "Excursions"]

#: Rows of arrays of evidence: strength of the errors of single readings, of the pattern, and of the level.
READINGS, PATTERN, LEVEL = 0, 1, 2

# All constants of this file are chosen by hand.
# The band spans these quantiles of the blocks before the deviation; 64 blocks of 5 s are five minutes. A deviation of
# the level may have begun 48 blocks before the alarm.
_BAND_BLOCKS, _NOTICED_BLOCKS = 64, 48
_BAND = (0.05, 0.95)
# Fewest blocks before the newest 48 for a band of their own.
_FEWEST_BLOCKS = 16
# Newest blocks that are the new normal when an excursion is accepted.
_ACCEPTED_BLOCKS = 12
# Blocks after an excursion in which forecasts still follow from it: those of the linear forecast.
_FORGIVEN_BLOCKS = 64.0
# An excursion ends after this many consecutive blocks within the band, or an eighth of its duration, at most an hour.
_CALM_BLOCKS = 3
_CALM_SHARE, _CALM_MOST_S = 0.125, 3600.0
# A level has shifted when the blocks lay beyond one side of the band, by this share of its width, for this time, in
# seconds and in rows.
_AWAY_S, _AWAY_ROWS = 60.0, 12
_CLEARLY = 0.25
# Strength of lasting evidence from which on an excursion goes on: a hundred times less rare than an alarm.
_LASTS = 0.1
# Evidence below this share of the strongest does not determine the course of an excursion.
_SHARE = 0.5


class ExcursionsState(State):
    """Fields of `Excursions` that outlive a restart; version 2 added `since`, `pushed` and `outside`."""

    VERSION = 2

    band: Float64Array = array("channel's scale", 2, CHANNEL)
    # Largest evidence during the present excursion; rows `READINGS`, `PATTERN`, `LEVEL`.
    evidence: Float64Array = array("limits", 3, CHANNEL)
    # Rows for which an alarm within the band still counts, and rows since the channel was last anomalous.
    unconfirmed: Float64Array = array("rows", CHANNEL)
    calm: Float64Array = array("rows", CHANNEL)
    # Blocks in the two rings that form bands.
    pushed: Float64Array = array("blocks", CHANNEL)
    # Whether the channel was outside its band at the alarm.
    outside: BoolArray = array("flag", CHANNEL, dtype=bool)
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
    # Blocks since the last excursion ended.
    since: Float64Array = array("blocks", CHANNEL, initial=_FORGIVEN_BLOCKS)
    # Anomalous rows of the present excursion.
    lasted: Float64Array = array("rows", CHANNEL)

    @classmethod
    def migrated(cls, version: int, record: Record) -> Record:
        """See `State.migrated`."""
        n = np.size(record.get("calm", 0.0))
        new = {
            "since": np.full(n, _FORGIVEN_BLOCKS),
            "pushed": np.full(n, float(_BAND_BLOCKS)),
            "outside": np.asarray(record.get("on", np.zeros(n)), bool),
        }
        return super().migrated(version, record) | new


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
        self._most_calm_rows = max(self._calm_rows, round(_CALM_MOST_S / interval_s))
        self._confirm_rows = max(1, round(confirm_s / interval_s))
        self._accept_rows = max(accept_after_s / interval_s, 2.0)
        self._away_rows = max(_AWAY_ROWS, round(_AWAY_S / interval_s))
        self._recent = RingBuffer(n, _BAND_BLOCKS)
        # The blocks before the newest 48; the wait between the two rings is in the recent one.
        self._earlier = RingBuffer(n, _BAND_BLOCKS)
        self._state = ExcursionsState(channel=n)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("recent", self._recent)
        yield from below("earlier", self._earlier, added=True)

    def reset(self, channels: IntArray, half_effect: Float64Array) -> None:
        """Forget these channels, int64[m]; ``half_effect``, float64[m], is that of the channels that replace them."""
        self._state.reset(channels)
        self._recent.reset(channels)
        self._earlier.reset(channels)
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
        self._earlier.push(self._recent.view()[:, -_NOTICED_BLOCKS])
        self._recent.push(values)
        self._state.pushed = np.minimum(self._state.pushed + 1.0, _BAND_BLOCKS + _NOTICED_BLOCKS)
        self._state.since = np.where(self._state.on, 0.0, self._state.since + 1.0)

    def beyond_recent(self, values: Float64Array) -> BoolArray:
        """Channels, bool[n_channels], whose new block means lie beyond the newest 64 blocks."""
        recent = self._recent.view()
        beyond: BoolArray = (values < recent.min(axis=1)) | (values > recent.max(axis=1))
        return beyond

    @property
    def settled(self) -> BoolArray:
        """Channels whose forecasts follow from no excursion any more, bool[n_channels]."""
        settled: BoolArray = self._state.since >= _FORGIVEN_BLOCKS
        return settled

    def forgiven(self, values: Float64Array) -> BoolArray:
        """Channels, bool[n_channels], whose block means are usual ones after an excursion that has ended lately.

        Usual are those from before, or those accepted. Their forecasts still follow from the excursion. A tenth of the
        usual blocks lie beyond the band, therefore it is widened by its width on each side.
        """
        state = self._state
        low, high = state.band
        margin = high - low
        inside = (values >= low - margin) & (values <= high + margin)
        forgiven: BoolArray = inside & ~state.on & (state.since < _FORGIVEN_BLOCKS)
        return forgiven

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
            state.band[:, began] = self._band_before(began, evidence[:, began], values[began])
            outside = (values < state.band[0]) | (values > state.band[1])
            # An alarm within the band, such as a broken pattern, cannot be confirmed by values: it counts for a time.
            state.unconfirmed = np.where(began, np.where(outside, 0.0, self._confirm_rows), state.unconfirmed)
            state.outside = np.where(began, outside, state.outside)
            for counter in (state.lasted, state.calm, state.away):
                counter[began] = 0.0
            state.strength[began] = 0.0
            state.sudden = np.where(began, evidence[READINGS] >= 1.0, state.sudden)
            state.on |= began
        state.strength = np.where(state.on, np.maximum(state.strength, strength), 0.0)
        state.evidence = np.where(state.on, np.maximum(state.evidence, evidence), 0.0)
        return began

    def _band_before(self, began: BoolArray, evidence: Float64Array, values: Float64Array) -> Float64Array:
        """Range of usual blocks before a deviation, float64[2, m] for the channels that begin.

        Parameters
        ----------
        began
            bool[n_channels].
        evidence, values
            float64[3, m] and float64[m], as in `begin`.
        """
        readings, pattern, level = evidence
        # A level is noticed late.
        gradual = (level >= readings) & (level >= pattern)
        pushed, margin = self._state.pushed[began], self._half_effect[began]
        newest = _band(self._recent.view()[began], np.minimum(pushed, _BAND_BLOCKS), margin)
        count = pushed - _NOTICED_BLOCKS
        known = count >= _FEWEST_BLOCKS
        before = _band(self._earlier.view()[began], np.where(known, count, _BAND_BLOCKS), margin)
        # A deviation of readings may be noticed late, too. Then the newest blocks hold it.
        late = (
            (readings >= pattern)
            & (values >= newest[0])
            & (values <= newest[1])
            & ((values < before[0]) | (values > before[1]))
        )
        band: Float64Array = np.where(known & (gradual | late), before, newest)
        return band

    def follow(self, strength: Float64Array, values: Float64Array, valid: BoolArray, unrelated: BoolArray) -> BoolArray:
        """Update the excursions with a row.

        Parameters
        ----------
        strength, values
            As in `begin`.
        valid
            bool[n_channels], channels with a reading; the others stay as they are.
        unrelated
            bool[n_channels], channels that deviate from others or from their season. An excursion that was not noticed
            by single readings lasts as long as this deviation, and the channel is learned meanwhile.

        Returns
        -------
        bool[n_channels], channels whose excursion is accepted as the new normal.
        """
        state = self._state
        # Compare block means, not readings: readings of a noisy channel often leave the band of block means.
        low, high = state.band
        # Readings that were usual at the alarm may leave the band in their usual way.
        outside = state.outside & ((values < low) | (values > high))
        deviating = outside | (state.unconfirmed > 0) | (strength >= _LASTS)
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
        needed = np.minimum(np.maximum(_CALM_SHARE * state.lasted, self._calm_rows), self._most_calm_rows)
        state.on &= (state.calm < needed) & ~accepted
        if np.count_nonzero(accepted):
            newest = self._recent.view()[accepted, -_ACCEPTED_BLOCKS:]
            margin = self._half_effect[accepted]
            state.band[:, accepted] = newest.min(axis=1) - margin, newest.max(axis=1) + margin
        state.strength = np.where(state.on, state.strength, 0.0)
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


def _band(blocks: Float32Array, count: Float64Array, margin: Float64Array) -> Float64Array:
    """Range of the newest blocks, float64[2, m].

    Parameters
    ----------
    blocks
        float32[m, 64], the oldest first.
    count
        float64[m], number of the newest that are known; of a channel without any, the initial 0 counts.
    margin
        float64[m], added on both sides.
    """
    place = np.arange(blocks.shape[1], 0, -1)
    low, high = np.nanquantile(np.where(place <= np.maximum(count, 1.0)[:, None], blocks, np.nan), _BAND, axis=1)
    return np.stack((low - margin, high + margin))
