"""The universal detector: each channel by itself, at several time scales, through two scores.

The *alert score* is novelty: how far the errors of forecast and reconstruction lie beyond all errors seen, at every
scale, as the root of the sum of their squares. The *state score* compares deviations with their usual size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, number
from agent.detection.block_sum import BlockSum
from agent.detection.cross_channel import CrossChannelDeviation
from agent.detection.detector import Detector
from agent.detection.excursion import LEVEL, PATTERN, READINGS, Excursions
from agent.detection.flatline import FlatLine
from agent.detection.onsets import Onsets
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
    from agent.detection.settings import AlertTimes, DetectionConfig
    from agent.models.interpreter_pool import InterpreterPool

__all__ = ["SCALES", "UniversalDetector", "kinds_at"]

#: Blocks of each time scale, in blocks of the finest: with blocks of 5 s these are 5 s, one, two and four minutes.
SCALES = (1, 12, 24, 48)
# Blocks of a coarse scale after which its normalisation has largely forgotten.
_COARSE_MEMORY = NORMALISATION_ROWS // 2
# Levels are remembered for so many blocks of the coarsest scale, and for a month at least: a level at which a channel
# has been for long is normal, even if it was elsewhere since.
_LEVEL_BLOCKS = 200.0
_LEVEL_MEMORY_S = 30 * 86400.0
# Silence of a channel after an alarm, in blocks of the finest scale. Chosen on NAB, as are its thresholds.
_REFRACTORY_BLOCKS = 90
# Seconds after which limits learn from an excursion that lasts; its onset is learned at once.
_FROZEN_S = 600.0
# Where blocks are shorter than a minute, limits learn one onset an hour. Chosen on recordings of stressed hosts.
_MINUTE_S, _BETWEEN_ONSETS_S = 60.0, 3600.0
# One block in so many is remembered for a week where memory is to be saved.
_THIN = 4
# From this scale on, forecast errors are evidence about the level.
_LEVEL_SCALE = 24


class UniversalDetectorState(State):
    """Fields of a `UniversalDetector` that outlive a restart."""

    seen: Float64Array = array("readings", CHANNEL)
    node_state: float = number("0..1", initial=0.0)
    # Strength of the newest block by evidence: `READINGS`, `PATTERN`, `LEVEL`.
    told: Float64Array = array("limits", 3, CHANNEL)
    # Limits of the forecast error; of a channel on an excursion, those that it has left.
    shown: Float64Array = array("channel's scale", 2, CHANNEL)
    invalid: int = number("readings that were there but could not be used", initial=0)


class UniversalDetector(Detector):
    """Runs a bundle that fits any channel.

    While a channel is anomalous, its normalisation and its network state are frozen, so that the expectation remains
    what would be normal. Learning continues when the anomaly is over, or after ``accept_after_s``, when it is accepted
    as the new normal. Limits learn half of each onset, so that a recurring event becomes normal after a few times, or
    after hours where blocks are short; and they learn from an anomaly that has lasted for ten minutes.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    networks
        Of a universal bundle.
    detection, alerts
        The config's sections.
    interval_s
        Seconds between frames, to which all times are rounded.
    phase
        Rows by which its blocks end earlier than those of others.
    sparing
        Saves memory for thousands of channels: no linear and no analog forecast, and a coarse memory of the last week.
    related
        Whether channels are compared with each other; by default where there are several and the configuration says so.
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
        for scale, kinds in kinds_at(rows * interval_s, related=related).items():
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
        self._flat_line = FlatLine(n, interval_s, 0.0)
        self._frozen_rows = _FROZEN_S / interval_s
        self._state = UniversalDetectorState(channel=n)
        self._no, self._nowhere = np.zeros(n), np.zeros(n, bool)
        between_s = _BETWEEN_ONSETS_S if rows * interval_s < _MINUTE_S else 0.0
        self._onsets = Onsets(n, between_s / interval_s)
        self._refractory = Refractory(n, _REFRACTORY_BLOCKS * rows)
        self._deviation = CrossChannelDeviation(n)
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
        """Number of readings that were present but unusable, so far."""
        return self._state.invalid

    def states(self) -> Iterator[Part]:
        """See `Detector.states`."""
        yield Part("", self._state)
        for scale, scored in zip(SCALES, self._scales, strict=True):
            yield from below(f"scale_{scale}", scored)
        yield from below("state_score", self._head)
        yield from below("flat_line", self._flat_line)
        yield from below("blocks", self._blocks)
        yield from below("onsets", self._onsets)
        yield from below("refractory", self._refractory)
        yield from below("cross_channel_deviation", self._deviation)
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
        strength = self._judge(due, ready) if due else self._no
        stuck = self._flat_line.step(scaled, valid)
        loud = strength
        if stuck is not self._flat_line.never:
            stuck = np.minimum(stuck * self._sensitivity, MOST_STRENGTH) * ready
            loud = np.maximum(strength, stuck)
        excursions, values = self._excursions, finest.time_scale.values
        began = self._nowhere if loud is self._no else excursions.begin(loud, state.told, values)
        before = excursions.strange
        accepted = self._nowhere
        if np.count_nonzero(excursions.on):
            accepted = excursions.follow(loud, values, valid, self._deviation.lasts)
            self._deviation.forgive(accepted)
        if due:
            # Limits learn the onset and what lasts: at every block, a short anomaly would teach them its size.
            strange = excursions.strange
            passing = before & strange & (excursions.lasted < self._frozen_rows)
            self._learn(due, ~strange, passing | self._onsets.frozen(self._blocks.row, passing))
            state.node_state = node_state(self._head.state[ready])
        return Verdict(
            value=frame.values,
            outlook=outlook,
            limits=(limits[0], limits[1]),
            in_units=self.in_units,
            strength=strength if began is self._nowhere else np.where(began, loud, strength),
            peak=self._peak(),
            anomalous=excursions.anomalous,
            accepted=accepted,
            seen=state.seen,
            learning_rows=self._learning_rows,
            provisional_rows=self._provisional_rows,
            state=self._head.state * ready,
            state_score=state.node_state,
            errors=finest.errors[:2],
            courses=self._excursions.courses(),
        )

    def rest(self) -> Verdict:
        """Give the verdict between two rows: an anomaly lasts, and nothing is new."""
        state = self._state
        n = self._no.size
        return Verdict(
            value=np.full(n, np.nan, np.float32),
            outlook=self._scales[0].time_scale.outlook,
            limits=(state.shown[0], state.shown[1]),
            in_units=self.in_units,
            strength=self._no,
            peak=self._peak(),
            anomalous=self._excursions.anomalous,
            accepted=self._nowhere,
            seen=state.seen,
            learning_rows=self._learning_rows,
            provisional_rows=self._provisional_rows,
            state=self._head.state * (state.seen > self._learning_rows),
            state_score=state.node_state,
            errors=np.full((2, n), np.nan),
            courses=self._excursions.courses(),
        )

    def skip(self, rows: int) -> None:
        """See `Detector.skip`; what each channel was a day ago stays in its place."""
        before, after = self._blocks.skip(rows)
        for scale, scored in zip(SCALES, self._scales, strict=True):
            scored.time_scale.skip(after // scale - before // scale)

    def replace(self, places: IntArray, channels: Sequence[Channel]) -> None:
        """See `Detector.replace`."""
        self.scale.replace(places, channels)
        self._minimum[places] = [c.minimum for c in channels]
        self._maximum[places] = [c.maximum for c in channels]
        self._sensitivity[places] = [c.sensitivity for c in channels]
        effect = self.scale.effect[places]
        for scored in self._scales:
            scored.reset(places, effect)
        parts = (self._blocks, self._head, self._flat_line, self._onsets, self._refractory, self._deviation)
        for part in (self._state, *parts):
            part.reset(places)
        self._excursions.reset(places, effect / 2.0)
        self._state.shown[:, places] = self._limits()[:, places]

    def _gather(self, scaled: Float64Array, valid: BoolArray) -> list[ScoredScale]:
        """Take in a row; give the scales that have a block complete with it."""
        blocks = self._blocks
        if not blocks.push(scaled, valid):
            return []
        due = [scored for scored in self._scales if scored.time_scale.push(blocks.total, blocks.present)]
        blocks.clear()
        return due

    def _judge(self, due: list[ScoredScale], ready: BoolArray) -> Float64Array:
        """Give the strength of all blocks completed with this row, float64[n]; 0 in the refractory time."""
        state = self._state
        squares = np.zeros_like(self._no)
        state.told = np.zeros_like(state.told)
        for scale, scored in zip(SCALES, self._scales, strict=True):
            if scored in due:
                found = scored.judge(self._head.floor)
                squares += np.square(found).sum(axis=0)
                for kind, error, each in zip(scored.time_scale.kinds, scored.errors, found, strict=True):
                    told = state.told[_evidence(kind, scale)]
                    np.maximum(told, each, out=told)
                    if kind is ErrorKind.RELATION:
                        self._deviation.follow(error, each)
        finest = self._scales[0].time_scale
        self._head.follow(finest.values, finest.valid, finest.usual_change, (scored.ratio for scored in self._scales))
        strength: Float64Array = np.sqrt(squares) * self._sensitivity
        self._onsets.follow((strength >= 1.0) & ready)
        return self._refractory.heard(strength, ready, self._blocks.row)

    def _peak(self) -> Float64Array:
        """Give the greatest strength of the present excursion, float64[n]; 0 where a channel is not anomalous."""
        excursions = self._excursions
        return np.where(excursions.anomalous, excursions.strength, 0.0) if np.count_nonzero(excursions.on) else self._no

    def _learn(self, due: list[ScoredScale], allowed: BoolArray, frozen: BoolArray) -> None:
        state = self._state
        finest = self._scales[0].time_scale
        floor = self._head.floor
        for scored in due:
            scored.learn(allowed, frozen, floor)
        self._head.learn(finest.values, finest.insight(), finest.valid, allowed & finest.valid)
        self._excursions.push(finest.values)
        state.shown = np.where(self._excursions.on, state.shown, self._limits())

    def _limits(self) -> Float64Array:
        limits = np.empty((2, self._no.size))
        for side, limit in enumerate(self._scales[0].threshold.limits()):
            limits[side] = limit[: self._no.size]
        return limits

    def in_units(self, scaled: Float64Array) -> Float64Array:
        """Bring scaled numbers to the channels' units and within what they can show; float64[..., n_channels]."""
        return np.clip(self.scale.invert(scaled), self._minimum, self._maximum)


def kinds_at(block_s: float, *, related: bool = False) -> dict[int, list[ErrorKind]]:
    """List the kinds of error at each scale, the forecast's first.

    Every scale has forecasts, the finest reconstructions, the coarsest levels. Seasons are compared at the finest scale
    that tells days apart, if one does. Channels are compared with each other, where asked for, at the second scale, at
    which their own noise is small.
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


def _evidence(kind: ErrorKind, scale: int) -> int:
    """Give the row of the evidence that an error of this kind and scale adds to."""
    if kind is ErrorKind.SEASON:
        return PATTERN
    if kind is ErrorKind.LEVEL or scale >= _LEVEL_SCALE:
        return LEVEL
    return READINGS if scale == 1 else PATTERN


def _memory(kind: ErrorKind, memory_s: float, block_s: float) -> float:
    """Give the blocks after which an error of this kind is largely forgotten."""
    if kind is ErrorKind.LEVEL:
        return max(_LEVEL_BLOCKS, min(_LEVEL_MEMORY_S, memory_s) / block_s)
    return max(memory_s / block_s, 2.0)
