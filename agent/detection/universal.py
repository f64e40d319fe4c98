"""The universal detector: judges channels at several time scales and gives each two scores.

The *alert score* is novelty: the excess of errors beyond all errors seen, as the root of the sum of squares over all
kinds of error and scales. The *state score* compares deviations with their usual size. See docs/detection.md.
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
# From this scale on, forecast errors are evidence of a level shift. Chosen by hand.
_LEVEL_SCALE = 24


class UniversalDetectorState(State):
    """Fields of a `UniversalDetector` that outlive a restart."""

    seen: Float64Array = array("readings", CHANNEL)
    node_state: float = number("0..1", initial=0.0)
    # Strength of the newest blocks by kind of evidence: `READINGS`, `PATTERN`, `LEVEL`.
    block_evidence: Float64Array = array("limits", 3, CHANNEL)
    # Displayed limits of the forecast error; during an excursion those before it.
    shown: Float64Array = array("channel's scale", 2, CHANNEL)
    invalid: int = number("readings that were present but unusable", initial=0)


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
        """Readings so far that were present but unusable."""
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
        began = self._nowhere if loud is self._no else excursions.begin(loud, state.block_evidence, values)
        deviated = excursions.deviating
        accepted = self._nowhere
        if np.count_nonzero(excursions.on):
            accepted = excursions.follow(loud, values, valid, self._deviation.lasts)
            self._deviation.accept(accepted)
            self._flat_line.accept(accepted)
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
        parts = (self._blocks, self._head, self._flat_line, self._onsets, self._refractory, self._deviation)
        for part in (self._state, *parts):
            part.reset(indices)
        self._excursions.reset(indices, effect / 2.0)
        self._state.shown[:, indices] = self._limits()[:, indices]

    def _gather(self, scaled: Float64Array, valid: BoolArray) -> list[ScoredScale]:
        """Add a row; return the scales with a block that it completes."""
        blocks = self._blocks
        if not blocks.push(scaled, valid):
            return []
        due = [scored for scored in self._scales if scored.time_scale.push(blocks.total, blocks.present)]
        blocks.clear()
        return due

    def _judge(self, due: list[ScoredScale], ready: BoolArray) -> Float64Array:
        """Strength of all blocks completed by this row, float64[n_channels] in limits; 0 in the refractory time."""
        state = self._state
        squares = np.zeros_like(self._no)
        state.block_evidence = np.zeros_like(state.block_evidence)
        for scale, scored in zip(SCALES, self._scales, strict=True):
            if scored in due:
                found = scored.judge(self._head.floor)
                squares += np.square(found).sum(axis=0)
                for kind, error, each in zip(scored.time_scale.kinds, scored.errors, found, strict=True):
                    evidence = state.block_evidence[_evidence(kind, scale)]
                    np.maximum(evidence, each, out=evidence)
                    if kind is ErrorKind.RELATION:
                        self._deviation.follow(error, each)
        finest = self._scales[0].time_scale
        self._head.follow(finest.values, finest.valid, finest.usual_change, (scored.ratio for scored in self._scales))
        strength: Float64Array = np.sqrt(squares) * self._sensitivity
        self._onsets.follow((strength >= 1.0) & ready)
        return self._refractory.suppress(strength, ready, self._blocks.row)

    def _peak(self) -> Float64Array:
        """Largest strength of the present excursion, float64[n_channels]; 0 for channels that are not anomalous."""
        excursions = self._excursions
        return np.where(excursions.anomalous, excursions.strength, 0.0) if np.count_nonzero(excursions.on) else self._no

    def _learn(self, due: list[ScoredScale], allowed: BoolArray, frozen: BoolArray) -> None:
        state = self._state
        finest = self._scales[0].time_scale
        floor = self._head.floor
        for scored in due:
            scored.learn(allowed, frozen, floor)
        self._head.learn(finest.values, finest.network_inputs(), finest.valid, allowed & finest.valid)
        self._excursions.push(finest.values)
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


def _evidence(kind: ErrorKind, scale: int) -> int:
    """Kind of evidence that an error of this kind and scale contributes to."""
    if kind is ErrorKind.SEASON:
        return PATTERN
    if kind is ErrorKind.LEVEL or scale >= _LEVEL_SCALE:
        return LEVEL
    return READINGS if scale == 1 else PATTERN


def _memory(kind: ErrorKind, memory_s: float, block_s: float) -> float:
    """Memory of the limits of this kind of error, blocks."""
    if kind is ErrorKind.LEVEL:
        return max(_LEVEL_BLOCKS, min(_LEVEL_MEMORY_S, memory_s) / block_s)
    return max(memory_s / block_s, 2.0)
