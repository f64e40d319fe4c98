"""The universal detector: judges channels at several time scales and gives each two scores.

The *alert score* is novelty: the excess of errors beyond all errors seen, as the root of the sum of squares over all
kinds of error and scales. The *state score* compares deviations with their usual size. See docs/detection.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, number
from agent.detection.alarm_bar import AlarmBar
from agent.detection.block_sum import BlockSum
from agent.detection.detector import Detector
from agent.detection.excursion import Excursions
from agent.detection.flatline import FlatLine
from agent.detection.lasting_deviation import LastingDeviation
from agent.detection.onsets import Onsets
from agent.detection.rarity import FORECAST, RELATION, SEASON, RarityHead
from agent.detection.rarity import LEVEL as LEVELS
from agent.detection.refractory import Refractory
from agent.detection.relative_error import node_state
from agent.detection.scaling import Scale
from agent.detection.scored_scale import MOST_STRENGTH, STILL, ScoredScale
from agent.detection.state_score import STATE_BLOCKS, StateHead
from agent.detection.thresholds.registry import make_threshold
from agent.detection.time_scale import ErrorKind, TimeScale, blocks_a_day
from agent.detection.verdict import Verdict
from agent.models.features import NORMALISATION_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.core.persistent_state import Record
    from agent.detection.settings import AlertTimes, DetectionConfig
    from agent.models.interpreter_pool import InterpreterPool

__all__ = ["SCALES", "UniversalDetector", "kinds_at"]

#: Time scales in blocks of the finest: 5 s, one, two and four minutes with blocks of 5 s. `tools.benchmark parts` gives
#: the benefit of each on NAB.
SCALES = (1, 12, 24, 48)
# Memory of the normalisation at the coarser scales, blocks. Chosen on NAB (`tools.benchmark nab`).
_COARSE_MEMORY = NORMALISATION_ROWS // 2
# Memory of levels: a month, and at least this many blocks of the coarsest scale. Chosen on NAB.
_LEVEL_BLOCKS = 200.0
_LEVEL_MEMORY_S = 30 * 86400.0
# Refractory time of a channel, blocks of the finest scale. Chosen on NAB, where results hardly change around it.
_REFRACTORY_BLOCKS = 90
# Seconds of an excursion during which the limits learn only its onset. Chosen by hand.
_FROZEN_S = 600.0
# If blocks are shorter than a minute, limits learn one onset an hour. Chosen on recordings of a server under stress
# (`tools.benchmark host`).
_MINUTE_S, _BETWEEN_ONSETS_S = 60.0, 3600.0
# With `sparing`, one block out of this many is remembered for a week. Chosen by hand.
_THIN = 4
# Kinds of error that last although each reading is usual, with their lanes of evidence.
_DEVIATIONS = {ErrorKind.RELATION: RELATION, ErrorKind.SEASON: SEASON}


class UniversalDetectorState(State):
    """Fields of a `UniversalDetector` that outlive a restart; version 2 added the evidence told."""

    VERSION = 2

    seen: Float64Array = array("readings", CHANNEL)
    node_state: float = number("0..1", initial=0.0)
    # Strength of the newest blocks by kind of evidence: `READINGS`, `PATTERN`, `LEVEL`.
    block_evidence: Float64Array = array("limits", 3, CHANNEL)
    # Strongest evidence of the present excursion: value, expectation, lower and upper end of the usual range, and
    # seconds that the value averages; then its return period.
    told: Float64Array = array("channel's scale", 5, CHANNEL, initial=np.nan)
    told_period_s: Float64Array = array("seconds", CHANNEL)
    # Displayed limits of the forecast error; during an excursion those before it.
    shown: Float64Array = array("channel's scale", 2, CHANNEL)
    invalid: int = number("readings that were present but unusable", initial=0)

    @classmethod
    def migrated(cls, version: int, record: Record) -> Record:
        """See `State.migrated`."""
        n = np.size(record.get("seen", 0.0))
        new = {"told": np.full((5, n), np.nan), "told_period_s": np.zeros(n)}
        return super().migrated(version, record) | new


class UniversalDetector(Detector):
    """Runs a universal bundle, which suits any channel.

    While a channel is anomalous, its normalisation and recurrent state are frozen, so that the expectation stays at the
    normal behaviour. Learning resumes when the anomaly is over, or after ``accept_after_s``, when it is accepted as the
    new normal. Limits grow by half of the excess at each onset, so that a recurring event becomes normal after a few
    times, or after hours where blocks are short. They also learn an anomaly once it has lasted for ten minutes.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    networks
        Networks of a universal bundle.
    detection, alerts
        Sections of the configuration.
    interval_s
        Seconds between frames; all times are rounded to it.
    phase
        Rows by which blocks end earlier, see `BlockSum`.
    sparing
        Save memory for thousands of channels: no linear and analog forecasts, and a coarser memory of the last week.
    related
        Whether channels are compared with each other. By default, if there are several, the configuration allows it,
        and ``sparing`` is off.
    among
        Number of channels that share the alert budget of the node; by default those given.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        networks: InterpreterPool,
        detection: DetectionConfig,
        alerts: AlertTimes,
        interval_s: float,
        *,
        phase: int = 0,
        sparing: bool = False,
        related: bool | None = None,
        among: int | None = None,
    ) -> None:
        super().__init__(alerts, interval_s)
        n = len(channels)
        related = (detection.relations and n > 1 and not sparing) if related is None else related
        self.scale = Scale(channels)
        self._minimum = np.array([c.minimum for c in channels])
        self._maximum = np.array([c.maximum for c in channels])
        self._sensitivity = np.array([c.sensitivity for c in channels])
        effect = self.scale.effect
        rows = max(1, round(detection.block_s / interval_s))
        self._blocks = BlockSum(n, rows, phase)
        self._scales: list[ScoredScale] = []
        of_kind = kinds_at(rows * interval_s, related=related)
        for scale, kinds in of_kind.items():
            block_s = scale * rows * interval_s
            memory = NORMALISATION_ROWS if scale == 1 else _COARSE_MEMORY
            time_scale = TimeScale(
                networks,
                effect / STILL,
                scale=scale,
                block_s=block_s,
                memory=memory,
                kinds=kinds,
                phase=phase // (scale * rows),
                thin=_THIN if sparing else 1,
            )
            threshold = make_threshold(
                detection.threshold,
                np.tile(effect, len(kinds)),
                np.repeat([_memory(kind, detection.memory_s, block_s) for kind in kinds], n),
            )
            self._scales.append(ScoredScale(time_scale, threshold, n, max(STATE_BLOCKS / scale, 60.0)))
        self._head = StateHead(n, networks.manifest.forecaster.units + 1, len(SCALES), sparing=sparing)
        relation, season = (
            next((scale for scale, kinds in of_kind.items() if kind in kinds), 1) for kind in _DEVIATIONS
        )
        bar = AlarmBar(alerts.budget_per_day, among or n, rows * interval_s)
        self._rarity = RarityHead(effect, rows * interval_s, bar, relation=relation, season=season)
        self._interval_s, self._block_s = interval_s, rows * interval_s
        self._flat_line = FlatLine(n, interval_s, 0.0)
        self._frozen_rows = _FROZEN_S / interval_s
        self._state = UniversalDetectorState(channel=n)
        self._no, self._nowhere = np.zeros(n), np.zeros(n, bool)
        between_s = _BETWEEN_ONSETS_S if rows * interval_s < _MINUTE_S else 0.0
        self._onsets = Onsets(n, between_s / interval_s)
        self._refractory = Refractory(n, _REFRACTORY_BLOCKS * rows)
        self._deviations = {lane: LastingDeviation(n) for lane in _DEVIATIONS.values()}
        self._excursions = Excursions(
            effect / 2.0,
            interval_s,
            block_rows=rows,
            confirm_s=alerts.confirm_s,
            accept_after_s=detection.accept_after_s,
        )
        self._state.shown = self._limits()

    @property
    def invalid(self) -> int:  # type: ignore[override]
        """Readings so far that were present but unusable."""
        return self._state.invalid

    def states(self) -> Iterator[Part]:
        """See `Detector.states`."""
        yield Part("", self._state)
        for scale, scored in zip(SCALES, self._scales, strict=True):
            yield from below(f"scale_{scale}", scored)
        yield from below("state_score", self._head)
        yield from below("rarity", self._rarity, added=True)
        yield from below("flat_line", self._flat_line)
        yield from below("blocks", self._blocks)
        yield from below("onsets", self._onsets)
        yield from below("refractory", self._refractory)
        yield from below("cross_channel_deviation", self._deviations[RELATION])
        yield from below("seasonal_deviation", self._deviations[SEASON], added=True)
        yield from below("excursions", self._excursions)

    def step(self, frame: Frame) -> Verdict:
        """See `Detector.step`."""
        state = self._state
        scaled, valid = self.scale.apply(frame.values)
        if np.count_nonzero(valid) < valid.size:
            state.invalid += int(np.count_nonzero(~valid & ~np.isnan(frame.values)))
        state.seen = state.seen + valid
        ready = state.seen > self._learning_rows
        finest, limits = self._scales[0], state.shown
        outlook = finest.time_scale.outlook
        due = self._gather(scaled, valid)
        strength, loud = self._judge(due, ready) if due else (self._no, self._no)
        stuck = self._flat_line.step(scaled, valid)
        if stuck is not self._flat_line.never:
            stuck = np.minimum(stuck * self._sensitivity, MOST_STRENGTH) * ready
            loud = np.maximum(loud, stuck)
        excursions, values = self._excursions, finest.time_scale.values
        if loud is not self._no:
            loud = np.where(excursions.forgiven(values), 0.0, loud)
        if loud is not self._no:
            stronger, lasting = loud > excursions.strength, excursions.on.copy()
            excursions.begin(loud, state.block_evidence, values)
            self._tell(stronger & excursions.on, loud, stuck, lasting)
        deviated = excursions.deviating
        accepted = self._nowhere
        if np.count_nonzero(excursions.on):
            accepted = excursions.follow(loud, values, valid, self._unrelated())
            self._rarity.accept(accepted, self._deviations[RELATION].largest)
            for deviation in self._deviations.values():
                deviation.accept(accepted)
            self._flat_line.accept(accepted)
            self._head.accept(accepted)
        if np.count_nonzero(np.isfinite(state.told[0]) & ~excursions.on):
            state.told = np.where(excursions.on, state.told, np.nan)
            state.told_period_s = np.where(excursions.on, state.told_period_s, 0.0)
        if due:
            # Limits learn onsets and lasting anomalies only; otherwise a short anomaly would soon fit within them.
            deviating = excursions.deviating
            passing = deviated & deviating & (excursions.lasted < self._frozen_rows)
            self._learn(due, ~deviating, passing | self._onsets.frozen(self._blocks.row, passing))
            state.node_state = node_state(self._head.state[ready])
        return Verdict(
            value=frame.values,
            outlook=outlook,
            limits=(limits[0], limits[1]),
            in_units=self.in_units,
            strength=strength,
            peak=self._peak(),
            anomalous=excursions.on.copy(),
            accepted=accepted,
            seen=state.seen,
            learning_rows=self._learning_rows,
            provisional_rows=self._provisional_rows,
            state=self._head.state * ready,
            state_score=state.node_state,
            errors=finest.errors[:2],
            courses=self._excursions.courses(),
            told=state.told,
            period_s=state.told_period_s,
        )

    def rest(self) -> Verdict:
        """Verdict between two rows: ongoing anomalies last, nothing new begins, and nothing is learned."""
        state = self._state
        n = self._no.size
        return Verdict(
            value=np.full(n, np.nan, np.float32),
            outlook=self._scales[0].time_scale.outlook,
            limits=(state.shown[0], state.shown[1]),
            in_units=self.in_units,
            strength=self._no,
            peak=self._peak(),
            anomalous=self._excursions.on.copy(),
            accepted=self._nowhere,
            seen=state.seen,
            learning_rows=self._learning_rows,
            provisional_rows=self._provisional_rows,
            state=self._head.state * (state.seen > self._learning_rows),
            state_score=state.node_state,
            errors=np.full((2, n), np.nan),
            courses=self._excursions.courses(),
            told=state.told,
            period_s=state.told_period_s,
        )

    def skip(self, rows: int) -> None:
        """See `Detector.skip`; block numbers advance, so that seasonal inputs stay a day and a week apart."""
        before, after = self._blocks.skip(rows)
        for scale, scored in zip(SCALES, self._scales, strict=True):
            scored.time_scale.skip(after // scale - before // scale)

    def replace(self, indices: IntArray, channels: Sequence[Channel]) -> None:
        """See `Detector.replace`."""
        self.scale.replace(indices, channels)
        self._minimum[indices] = [c.minimum for c in channels]
        self._maximum[indices] = [c.maximum for c in channels]
        self._sensitivity[indices] = [c.sensitivity for c in channels]
        effect = self.scale.effect[indices]
        for scored in self._scales:
            scored.reset(indices, effect)
        parts = (self._blocks, self._head, self._flat_line, self._onsets, self._refractory)
        for part in (self._state, *parts):
            part.reset(indices)
        for deviation in self._deviations.values():
            deviation.reset(indices)
        self._excursions.reset(indices, effect / 2.0)
        self._rarity.reset(indices, effect)
        self._state.shown[:, indices] = self._limits()[:, indices]

    def _gather(self, scaled: Float64Array, valid: BoolArray) -> list[ScoredScale]:
        """Add a row; return the scales with a block that it completes."""
        blocks = self._blocks
        if not blocks.push(scaled, valid):
            return []
        due = [scored for scored in self._scales if scored.time_scale.push(blocks.total, blocks.present)]
        blocks.clear()
        return due

    def _judge(self, due: list[ScoredScale], ready: BoolArray) -> tuple[Float64Array, Float64Array]:
        """Judge all blocks completed by this row.

        Returns
        -------
        novelty
            float64[n_channels] in limits, the alert score; 0 in the refractory time.
        strength
            float64[n_channels], 1 and more is an alarm; see `RarityHead.strength`.
        """
        state = self._state
        squares = np.zeros_like(self._no)
        finest, head, rarity = self._scales[0].time_scale, self._head, self._rarity
        errors = np.full((len(_DEVIATIONS) + 1, self._no.size), np.nan)
        values = np.tile(finest.values, (len(errors), 1))
        for scored in due:
            squares += np.square(scored.judge(head.floor)).sum(axis=0)
            for kind, error in zip(scored.time_scale.kinds, scored.errors, strict=True):
                if kind in _DEVIATIONS:
                    seasonal = kind is ErrorKind.SEASON
                    errors[_DEVIATIONS[kind] - FORECAST] = scored.time_scale.out_of_season() if seasonal else error
                    values[_DEVIATIONS[kind] - FORECAST] = scored.time_scale.values
        expected = np.where(np.isnan(head.forecast), finest.outlook[0], head.forecast)
        head.follow(finest.values, finest.valid, finest.usual_change, (scored.ratio for scored in self._scales))
        # A forecast beyond all values seen is no expectation.
        errors[0] = finest.values - np.minimum(np.maximum(expected, head.lowest), head.highest)
        novelty: Float64Array = np.sqrt(squares) * self._sensitivity
        self._onsets.follow((novelty >= 1.0) & ready)
        now_s = self._blocks.row * self._interval_s
        moved = self._excursions.beyond_recent(finest.values)
        rarity.judge(
            head.state, novelty, values, errors, valid=finest.valid, moved=moved, floor=head.floor, now_s=now_s
        )
        evidence = rarity.strength * (self._sensitivity * ready)
        for lane, deviation in self._deviations.items():
            deviation.follow(errors[lane - FORECAST], evidence[lane])
        # Forecasts follow an anomaly; only levels, and flat lines, show how it goes on.
        evidence[:LEVELS, self._excursions.on] = 0.0
        # State and novelty are told by the lane that explains them.
        explained = evidence[FORECAST:].argmax(axis=0) + FORECAST
        loudest = evidence.max(axis=0)
        level, pattern = evidence[LEVELS:].max(axis=0), evidence[RELATION:LEVELS].max(axis=0)
        state.block_evidence = np.stack(
            (
                np.where(explained == FORECAST, loudest, evidence[FORECAST]),
                np.where((explained > FORECAST) & (explained < LEVELS), loudest, pattern),
                np.where(explained >= LEVELS, loudest, level),
            )
        )
        return self._refractory.suppress(novelty, ready, self._blocks.row), loudest

    def _unrelated(self) -> BoolArray:
        """Channels that deviate from others or from their season although each reading may be usual."""
        relation, season = self._deviations.values()
        return relation.lasts | season.lasts

    def _tell(self, which: BoolArray, strength: Float64Array, stuck: Float64Array, lasting: BoolArray) -> None:
        """Keep the evidence of channels, bool[n_channels], whose excursion begins or grows.

        Parameters
        ----------
        strength, stuck
            float64[n_channels], strength of all evidence, and of the flat line.
        lasting
            bool[n_channels], channels whose excursion had begun before.
        """
        state = self._state
        flat = np.flatnonzero(which & (stuck >= 1.0) & (stuck >= strength))
        if flat.size:
            state.told = state.told.copy()
            state.told[:, flat] = np.nan
            state.told[0, flat] = self._scales[0].time_scale.values[flat]
            state.told[4, flat] = 0.0
        channels = np.flatnonzero(which & (strength > stuck))
        if channels.size:
            told, period_s = self._rarity.describe(channels, lasting[channels], self._head.floor)
            # A channel that was never negative is not expected to become so.
            positive = self._head.lowest[channels] >= 0.0
            told[2] = np.where(positive, np.maximum(told[2], 0.0), told[2])
            told[4] *= self._block_s
            state.told = state.told.copy()
            state.told[:, channels] = told
            state.told_period_s = state.told_period_s.copy()
            state.told_period_s[channels] = period_s

    def _peak(self) -> Float64Array:
        """Largest strength of the present excursion, float64[n_channels]; 0 for channels that are not anomalous."""
        excursions = self._excursions
        return np.where(excursions.on, excursions.strength, 0.0) if np.count_nonzero(excursions.on) else self._no

    def _learn(self, due: list[ScoredScale], allowed: BoolArray, frozen: BoolArray) -> None:
        state = self._state
        finest = self._scales[0].time_scale
        floor = self._head.floor
        for scored in due:
            scored.learn(allowed, frozen, floor)
        self._head.learn(finest.values, finest.network_inputs(), finest.valid, allowed & finest.valid)
        self._excursions.push(finest.values)
        self._rarity.learn(finest.valid, allowed, ~self._unrelated(), self._excursions.settled, floor)
        state.shown = np.where(self._excursions.on, state.shown, self._limits())

    def _limits(self) -> Float64Array:
        limits = np.empty((2, self._no.size))
        for side, limit in enumerate(self._scales[0].threshold.limits()):
            limits[side] = limit[: self._no.size]
        return limits

    def in_units(self, scaled: Float64Array) -> Float64Array:
        """Convert to the channels' units and clip to their physical range; float64[..., n_channels]."""
        return np.clip(self.scale.invert(scaled), self._minimum, self._maximum)


def kinds_at(block_s: float, *, related: bool = False) -> dict[int, list[ErrorKind]]:
    """Kinds of error by scale, forecast errors first.

    Every scale has forecast errors, the finest reconstruction errors, the coarsest levels. Seasonal errors belong to
    the finest scale that resolves days, if any. Relation errors belong to the second scale, which averages noise out.

    Parameters
    ----------
    block_s
        Seconds per block of the finest scale.
    related
        Include relation errors.
    """
    kinds = {scale: [ErrorKind.FORECAST] for scale in SCALES}
    kinds[SCALES[0]].append(ErrorKind.RECONSTRUCTION)
    kinds[SCALES[-1]].append(ErrorKind.LEVEL)
    if related:
        kinds[SCALES[1]].append(ErrorKind.RELATION)
    seasonal = [scale for scale in SCALES if blocks_a_day(scale * block_s)]
    if seasonal:
        kinds[seasonal[0]].append(ErrorKind.SEASON)
    return kinds


def _memory(kind: ErrorKind, memory_s: float, block_s: float) -> float:
    """Memory of the limits of this kind of error, blocks."""
    if kind is ErrorKind.LEVEL:
        return max(_LEVEL_BLOCKS, min(_LEVEL_MEMORY_S, memory_s) / block_s)
    return max(memory_s / block_s, 2.0)
