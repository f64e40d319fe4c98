"""One time scale of the universal detector: block means of so many rows, and what the networks make of them."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array, below, number
from agent.core.ring_buffer import RingBuffer
from agent.detection.cross_channel import CrossChannelForecast
from agent.detection.normaliser import Normaliser
from agent.detection.scaling import squash, unsquash
from agent.detection.seasonality import Seasons

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
    from agent.models.interpreter_pool import InterpreterPool

__all__ = ["ErrorKind", "TimeScale", "blocks_a_day"]

# The lower quantile lies below the median, the upper above.
_SIDES = np.array([[-1.0], [1.0]])
_DAY_S = 86400.0
# Seasons are told apart where a day has so many blocks: fewer say little of its shape, more were not trained for and
# would cost much memory.
_FEWEST_DAY, _MOST_DAY = 10, 400


class ErrorKind(Enum):
    """A kind of error."""

    FORECAST = auto()
    RECONSTRUCTION = auto()
    SEASON = auto()
    LEVEL = auto()
    RELATION = auto()


def blocks_a_day(block_s: float) -> int:
    """How many blocks a day has, 0 where days are not told apart."""
    day = round(_DAY_S / block_s)
    return day if _FEWEST_DAY <= day <= _MOST_DAY else 0


class TimeScaleState(State):
    """Fields of a `TimeScale` that outlive a restart."""

    # Of the block that is not complete yet: sum and number of its valid readings, and blocks of the finest stage in it.
    total: Float64Array = array("channel's scale", CHANNEL)
    present: Float64Array = array("readings", CHANNEL)
    filled: int = number("blocks of the finest stage", initial=0)
    blocks: int = number("blocks so far, those that were skipped included", initial=0)
    first: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    values: Float64Array = array("channel's scale", CHANNEL)
    valid: BoolArray = array("flag", CHANNEL, dtype=bool)
    outlook: Float64Array = array("channel's scale", 3, CHANNEL, initial=np.nan)


class TimeScale:
    """Sees every channel through block means; the forecaster advances by one step a block, its state carried for ever.

    Parameters
    ----------
    networks
        The universal ones.
    still
        float64[n_channels], deviations below this are as good as none.
    scale
        Blocks of the finest stage a block of this one.
    block_s
        Seconds a block of this one.
    memory
        Blocks after which the normalisation has largely forgotten.
    kinds
        Kinds of error watched, in their order; the forecast's comes first.
    phase
        Number of its first block.
    thin
        Of so many blocks one is remembered for a week.
    """

    def __init__(
        self,
        networks: InterpreterPool,
        still: Float64Array,
        *,
        scale: int,
        block_s: float,
        memory: int,
        kinds: Sequence[ErrorKind] = (ErrorKind.FORECAST,),
        phase: int = 0,
        thin: int = 1,
    ) -> None:
        n = still.size
        spec = networks.manifest.autoencoder
        self._scale = scale
        self.kinds = kinds
        self._normaliser = Normaliser(n, still, memory)
        self._seasons = Seasons(np.full(n, blocks_a_day(block_s)), thin)
        self._forecaster = networks.forecaster(n)
        self._window, self._stride = spec.window, spec.stride
        self._judged = slice(-spec.judged, None)
        self._patterns = ErrorKind.RECONSTRUCTION in kinds
        if self._patterns:
            self._autoencoder = networks.autoencoder(n)
            self._ring = RingBuffer(n, spec.window)
        self._related = ErrorKind.RELATION in kinds
        if self._related:
            self._relation = CrossChannelForecast(n)
        self._state = TimeScaleState(channel=n)
        self._state.blocks = phase

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)
        yield from below("normaliser", self._normaliser)
        yield from below("seasons", self._seasons)
        yield from below("forecaster", self._forecaster)
        if self._patterns:
            yield from below("window", self._ring)
        if self._related:
            yield from below("cross_channel", self._relation)

    def reset(self, channels: IntArray, still: Float64Array) -> None:
        """Forget these channels, int64[m]; float64[m] is the smallest deviation of those that come instead."""
        self._normaliser.reset(channels, still)
        for part in (self._state, self._seasons, self._forecaster):
            part.reset(channels)
        if self._patterns:
            self._ring.reset(channels)
        if self._related:
            self._relation.reset(channels)

    @property
    def values(self) -> Float64Array:
        """Newest block means, float64[n]; of channels without one, the former."""
        return self._state.values

    @property
    def valid(self) -> BoolArray:
        """Whether the newest block held any valid reading, bool[n]."""
        return self._state.valid

    @property
    def outlook(self) -> Float64Array:
        """Median, lower and upper quantile expected of the next block, float64[3, n]."""
        return self._state.outlook

    def push(self, total: Float64Array, present: Float64Array) -> bool:
        """Take in a block of the finest stage; True when one of this stage is complete with it.

        Parameters
        ----------
        total, present
            float64[n_channels], the sum and the number of its valid readings.
        """
        state = self._state
        state.total += total
        state.present += present
        state.filled += 1
        if state.filled < self._scale:
            return False
        state.valid = state.present > 0
        state.values = np.where(state.valid, state.total / np.maximum(state.present, 1.0), state.values)
        state.total[:] = 0.0
        state.present[:] = 0.0
        state.filled = 0
        return True

    def errors(self) -> Float64Array:
        """How far the newest block is from what was expected, float64[kinds, n]; NaN where nothing can be said."""
        state = self._state
        if self._patterns:
            self._ring.push(state.values)
        if self._seasons.rows != state.blocks:
            self._seasons.skip_to(state.blocks)
        errors = np.empty((len(self.kinds), state.values.size))
        for row, kind in enumerate(self.kinds):
            errors[row] = self._error(kind)
        if np.count_nonzero(state.valid) < state.valid.size:
            errors[:, ~state.valid] = np.nan
        state.blocks += 1
        return errors

    def learn(self, allowed: BoolArray) -> None:
        """Take in the newest block and look ahead; a channel that is not allowed keeps what was learned of it."""
        state = self._state
        normaliser, network = self._normaliser, self._forecaster
        learn = allowed & state.valid
        if self._related:
            self._relation.learn(self._normalised(), learn)
        features = normaliser.update(state.values, learn)
        if self._patterns and not learn.all():
            self._ring.amend(self._instead(learn))
        self._seasons.push(state.values)
        seasons = self._seasons.features(normaliser.centre, normaliser.spread, normaliser.usual_change)
        everywhere = bool(learn.all())
        forecast = network.advance(np.concatenate((features, seasons), axis=1), None if everywhere else learn)
        outlook = np.empty_like(state.outlook)
        outlook[:] = features[:, 0] + forecast[:, 0]
        outlook[1:] += _SIDES * forecast.T[1:]
        outlook = normaliser.centre + normaliser.spread * unsquash(outlook)
        state.outlook = outlook if everywhere else np.where(learn, outlook, state.outlook)

    def skip(self, blocks: int) -> None:
        """Go on as many blocks of this stage later; nothing is known of those between."""
        self._state.blocks += blocks

    @property
    def usual_change(self) -> Float64Array:
        """Mean absolute difference of a block from the one before it, float64[n] > 0."""
        return self._normaliser.usual_change

    def insight(self) -> Float32Array:
        """What the forecaster knows of the blocks learned, in the values' unit: float32[n, units + 1]."""
        spread = self._normaliser.spread.astype(np.float32)[:, None]
        return np.concatenate((self._forecaster.h * spread, spread), axis=1)

    def _instead(self, learn: BoolArray) -> Float64Array:
        """What is remembered of the newest block: its expectation where it is not learned from."""
        state = self._state
        accepted: Float64Array = np.where(learn | np.isnan(state.outlook[0]), state.values, state.outlook[0])
        return accepted

    def _error(self, kind: ErrorKind) -> Float64Array:
        # Not a table of bound methods: it would tie the networks to the garbage collector's pace.
        if kind is ErrorKind.FORECAST:
            return self._forecast_error()
        if kind is ErrorKind.RECONSTRUCTION:
            return self._reconstruction_error()
        if kind is ErrorKind.RELATION:
            return self._relation_error()
        return self._departure() if kind is ErrorKind.SEASON else self._level()

    def _forecast_error(self) -> Float64Array:
        state = self._state
        error: Float64Array = state.values - state.outlook[0]
        return error

    def _reconstruction_error(self) -> Float64Array:
        """The largest error of the newest points of each window, with its sign; NaN before a window is full."""
        normaliser = self._normaliser
        if self._state.blocks % self._stride:
            return np.full(self._state.values.size, np.nan)
        window = self._ring.view()
        centre, spread = normaliser.centre[:, None], normaliser.spread[:, None]
        rebuilt = self._autoencoder.reconstruct(squash((window - centre) / spread))[:, self._judged]
        residual = window[:, self._judged] - (centre + spread * unsquash(rebuilt))
        largest = np.take_along_axis(residual, np.abs(residual).argmax(axis=1)[:, None], axis=1)[:, 0]
        return np.where(normaliser.count < self._window, np.nan, largest)

    def _normalised(self) -> Float64Array:
        """Values by their running centre and spread; 0 where there is none."""
        state = self._state
        normalised: Float64Array = (state.values - self._normaliser.centre) / self._normaliser.spread
        return np.where(state.valid & (self._normaliser.count > 0), normalised, 0.0)

    def _relation_error(self) -> Float64Array:
        """How far each channel is from what all others tell of it."""
        error: Float64Array = self._normaliser.spread * self._relation.unexpected(self._normalised())
        return error

    def _departure(self) -> Float64Array:
        """The smaller of the differences from a day and from a week before; NaN before a day is known."""
        return self._seasons.departure(self._state.values)

    def _level(self) -> Float64Array:
        """The value itself, from the first: its range is that of the levels seen."""
        state = self._state
        state.first = np.where(np.isnan(state.first) & state.valid, state.values, state.first)
        level: Float64Array = state.values - state.first
        return level
