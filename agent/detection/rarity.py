"""The rarity head: all evidence about a channel in one unit, the time in which it is seen once.

Each kind of evidence has a lane of its own: the state score, novelty, the errors of the forecast, of the relation to
other channels and of the season, and the level averaged over minutes to hours. A lane learns the tail of its statistic;
the rarest lane speaks for its channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, lanes
from agent.detection.alarm_bar import DAY_S, MEMORY_S, cluster_gap
from agent.detection.level_deviation import LevelDeviation, averages
from agent.detection.recurring_events import RecurringEvents
from agent.detection.relative_error import RelativeError
from agent.detection.return_level import ReturnLevels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.detection.alarm_bar import AlarmBar

__all__ = ["FORECAST", "LEVEL", "NOVELTY", "RELATION", "SEASON", "STATE", "RarityHead"]

#: Lanes of evidence. Levels come last, in the order of `averages`. From the forecast on, lanes explain themselves by a
#: value and its usual range.
STATE, NOVELTY, FORECAST, RELATION, SEASON, LEVEL = range(6)
_ERRORS = slice(FORECAST, LEVEL)
# Memory of the usual levels, seconds: two weeks. Chosen by hand.
_LEVEL_MEMORY_S = 14 * DAY_S
# Memory of the usual size of errors, blocks, as in the state head, and the fewest learned.
_ERROR_BLOCKS, _FEWEST_ERRORS = 1500.0, 20.0
# Levels end a cluster after this share of the blocks that they are averaged over.
_GAP_SHARE = 0.5
# Blocks of an event that forecasts may notice, and blocks in which they follow from it: those of the linear forecast.
_AT_BEGIN, _FOLLOWED = 3.0, 64.0
# Events rarer than this on their lane are remembered, to recognise those that come back.
_NOTABLE_S = 0.5 * DAY_S
# Return period of an event that comes back at its time: never news.
_RECURRING_S = 0.5 * DAY_S
# An event seen so often is no rarer than this many times the mean time between its likes; not once, because the likes
# may have been faults. Chosen on the AIOps KPIs.
_OFTEN, _LIKES = 3, 10.0
# Levels rarer than this are learned more slowly, with this weight at least. Chosen by hand.
_UNUSUAL_S, _SLOWEST_SHARE = 0.25 * DAY_S, 0.1
# Time in which levels learn everything. Chosen by hand.
_YOUNG_S = 2 * DAY_S
# Largest part of the excess of a value that its usual range spans. Chosen by hand.
_CLEARLY = 0.8
# Smallest distance from a season that counts, and largest that is none, in usual deviations from the mean. The former
# was chosen on the AIOps KPIs, the latter by hand.
_OUT_OF_SEASON, _IN_SEASON = 2.0, 0.25
# Smallest statistic: the logarithm of a twentieth of the usual size.
_LEAST = -3.0
# Smallest usual size of a deviation, as a share of half of the smallest effect. Chosen by hand.
_LEAST_SHARE = 0.5
_TINY = 1e-9


class RarityHeadState(State):
    """Fields of a `RarityHead` that outlive a restart."""

    # Statistic of the newest block by lane, whether it is known, and its return period.
    statistic: Float64Array = array("logarithm of usual sizes", "lane", CHANNEL, initial=_LEAST)
    known: BoolArray = array("flag", "lane", CHANNEL, dtype=bool)
    # Whether the deviation is large enough to matter.
    counts: BoolArray = array("flag", "lane", CHANNEL, dtype=bool)
    # Logarithm of the deviation itself, which does not depend on its usual size.
    deviation: Float64Array = array("logarithm of the channel's scale", "lane", CHANNEL, initial=_LEAST)
    period_s: Float64Array = array("seconds", "lane", CHANNEL)
    # Blocks since the last notable event began.
    since_event: Float64Array = array("blocks", CHANNEL, initial=1e9)
    # Newest value and error by lane of an error: forecast, relation, season.
    values: Float64Array = array("channel's scale", "error", CHANNEL)
    errors: Float64Array = array("channel's scale", "error", CHANNEL, initial=np.nan)


class RarityHead:
    """Return periods of the evidence about each channel.

    Parameters
    ----------
    effect
        float64[n_channels] ≥ 0, smallest effect worth an alert, on the channels' scales.
    block_s
        Seconds per block of the finest scale.
    bar
        Return period that raises an alarm.
    relation, season
        Blocks of the finest scale per block of the scales of these errors.
    """

    def __init__(
        self, effect: Float64Array, block_s: float, bar: AlarmBar, *, relation: int = 1, season: int = 1
    ) -> None:
        n = effect.size
        self._half_effect = effect / 2.0
        self._bar, self._block_s = bar, block_s
        averaged = averages(block_s)
        # Blocks of the finest scale that the value of a lane averages, and between its values.
        self._averaged = np.concatenate(([1.0, 1.0, 1.0, relation, season], averaged))
        between_s = block_s * np.concatenate((self._averaged[:LEVEL], np.ones_like(averaged)))
        self._lanes = self._averaged.size
        gaps = cluster_gap(between_s)
        gaps[LEVEL:] = np.maximum(gaps[LEVEL:], _GAP_SHARE * averaged)
        self._levels = LevelDeviation(n, block_s, max(_LEVEL_MEMORY_S / block_s, 1.0))
        self._usual = RelativeError((SEASON - FORECAST) * n, _ERROR_BLOCKS)
        self._tails = ReturnLevels(np.repeat(between_s, n), MEMORY_S, np.repeat(gaps, n))
        self._events = RecurringEvents(self._lanes * n)
        self._state = RarityHeadState(channel=n, lane=self._lanes, error=LEVEL - FORECAST)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("levels", self._levels)
        yield from below("usual", self._usual)
        yield from below("tails", self._tails)
        yield from below("recurring_events", self._events)

    def reset(self, channels: IntArray, effect: Float64Array) -> None:
        """Forget these channels, int64[m]; ``effect``, float64[m], is that of the channels that replace them."""
        n = self._half_effect.size
        self._state.reset(channels)
        self._levels.reset(channels)
        self._usual.reset(lanes(channels, n, SEASON - FORECAST))
        for part in (self._tails, self._events):
            part.reset(lanes(channels, n, self._lanes))
        self._half_effect[channels] = effect / 2.0

    @property
    def strength(self) -> Float64Array:
        """Strength of the newest block's evidence by lane, float64[lanes, n_channels]; see `AlarmBar.strength`."""
        return self._bar.strength(self._state.period_s, self._learned_s())

    def judge(
        self,
        state: Float64Array,
        novelty: Float64Array,
        values: Float64Array,
        errors: Float64Array,
        *,
        valid: BoolArray,
        moved: BoolArray,
        floor: Float64Array,
        now_s: float,
    ) -> None:
        """Judge the newest block, before it is learned.

        Parameters
        ----------
        state, novelty
            float64[n_channels] ≥ 0, state head and novelty at this block.
        values, errors
            float64[3, n_channels], block means on the channels' scales and their errors: of the forecast, the relation
            and the season; NaN where unknown or not due.
        valid
            bool[n_channels], validity of the block means at the finest scale.
        moved
            bool[n_channels], channels beyond their recent values. For the others, forecast errors do not count soon
            after an event has begun: where a job or a glitch ends as it began, the forecast is to blame.
        floor
            float64[n_channels], smallest usual size of a deviation.
        now_s
            Seconds of the present row, without jumps.
        """
        own = self._state
        self._levels.follow(values[0], valid)
        own.values, own.errors = values, errors
        size = np.abs(errors)
        relative = np.empty((self._lanes, valid.size))
        relative[STATE], relative[NOVELTY] = state, novelty
        sizes = self._usual_sizes(floor)
        away = np.abs(self._levels.mean - self._levels.centre)
        relative[FORECAST:] = np.vstack((size, away)) / sizes
        # Most distances from the season are 0.
        relative[SEASON] = np.fmax(relative[SEASON], _IN_SEASON)
        own.known[STATE] = valid & (state > 0.0)
        own.known[NOVELTY] = valid
        own.known[_ERRORS] = np.isfinite(size)
        own.known[FORECAST:SEASON] &= (self._usual.count > _FEWEST_ERRORS).reshape(-1, valid.size)
        own.known[FORECAST] &= valid
        own.known[SEASON] &= self._levels.known[0]
        own.known[LEVEL:] = valid & self._levels.known
        own.statistic = np.where(own.known, np.log(np.fmax(relative, np.exp(_LEAST))), _LEAST)
        own.deviation = np.log(np.fmax(np.concatenate((relative[:FORECAST], size, away)), _TINY))
        # A deviation smaller than half of the smallest effect is never rare.
        counts = own.counts = own.known.copy()
        counts[_ERRORS] &= size > self._half_effect
        own.since_event += 1.0
        counts[FORECAST] &= moved | (own.since_event < _AT_BEGIN) | (own.since_event > _FOLLOWED)
        # Nor is a deviation from the days before that is hardly larger than usual ones from the mean.
        counts[SEASON] &= relative[SEASON] > _OUT_OF_SEASON
        counts[LEVEL:] &= away > self._half_effect
        period_s = self._tails.period_s(own.statistic.ravel()) * counts.ravel()
        # State and novelty add to a reading or level that is unusual by itself, which then explains them.
        explained = (period_s > 0.0).reshape(self._lanes, -1)[FORECAST:].any(axis=0)
        notable = np.flatnonzero(period_s >= _NOTABLE_S)
        if notable.size:
            events = np.zeros(valid.size, bool)
            events[notable % valid.size] = True
            own.since_event[events & (own.since_event > _FOLLOWED)] = 0.0
            period_s[notable] = self._known_events(notable, period_s[notable], now_s)
        own.period_s = period_s.reshape(self._lanes, -1)
        own.period_s[:FORECAST] *= explained

    def _known_events(self, which: IntArray, period_s: Float64Array, now_s: float) -> Float64Array:
        """Return periods of events, float64[m], given those seen before; then remember them.

        Parameters
        ----------
        which
            int64[m], lanes of all channels.
        period_s
            float64[m], return periods by the tails.
        now_s
            As for `judge`.
        """
        size = self._state.deviation.ravel()[which]
        again = self._events.recurs(which, size, now_s)
        likes = self._events.likes(which, size, now_s, MEMORY_S)
        seen_s = np.minimum(self._tails.learned_s[which], MEMORY_S)
        most_s = np.where(likes >= _OFTEN, _LIKES * seen_s / np.maximum(likes, 1), np.inf)
        self._events.remember(which, size, now_s)
        known: Float64Array = np.minimum(period_s, np.where(again, np.minimum(most_s, _RECURRING_S), most_s))
        return known

    def learn(
        self, valid: BoolArray, usual: BoolArray, related: BoolArray, settled: BoolArray, floor: Float64Array
    ) -> None:
        """Learn the newest block.

        Parameters
        ----------
        valid
            bool[n_channels], channels with a value.
        usual
            bool[n_channels], channels that are not on an excursion; the others are not learned.
        related
            bool[n_channels], channels that do not deviate from others or from their season; of the others, the errors
            of relation and season are not learned.
        settled
            bool[n_channels], channels of which no forecast follows from an excursion; of the others, only levels, and
            the errors of relation and season, are learned.
        floor
            As for `judge`.
        """
        own = self._state
        which = valid & usual
        learned = own.known & which
        learned[:RELATION] &= settled
        learned[RELATION : SEASON + 1] &= related
        weight = np.ones_like(own.period_s)
        # A level that is rare is hardly learned, so that a slow drift does not become usual while it goes on. In the
        # first days everything may belong to a channel's days and is learned.
        young = self._levels.count * self._block_s < _YOUNG_S
        slow = np.maximum(_SLOWEST_SHARE, np.minimum(1.0, _UNUSUAL_S / np.maximum(own.period_s[LEVEL:], 1.0)))
        weight[LEVEL:] = np.where(young, 1.0, slow)
        levels = valid & (usual | young)
        learned[LEVEL:] = own.known[LEVEL:] & levels
        self._tails.learn(own.statistic.ravel(), learned.ravel(), weight.ravel())
        errors = own.errors[: SEASON - FORECAST]
        self._usual.learn(
            np.abs(errors).ravel(),
            (np.isfinite(errors) & np.stack((which & settled, which & related))).ravel(),
            np.tile(floor, len(errors)),
        )
        self._levels.learn(levels * weight[LEVEL:], floor)

    def accept(self, which: BoolArray, relation: Float64Array) -> None:
        """Make the present behaviour of channels usual.

        Parameters
        ----------
        which
            bool[n_channels].
        relation
            float64[n_channels], sizes of their present errors of relation.
        """
        if np.count_nonzero(which):
            self._levels.accept(which)
            self._usual.raise_to(np.concatenate((np.zeros(which.size), relation * which)))

    def describe(
        self, channels: IntArray, lasting: BoolArray, floor: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Describe the evidence of some channels by a value, its usual range, and its return period.

        The range is the one that the value leaves once in the period of an alarm, or less if the value lies within it.

        Parameters
        ----------
        channels
            int64[m].
        lasting
            bool[m], channels of which only levels are evidence: forecasts follow their anomaly.
        floor
            As for `judge`.

        Returns
        -------
        described
            float64[5, m]: value, expectation, lower and upper end on the channels' scales, and blocks that the value
            averages.
        period_s
            float64[m].
        """
        own, n = self._state, self._half_effect.size

        def shaped(lanes: Float64Array) -> Float64Array:
            return lanes.reshape(self._lanes, n)[FORECAST:, channels]

        alarm = shaped(self._tails.level(np.tile(self._bar.period_s(self._learned_s()), self._lanes)))
        # By the tails alone, because an event that comes back has no period of its own.
        period_s = shaped(self._tails.period_s(own.statistic.ravel()) * own.counts.ravel())
        period_s[: LEVEL - FORECAST] *= ~lasting
        best = period_s.argmax(axis=0)
        at = (best, np.arange(len(channels)))
        statistic = own.statistic[FORECAST:, channels][at]
        begin = shaped(self._tails.begin)[at]
        # Clearly less than the value, which is to lie outside after rounding, too.
        limit = np.minimum(alarm[at], begin + _CLEARLY * np.maximum(statistic - begin, 0.0))
        sizes = self._usual_sizes(floor)[:, channels]
        values = np.vstack((own.values, self._levels.mean))[:, channels]
        expected = np.vstack((own.values - own.errors, self._levels.centre))[:, channels]
        width = np.maximum(np.exp(limit) * sizes[at], self._half_effect[channels])
        blocks = self._averaged[FORECAST:][best]
        described = np.stack((values[at], expected[at], expected[at] - width, expected[at] + width, blocks))
        rarest_s = np.where(lasting, own.period_s[LEVEL:, channels].max(axis=0), own.period_s[:, channels].max(axis=0))
        return described, rarest_s

    def _learned_s(self) -> Float64Array:
        """Time learned of each channel's oldest lane, float64[n_channels] seconds."""
        learned_s: Float64Array = self._tails.learned_s.reshape(self._lanes, -1).max(axis=0)
        return learned_s

    def _usual_sizes(self, floor: Float64Array) -> Float64Array:
        """Usual sizes of deviations from the forecast lane on, float64[lanes, n_channels] > 0.

        Distances from the season are compared with deviations from the mean.
        """
        usual = np.vstack((self._usual.usual.reshape(-1, floor.size), self._levels.usual[0], self._levels.usual))
        least = np.maximum(floor, _LEAST_SHARE * self._half_effect) + _TINY
        sizes: Float64Array = np.maximum(usual, least)
        return sizes
