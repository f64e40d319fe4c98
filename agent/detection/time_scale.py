"""One time scale of the universal detector: block means, normalisation, networks and their errors."""

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

# Signs of the distances of the 5 % and the 95 % quantile from the median.
_SIDES = np.array([[-1.0], [1.0]])
_DAY_S = 86400.0
# Range of blocks per day with seasonal inputs: fewer do not show a day's shape, more were not in the training and cost
# memory.
_FEWEST_DAY, _MOST_DAY = 10, 400


class ErrorKind(Enum):
    """A kind of error; see docs/detection.md, steps 4 to 6."""

    FORECAST = auto()
    RECONSTRUCTION = auto()
    SEASON = auto()
    LEVEL = auto()
    RELATION = auto()


def blocks_a_day(block_s: float) -> int:
    """Blocks per day; 0 if the scale has no seasonal inputs."""
    day = round(_DAY_S / block_s)
    return day if _FEWEST_DAY <= day <= _MOST_DAY else 0


class TimeScaleState(State):
    """Fields of a `TimeScale` that outlive a restart."""

    # Present, incomplete block: sum and number of its valid readings, and finest blocks in it.
    total: Float64Array = array("channel's scale", CHANNEL)
    present: Float64Array = array("readings", CHANNEL)
    filled: int = number("blocks of the finest scale", initial=0)
    blocks: int = number("blocks so far, including skipped ones", initial=0)
    first: Float64Array = array("channel's scale", CHANNEL, initial=np.nan)
    values: Float64Array = array("channel's scale", CHANNEL)
    valid: BoolArray = array("flag", CHANNEL, dtype=bool)
    outlook: Float64Array = array("channel's scale", 3, CHANNEL, initial=np.nan)


class TimeScale:
    """Computes block means and their errors; the forecaster advances by one step per block.

    Parameters
    ----------
    networks
        Networks of a universal bundle.
    still
        float64[n_channels], smallest spread of the normalisation, on the channels' scales.
    scale
        Blocks of the finest scale per block of this one.
    block_s
        Seconds per block of this scale.
    memory
        Memory of the normalisation, blocks.
    kinds
        Kinds of error computed, in this order; `ErrorKind.FORECAST` is first.
    phase
        Number of the first block.
    thin
        Remember one out of this many blocks for seasonal inputs, see `Seasons`.
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
        """Forget these channels, int64[m]; ``still``, float64[m], is that of the channels that replace them."""
        self._normaliser.reset(channels, still)
        for part in (self._state, self._seasons, self._forecaster):
            part.reset(channels)
        if self._patterns:
            self._ring.reset(channels)
        if self._related:
            self._relation.reset(channels)

    @property
    def values(self) -> Float64Array:
        """Newest block means, float64[n_channels]; channels without a reading keep the last."""
        return self._state.values

    @property
    def valid(self) -> BoolArray:
        """Whether the newest block has a valid reading, bool[n_channels]."""
        return self._state.valid

    @property
    def outlook(self) -> Float64Array:
        """Median, 5 % and 95 % quantile forecast for the next block, float64[3, n_channels]."""
        return self._state.outlook

    def push(self, total: Float64Array, present: Float64Array) -> bool:
        """Add a block of the finest scale; return whether it completes a block of this scale.

        Parameters
        ----------
        total, present
            float64[n_channels], sum and number of its valid readings.
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
        """Errors of the newest block on the channels' scales, float64[kinds, n_channels]; NaN where unknown."""
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

    def out_of_season(self) -> Float64Array:
        """Distance of the newest block, before it is learned, from its season, float64[n_channels].

        See `Seasons.outside`.
        """
        return np.where(self._state.valid, self._seasons.outside(self._state.values), np.nan)

    def learn(self, allowed: BoolArray) -> None:
        """Learn the newest block of the channels in ``allowed``, bool[n_channels], and forecast the next."""
        state = self._state
        normaliser, network = self._normaliser, self._forecaster
        learn = allowed & state.valid
        if self._related:
            self._relation.learn(self._normalised(), learn)
        features = normaliser.update(state.values, learn)
        if self._patterns and not learn.all():
            self._ring.amend(self._remembered(learn))
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
        """Advance by missed blocks of this scale."""
        self._state.blocks += blocks

    @property
    def usual_change(self) -> Float64Array:
        """Mean absolute difference between consecutive blocks, float64[n_channels] > 0."""
        return self._normaliser.usual_change

    def network_inputs(self) -> Float32Array:
        """Inputs of the linear forecast: the forecaster's hidden state times the spread, and the spread.

        Returns
        -------
        float32[n_channels, units + 1] on the channels' scales.
        """
        spread = self._normaliser.spread.astype(np.float32)[:, None]
        return np.concatenate((self._forecaster.h * spread, spread), axis=1)

    def _remembered(self, learn: BoolArray) -> Float64Array:
        """Newest block means for the autoencoder's window, replaced by the forecast where they are not learned."""
        state = self._state
        accepted: Float64Array = np.where(learn | np.isnan(state.outlook[0]), state.values, state.outlook[0])
        return accepted

    def _error(self, kind: ErrorKind) -> Float64Array:
        # Not a table of bound methods: the reference cycle would keep the networks until garbage collection.
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
        """Signed error of largest size among the newest points; NaN if not due or the window is not full."""
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
        """Normalised block means, float64[n_channels]; 0 where missing."""
        state = self._state
        normalised: Float64Array = (state.values - self._normaliser.centre) / self._normaliser.spread
        return np.where(state.valid & (self._normaliser.count > 0), normalised, 0.0)

    def _relation_error(self) -> Float64Array:
        """Residual of the forecast from the other channels."""
        error: Float64Array = self._normaliser.spread * self._relation.unexpected(self._normalised())
        return error

    def _departure(self) -> Float64Array:
        """Seasonal error, see `Seasons.departure`."""
        return self._seasons.departure(self._state.values)

    def _level(self) -> Float64Array:
        """Value less the first value; its limits span the levels seen."""
        state = self._state
        state.first = np.where(np.isnan(state.first) & state.valid, state.values, state.first)
        level: Float64Array = state.values - state.first
        return level
