"""Peaks over threshold: limits from the distribution of extreme errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.core.persistent_state import CHANNEL, Part, State, array
from agent.detection.running import learning_rate
from agent.detection.thresholds.base import TINY, StrengthByRatio, both_signs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float64Array, IntArray
    from agent.detection.thresholds.base import Memory


__all__ = ["Spot"]

# Quantile of the calibration errors where peaks begin, and newest peaks kept per lane and side. Chosen by hand.
_PEAK_LEVEL = 0.95
_PEAKS = 128
# Bound of the fitted shape. From 0.5 on the distribution has no finite variance, so moments cannot fit it.
_MOST_SHAPE = 0.5


class SpotState(State):
    """Fields of a `Spot` that outlive a restart; sides are the upper one, and the lower one negated."""

    count: Float64Array = array("errors learned", CHANNEL)
    average: Float64Array = array("unit of the errors", CHANNEL)
    # Errors of the calibration; None while no lane is being calibrated.
    calibration: Float64Array | None = array("unit of the errors", "calibration_row", CHANNEL, optional=True)
    calibrated: BoolArray = array("flag", CHANNEL, dtype=bool)
    begin: Float64Array = array("unit of the errors", 2, CHANNEL, initial=np.inf)
    shape: Float64Array = array("shape of the generalised Pareto distribution", 2, CHANNEL)
    size: Float64Array = array("unit of the errors", 2, CHANNEL)
    seen: Float64Array = array("errors, weighted", CHANNEL)
    passed: Float64Array = array("errors, weighted", 2, CHANNEL)
    peaks: Float64Array = array("unit of the errors", 2, CHANNEL, _PEAKS)
    n_peaks: IntArray = array("peaks", 2, CHANNEL, dtype=np.int64)


class Spot(StrengthByRatio):
    """Streaming peaks over threshold, SPOT and with ``depth_rows`` DSPOT (Siffer et al. 2017), on both sides.

    The first rows of a lane calibrate it: on each side, peaks begin at their 95 % quantile. Excesses of peaks follow a
    generalised Pareto distribution (theorem of Pickands, Balkema and de Haan); the limit is the level exceeded with
    probability ``risk``. Unlike the paper, the fit is by moments (Hosking & Wallis 1987) over the newest 128 peaks, in
    constant time, and the share of peaks is weighted over the memory.

    Parameters
    ----------
    effect, memory
        See `make_threshold`.
    risk
        Probability of exceeding the limit, on each side; q in the paper.
    calibration_rows
        Errors of the calibration; limits are infinite meanwhile.
    depth_rows
        DSPOT: subtract a moving average, exponentially weighted over this many rows, from the errors. 0: SPOT.

    Examples
    --------
    >>> threshold = Spot(np.zeros(1), memory=1e5, risk=1e-3, calibration_rows=300)
    >>> rng = np.random.default_rng(0)
    >>> for error in rng.exponential(1.0, 20_000):
    ...     threshold.learn(np.array([error]), np.array([True]))
    >>> bool(6.2 < threshold.limits()[1][0] < 7.6)  # exactly: ln 1000 = 6.9
    True
    """

    def __init__(
        self, effect: Float64Array, memory: Memory, *, risk: float, calibration_rows: int, depth_rows: float = 0.0
    ) -> None:
        n = effect.size
        self._effect = np.maximum(effect, TINY)
        self._risk = risk
        self._depth = depth_rows
        self._kept = 1.0 - 1.0 / memory
        self._calibration_rows = calibration_rows
        self._state = SpotState(channel=n, calibration_row=calibration_rows)

    def states(self) -> Iterator[Part]:
        """See `Stateful.states`."""
        yield Part("", self._state)

    def reset(self, lanes: IntArray, effect: Float64Array) -> None:
        """See `Threshold.reset`."""
        self._state.reset(lanes)
        self._effect[lanes] = np.maximum(effect, TINY)

    @property
    def count(self) -> Float64Array:
        """See `Threshold.count`."""
        return self._state.count

    def limits(self) -> tuple[Float64Array, Float64Array]:
        """See `Threshold.limits`."""
        state = self._state
        # Logarithm of the share of peaks over the risk: −ln(q·n/N) in the paper.
        rarer = np.log(np.maximum(state.passed / np.maximum(state.seen, 1.0) / self._risk, 1.0))
        flat = np.abs(state.shape) < 1e-6
        shape = np.where(flat, 1.0, state.shape)
        level = state.begin + state.size * np.where(flat, rarer, np.expm1(shape * rarer) / shape)
        return (
            np.minimum(state.average - level[1], -self._effect),
            np.maximum(state.average + level[0], self._effect),
        )

    def learn(self, error: Float64Array, which: BoolArray) -> None:
        """See `Threshold.learn`."""
        state = self._state
        centred = np.where(which, error - state.average, 0.0)
        if self._depth:
            state.average += which * centred * learning_rate(state.count + 1.0, 1.0 / self._depth)
        calibrating = which & ~state.calibrated
        if calibrating.any():
            lanes = np.flatnonzero(calibrating)
            if state.calibration is None:
                state.calibration = np.zeros((self._calibration_rows, state.count.size))
            state.calibration[state.count[lanes].astype(np.int64), lanes] = centred[lanes]
        state.count += which
        running = which & state.calibrated
        passed = (both_signs(centred) > state.begin) & running
        kept = np.where(running, self._kept, 1.0)
        state.seen = state.seen * kept + running
        state.passed = state.passed * kept + passed
        if passed.any():
            sides, lanes = np.nonzero(passed)
            self._add(sides, lanes, (both_signs(centred) - state.begin)[sides, lanes])
            self._fit(sides, lanes)
        if state.calibration is not None:
            for lane in np.flatnonzero(calibrating & (state.count >= self._calibration_rows)):
                self._calibrate(int(lane), state.calibration)
            if state.calibrated.all():
                state.calibration = None

    def _add(self, sides: IntArray, lanes: IntArray, excess: Float64Array) -> None:
        state = self._state
        state.peaks[sides, lanes, state.n_peaks[sides, lanes] % _PEAKS] = excess
        state.n_peaks[sides, lanes] += 1

    def _fit(self, sides: IntArray, lanes: IntArray) -> None:
        """Fit shape and size of these sides and lanes to mean and variance of their peaks."""
        state = self._state
        peaks = state.peaks[sides, lanes]
        count = np.minimum(state.n_peaks[sides, lanes], _PEAKS)
        mean = peaks.sum(axis=1) / count
        variance = (peaks * peaks).sum(axis=1) / count - mean * mean
        ratio = mean * mean / np.maximum(variance, TINY * mean * mean + TINY**2)
        shape = np.clip(0.5 * (1.0 - ratio), -_MOST_SHAPE, _MOST_SHAPE)
        state.shape[sides, lanes] = shape
        # Mean of the distribution: size / (1 − shape).
        state.size[sides, lanes] = mean * (1.0 - shape)

    def _calibrate(self, lane: int, calibration: Float64Array) -> None:
        state = self._state
        values = both_signs(calibration[:, lane])
        state.calibrated[lane] = True
        state.seen[lane] = len(calibration)
        for side in (0, 1):
            begin = float(np.quantile(values[side], _PEAK_LEVEL))
            excess = values[side][values[side] > begin] - begin
            state.begin[side, lane] = begin
            state.passed[side, lane] = excess.size
            where = np.array([side]), np.array([lane])
            for each in excess:
                self._add(*where, each)
            if excess.size:
                self._fit(*where)
