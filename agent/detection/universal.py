"""Watches every channel by itself with the universal networks, at several time scales, through two heads.

*Novelty* raises alerts: how far the errors of forecast and reconstruction lie beyond all that was seen, at
every scale, as the root of the sum of their squares. *Ratio* tells the state: deviations against their usual size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, lanes, number
from agent.detection.cross_channel import CrossChannelDeviation
from agent.detection.detector import Detector
from agent.detection.excursion import LEVEL, PATTERN, READINGS, Excursions
from agent.detection.flatline import FlatLine
from agent.detection.relative_error import RelativeError, node_state
from agent.detection.scaling import Scale
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
    from agent.detection.thresholds.base import Threshold
    from agent.models.interpreter_pool import InterpreterPool

__all__ = ["SCALES", "UniversalDetector", "kinds_at"]

#: Blocks of each scale, in blocks of the finest: at five seconds these are one minute, two and four.
SCALES = (1, 12, 24, 48)
# A channel that deviates by less than the smallest effect that matters, divided by this, is as good as still.
_STILL = 10.0
_COARSE_MEMORY = NORMALISATION_ROWS // 2
# Blocks of a coarse scale that have to be seen before it says anything; of the finest the silent time decides.
_FEWEST_BLOCKS = 8.0
# Most that one kind of error at one scale can say.
_LOUDEST = 4.0
# Levels of the coarsest scale are remembered for so many blocks, and a month at least: where a channel has been for
# long is no news, even if it was elsewhere before.
_LEVEL_BLOCKS = 200.0
_LEVEL_MEMORY_S = 30 * 86400.0
# After an alarm a channel raises no other for so many blocks, unless it is so many times as strong.
_REFRACTORY_BLOCKS = 90
_BREAKS_SILENCE = 1.25
# Limits learn the onset of an excursion, and what lasts for longer than this; where blocks are shorter than a minute,
# one onset in so long: what is strange for seconds, again and again in an hour, is not soon usual.
_HELD_S = 600.0
_MINUTE_S, _BETWEEN_ONSETS_S = 60.0, 3600.0
# Of so many blocks one is remembered for a week, where memory is to be spared.
_THIN = 4
# Forecasts at this scale and above tell of the level.
_LEVEL_SCALE = 24


class _ScoredState(State):
    """Fields of a scored stage that outlive a restart."""

    errors: Float64Array = array("channel's scale", "kind", CHANNEL, initial=np.nan)
    # Of the newest block.
    ratio: Float64Array = array("usual sizes", CHANNEL)


class _Scored:
    """A stage with its threshold, and how large its forecast errors are against their usual size."""

    def __init__(self, stage: TimeScale, threshold: Threshold, n: int, memory: float) -> None:
        self.stage = stage
        self.threshold = threshold
        self.usual = RelativeError(n, memory)
        self._state = _ScoredState(kind=len(stage.kinds), channel=n)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("time_scale", self.stage)
        yield from below("threshold", self.threshold)
        yield from below("usual", self.usual)

    def reset(self, channels: IntArray, effect: Float64Array) -> None:
        """Forget these channels, int64[m]; float64[m] is the smallest effect of those that come instead."""
        kinds = len(self.stage.kinds)
        self.threshold.reset(lanes(channels, self.ratio.size, kinds), np.tile(effect, kinds))
        self.stage.reset(channels, effect / _STILL)
        self._state.reset(channels)
        self.usual.reset(channels)

    @property
    def errors(self) -> Float64Array:
        """Each kind of error of the newest block, float64[kinds, n]; NaN where nothing can be said."""
        return self._state.errors

    @property
    def ratio(self) -> Float64Array:
        """Forecast error of the newest block over its usual size, float64[n]."""
        return self._state.ratio

    def judge(self, floor: Float64Array) -> Float64Array:
        """Strength of each kind of error of the newest block, float64[kinds, n]."""
        state = self._state
        state.errors = self.stage.errors()
        strength = self.threshold.strength(state.errors.ravel()).reshape(state.errors.shape)
        state.ratio = self.usual.of(np.abs(state.errors[0]), floor)
        known = self.threshold.count.reshape(state.errors.shape) >= _FEWEST_BLOCKS
        return np.minimum(strength, _LOUDEST) * known

    def learn(self, allowed: BoolArray, held: BoolArray, floor: Float64Array) -> None:
        """Let limits learn from all channels that are not held, and everything else from those allowed."""
        state = self._state
        self.threshold.learn(state.errors.ravel(), (np.isfinite(state.errors) & ~held).ravel())
        size = np.abs(state.errors[0])
        self.usual.learn(size, np.isfinite(size) & allowed, floor)
        self.stage.learn(allowed)


class _OnsetsState(State):
    """Fields of `_Onsets` that outlive a restart."""

    beyond: BoolArray = array("flag", CHANNEL, dtype=bool)
    new: BoolArray = array("flag", CHANNEL, dtype=bool)
    next_learned: Float64Array = array("rows", CHANNEL)


class _Onsets:
    """When channels begin to be beyond their limits, heard or not, and which of these beginnings teach the limits.

    Parameters
    ----------
    n
        Channels.
    between_rows
        From one beginning that is learned to the next.
    """

    def __init__(self, n: int, between_rows: float) -> None:
        self._between_rows = between_rows
        self._state = _OnsetsState(channel=n)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, channels: IntArray) -> None:
        """Forget these channels, int64[m]."""
        self._state.reset(channels)

    def see(self, beyond: BoolArray) -> None:
        """Take in where the newest blocks are beyond the limits, bool[n]."""
        state = self._state
        state.new = beyond & ~state.beyond
        state.beyond = beyond

    def ignored(self, row: int, passing: BoolArray) -> BoolArray:
        """Of the beginnings those that are not learned, bool[n]; none of these are where one is passing anyway."""
        state = self._state
        new = state.new & ~passing
        ignored = new & (row < state.next_learned)
        state.next_learned = np.where(new & ~ignored, row + self._between_rows, state.next_learned)
        return ignored


class UniversalDetectorState(State):
    """Fields of a `UniversalDetector` that outlive a restart."""

    seen: Float64Array = array("readings", CHANNEL)
    row: int = number("rows, those that were skipped included", initial=0)
    # Rows that were skipped and did not make up a block yet.
    skipped: int = number("rows", initial=0)
    # Sum and number of the valid readings of the block that is not complete yet.
    total: Float64Array = array("channel's scale", CHANNEL)
    present: Float64Array = array("readings", CHANNEL)
    node_state: float = number("0..1", initial=0.0)
    # What kinds of error say of the newest block.
    told: Float64Array = array("limits", 3, CHANNEL)
    silent_until: Float64Array = array("rows", CHANNEL)
    # Strength of the alarm that the silence is due to.
    alarm: Float64Array = array("limits", CHANNEL)
    # Limits of the forecast error; of a channel on an excursion, those that it has left.
    shown: Float64Array = array("channel's scale", 2, CHANNEL)
    invalid: int = number("readings that were there but could not be used", initial=0)


class UniversalDetector(Detector):
    """Runs a bundle that knows no channel in particular.

    Learning is held back for a channel while it is anomalous: normalisation and network state stay as they were, so
    that the expectation remains what would be normal, until it is over or has lasted for ``accept_after_s`` and is the
    new normal. Limits learn the onset by half of what is new to them, so that what recurs becomes usual after some
    times, or hours where blocks are short; and again what has lasted for ten minutes.

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
        For thousands of channels: what takes most memory is left out, the closed-form readout in the state head, or
        kept coarsely, what each channel was a day and a week ago.
    related
        Whether channels are held against each other; by default where there are several and the config has it so.
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
        self._rows = max(1, round(detection.block_s / interval_s))
        self._stages = []
        for scale, kinds in kinds_at(self._rows * interval_s, related=related).items():
            block_s = scale * self._rows * interval_s
            memory = NORMALISATION_ROWS if scale == 1 else _COARSE_MEMORY
            stage = TimeScale(
                networks,
                effect / _STILL,
                scale=scale,
                block_s=block_s,
                memory=memory,
                kinds=kinds,
                phase=phase // (scale * self._rows),
                thin=_THIN if sparing else 1,
            )
            threshold = make_threshold(
                detection.threshold,
                np.tile(effect, len(kinds)),
                np.repeat([_memory(kind, detection.memory_s, block_s) for kind in kinds], n),
            )
            self._stages.append(_Scored(stage, threshold, n, max(STATE_BLOCKS / scale, 60.0)))
        self._head = StateHead(n, networks.manifest.forecaster.units + 1, len(SCALES), sparing=sparing)
        self._flat_line = FlatLine(n, interval_s, 0.0)
        self._held_rows = _HELD_S / interval_s
        self._state = UniversalDetectorState(channel=n)
        self._state.row = phase
        self._no, self._nowhere = np.zeros(n), np.zeros(n, bool)
        between_s = _BETWEEN_ONSETS_S if self._rows * interval_s < _MINUTE_S else 0.0
        self._onsets = _Onsets(n, between_s / interval_s)
        self._estrangement = CrossChannelDeviation(n)
        self._excursions = Excursions(
            effect / 2.0,
            interval_s,
            block_rows=self._rows,
            confirm_s=alerts.confirm_s,
            accept_after_s=detection.accept_after_s,
        )
        self._state.shown = self._limits()

    @property
    def invalid(self) -> int:  # type: ignore[override]
        """Readings that were there but could not be used, so far."""
        return self._state.invalid

    def states(self) -> Iterator[Part]:
        """See `Detector.states`."""
        yield Part("", self._state)
        for scale, scored in zip(SCALES, self._stages, strict=True):
            yield from below(f"scale_{scale}", scored)
        yield from below("state_score", self._head)
        yield from below("flat_line", self._flat_line)
        yield from below("onsets", self._onsets)
        yield from below("cross_channel_deviation", self._estrangement)
        yield from below("excursions", self._excursions)

    def step(self, frame: Frame) -> Verdict:
        """See `Detector.step`."""
        state = self._state
        scaled, valid = self.scale.apply(frame.values)
        if np.count_nonzero(valid) < valid.size:
            state.invalid += int(np.count_nonzero(~valid & ~np.isnan(frame.values)))
        state.seen = state.seen + valid
        state.row += 1
        ready = state.seen > self._learning_rows
        finest, limits = self._stages[0], state.shown
        outlook = finest.stage.outlook
        due = self._gather(scaled, valid)
        strength = self._judge(due, ready) if due else self._no
        stuck = self._flat_line.step(scaled, valid)
        loud = strength
        if stuck is not self._flat_line.never:
            stuck = np.minimum(stuck * self._sensitivity, _LOUDEST) * ready
            loud = np.maximum(strength, stuck)
        excursions, values = self._excursions, finest.stage.values
        began = self._nowhere if loud is self._no else excursions.begin(loud, state.told, values)
        before = excursions.strange
        accepted = self._nowhere
        if np.count_nonzero(excursions.on):
            accepted = excursions.follow(loud, values, valid, self._estrangement.lasts)
            self._estrangement.forgive(accepted)
        if due:
            # The onset counts, and what lasts; else a short anomaly would teach its size at every block.
            strange = excursions.strange
            passing = before & strange & (excursions.lasted < self._held_rows)
            self._learn(due, ~strange, passing | self._onsets.ignored(state.row, passing))
            state.node_state = node_state(self._head.state[ready])
        return Verdict(
            value=frame.values,
            outlook=outlook,
            limits=(limits[0], limits[1]),
            in_units=self.in_units,
            strength=strength if began is self._nowhere else np.where(began, loud, strength),
            held=self._held(),
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
        """What is so between two rows: an anomaly lasts, and nothing is new."""
        state = self._state
        n = self._no.size
        return Verdict(
            value=np.full(n, np.nan, np.float32),
            outlook=self._stages[0].stage.outlook,
            limits=(state.shown[0], state.shown[1]),
            in_units=self.in_units,
            strength=self._no,
            held=self._held(),
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
        """See `Detector.skip`: days stay days; a block that is not complete waits for the rest of its rows."""
        state = self._state
        blocks, state.skipped = divmod(state.skipped + rows, self._rows)
        before = state.row // self._rows
        state.row += blocks * self._rows
        for scale, scored in zip(SCALES, self._stages, strict=True):
            scored.stage.skip((before + blocks) // scale - before // scale)

    def replace(self, places: IntArray, channels: Sequence[Channel]) -> None:
        """See `Detector.replace`."""
        self.scale.replace(places, channels)
        self._minimum[places] = [c.minimum for c in channels]
        self._maximum[places] = [c.maximum for c in channels]
        self._sensitivity[places] = [c.sensitivity for c in channels]
        effect = self.scale.effect[places]
        for scored in self._stages:
            scored.reset(places, effect)
        for part in (self._state, self._head, self._flat_line, self._onsets, self._estrangement):
            part.reset(places)
        self._excursions.reset(places, effect / 2.0)
        self._state.shown[:, places] = self._limits()[:, places]

    def _gather(self, scaled: Float64Array, valid: BoolArray) -> list[_Scored]:
        """Take in a row; the stages that have a block complete with it."""
        state = self._state
        state.total += scaled  # 0 where not valid
        state.present += valid
        if state.row % self._rows:
            return []
        due = [scored for scored in self._stages if scored.stage.push(state.total, state.present)]
        state.total[:] = 0.0
        state.present[:] = 0.0
        return due

    def _judge(self, due: list[_Scored], ready: BoolArray) -> Float64Array:
        """Strength of all that the blocks completed with this row say; 0 in silent times."""
        state = self._state
        squares = np.zeros_like(self._no)
        state.told = np.zeros_like(state.told)
        for scale, scored in zip(SCALES, self._stages, strict=True):
            if scored in due:
                found = scored.judge(self._head.floor)
                squares += np.square(found).sum(axis=0)
                for kind, error, each in zip(scored.stage.kinds, scored.errors, found, strict=True):
                    told = state.told[_tells(kind, scale)]
                    np.maximum(told, each, out=told)
                    if kind is ErrorKind.RELATION:
                        self._estrangement.follow(error, each)
        finest = self._stages[0].stage
        self._head.follow(finest.values, finest.valid, finest.usual_change, (scored.ratio for scored in self._stages))
        strength: Float64Array = np.sqrt(squares) * self._sensitivity
        self._onsets.see((strength >= 1.0) & ready)
        heard = (state.row >= state.silent_until) | (strength >= _BREAKS_SILENCE * state.alarm)
        strength *= ready & heard
        beyond = strength >= 1.0
        state.alarm = np.where(beyond, strength, state.alarm)
        state.silent_until = np.where(beyond, state.row + _REFRACTORY_BLOCKS * self._rows, state.silent_until)
        return strength

    def _held(self) -> Float64Array:
        """The greatest strength of the excursions, of channels that are anomalous."""
        excursions = self._excursions
        return np.where(excursions.anomalous, excursions.strength, 0.0) if np.count_nonzero(excursions.on) else self._no

    def _learn(self, due: list[_Scored], allowed: BoolArray, held: BoolArray) -> None:
        state = self._state
        finest = self._stages[0].stage
        floor = self._head.floor
        for scored in due:
            scored.learn(allowed, held, floor)
        self._head.learn(finest.values, finest.insight(), finest.valid, allowed & finest.valid)
        self._excursions.push(finest.values)
        state.shown = np.where(self._excursions.on, state.shown, self._limits())

    def _limits(self) -> Float64Array:
        limits = np.empty((2, self._no.size))
        for side, limit in enumerate(self._stages[0].threshold.limits()):
            limits[side] = limit[: self._no.size]
        return limits

    def in_units(self, scaled: Float64Array) -> Float64Array:
        """Bring scaled numbers to the channels' units and into what they can show; float64[..., n_channels]."""
        return np.clip(self.scale.invert(scaled), self._minimum, self._maximum)


def kinds_at(block_s: float, *, related: bool = False) -> dict[int, list[ErrorKind]]:
    """What is watched at each scale: forecasts at all, patterns at the finest, levels at the coarsest.

    Seasons at the finest scale that tells days apart, if one does; how channels go together, where asked for, at the
    finest of the coarse scales, at which their own noise is small.
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


def _tells(kind: ErrorKind, scale: int) -> int:
    """Row of the evidence that an error of this kind and scale adds to."""
    if kind is ErrorKind.SEASON:
        return PATTERN
    if kind is ErrorKind.LEVEL or scale >= _LEVEL_SCALE:
        return LEVEL
    return READINGS if scale == 1 else PATTERN


def _memory(kind: ErrorKind, memory_s: float, block_s: float) -> float:
    """Blocks after which an error of this kind is largely forgotten."""
    if kind is ErrorKind.LEVEL:
        return max(_LEVEL_BLOCKS, min(_LEVEL_MEMORY_S, memory_s) / block_s)
    return max(memory_s / block_s, 2.0)
