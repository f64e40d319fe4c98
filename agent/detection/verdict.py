"""The verdict on one frame: strengths, limits and scores of all channels."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
)

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import ClassVar, TypeAlias

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray


__all__ = ["NO_COURSES", "SCORE_THRESHOLD", "Course", "Scores", "Verdict", "bounded_score"]

#: Score of an error at its limit. Chosen by hand.
SCORE_THRESHOLD = 0.995
#: Evidence that an anomaly was noticed by: single readings, the pattern over some minutes, or the level.
Course: TypeAlias = Literal["readings", "pattern", "level"]


class Scores(msgspec.Struct, gc=False):
    """Forecast and errors of one frame, on the channels' scales (linear or logarithmic).

    Parameters
    ----------
    outlook
        Median, 5 % and 95 % quantile forecast for this frame, float64[3, n_channels]; NaN before a channel's first
        forecast.
    errors
        float64[2, n_channels]. Row 0, forecast error: reading less median, NaN where either is missing. Row 1,
        reconstruction error: NaN where no reconstruction was due.
    """

    outlook: Any  # Float64Array; msgspec does not look inside
    errors: Any


# Arrays that `Verdict.side_by_side` joins.
_ARRAYS = ("strength", "peak", "anomalous", "accepted", "state", "errors", "period_s")
#: Courses while no channel is on an excursion.
NO_COURSES: Mapping[int, Course] = MappingProxyType({})


class Verdict:
    """Result of the detection on one frame, as arrays over channels.

    Values for display (expectations in the channels' units, scores, progress) are computed on request only.

    Parameters
    ----------
    value
        Readings, float32[n_channels], NaN where missing.
    outlook
        Forecast, float64[3, n_channels] on the channels' scales, see `Scores`.
    limits
        Lower and upper limit of the forecast error, float64[n_channels] each, on the channels' scales.
    in_units
        Function that converts from the channels' scales to their units.
    strength
        Strength of the anomaly at this frame, float64[n_channels] ≥ 0 in limits (1 is at the limit): the alert head.
    peak
        Largest strength of the present excursion, float64[n_channels]; for channels that are not anomalous 0 or
        ``strength``.
    anomalous
        bool[n_channels].
    accepted
        bool[n_channels], channels whose anomaly is accepted as the new normal at this frame.
    seen
        Readings so far, float64[n_channels].
    learning_rows, provisional_rows
        Readings that end the learning and the provisional phase; for all channels or float64[n_channels].
    state
        Deviations relative to their usual size, float64[n_channels] ≥ 0: the state head.
    state_score
        State score of the node, 0..1, see `agent.detection.relative_error.node_state`.
    errors
        float64[2, n_channels], see `Scores`.
    courses
        Course by channel, for anomalies that were not noticed by single readings.
    told
        Strongest evidence of each present excursion, float64[5, n_channels] on the channels' scales: value,
        expectation, lower and upper end of the usual range, and seconds that the value averages; NaN without one.
        None: the newest row is the evidence.
    period_s
        Return period of that evidence, float64[n_channels] seconds; 0 where unknown.
    """

    __slots__ = (
        "_in_units",
        "_learning_rows",
        "_limits",
        "_outlook",
        "_provisional_rows",
        "_seen",
        "accepted",
        "anomalous",
        "courses",
        "errors",
        "peak",
        "period_s",
        "state",
        "state_score",
        "strength",
        "told",
        "value",
    )

    #: Score from which on a channel is anomalous.
    threshold: ClassVar[float] = SCORE_THRESHOLD

    def __init__(
        self,
        *,
        value: Float32Array,
        outlook: Float64Array,
        limits: tuple[Float64Array, Float64Array],
        in_units: Callable[[Float64Array], Float64Array],
        strength: Float64Array,
        peak: Float64Array,
        anomalous: BoolArray,
        accepted: BoolArray,
        seen: Float64Array,
        learning_rows: float | Float64Array,
        provisional_rows: float | Float64Array,
        state: Float64Array,
        state_score: float,
        errors: Float64Array,
        courses: Mapping[int, Course] = NO_COURSES,
        told: Float64Array | None = None,
        period_s: Float64Array | None = None,
    ) -> None:
        self.value = value
        self.strength = strength
        self.peak = peak
        self.anomalous = anomalous
        self.accepted = accepted
        self.state = state
        self.state_score = state_score
        self.errors = errors
        self.courses = courses
        self.told = told
        self.period_s = np.zeros_like(strength) if period_s is None else period_s
        self._outlook = outlook
        self._limits = limits
        self._in_units = in_units
        self._seen = seen
        self._learning_rows = learning_rows
        self._provisional_rows = provisional_rows

    def replaced(self, **changes: Any) -> Verdict:
        """Make a copy with some of the public attributes changed."""
        other = copy.copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    @classmethod
    def side_by_side(
        cls,
        parts: Sequence[Verdict],
        order: IntArray,
        value: Float32Array,
        in_units: Callable[[Float64Array], Float64Array],
    ) -> Verdict:
        """Combine verdicts on groups of channels into one on all channels.

        Parameters
        ----------
        parts
            Verdicts of the groups.
        order
            int64[n_channels], index of each channel in the concatenation of the groups.
        value, in_units
            See the class.
        """

        def all_of(name: str) -> Any:
            return np.concatenate([getattr(part, name) for part in parts], axis=-1)[..., order]

        def rows(name: str) -> Float64Array:
            each = [np.broadcast_to(getattr(part, name), part.strength.shape) for part in parts]
            spread: Float64Array = np.concatenate(each)[order]
            return spread

        courses, offset = {}, 0
        if any(part.courses for part in parts):
            channel_at = np.argsort(order)
            for part in parts:
                courses.update({int(channel_at[offset + channel]): course for channel, course in part.courses.items()})
                offset += part.strength.size
        ready = [float(np.count_nonzero(part._seen > part._learning_rows)) for part in parts]  # noqa: SLF001 - its own kind
        scores = [part.state_score for part in parts]
        lower, upper = (np.concatenate([part._limits[side] for part in parts])[order] for side in (0, 1))  # noqa: SLF001 - the same
        return cls(
            value=value,
            outlook=all_of("_outlook"),
            limits=(lower, upper),
            in_units=in_units,
            seen=all_of("_seen"),
            learning_rows=rows("_learning_rows"),
            provisional_rows=rows("_provisional_rows"),
            state_score=float(np.average(scores, weights=ready)) if any(ready) else 0.0,
            courses=courses,
            told=None if any(part.told is None for part in parts) else all_of("told"),
            **{name: all_of(name) for name in _ARRAYS},
        )

    def bounds(self) -> Float64Array:
        """Expectation, lower and upper end of the normal range, float64[3, n_channels] in the channels' units.

        Within the range, the forecast error is within its limits. During the learning phase the range spans the
        forecast's 5 % to 95 % quantiles.
        """
        bounds = self._outlook.copy()
        known = self._seen > self._learning_rows
        for end, limit in zip(bounds[1:], self._limits, strict=True):
            np.add(bounds[0], limit, out=end, where=known)
        return self._in_units(bounds)

    def evidence(self) -> Float64Array:
        """Describe each channel by a value and its usual range, in the channels' units.

        Returns
        -------
        float64[5, n_channels]: value, expectation, lower and upper end, and seconds that the value averages: the
        strongest evidence of the present excursion, otherwise the newest row.
        """
        expected, lower, upper = self.bounds()
        newest = np.stack((self.value.astype(np.float64), expected, lower, upper, np.zeros_like(expected)))
        if self.told is None:
            return newest
        told = np.vstack((self._in_units(self.told[:4]), self.told[4:]))
        return np.where(np.isnan(self.told[0]), newest, told)

    def score(self) -> Float64Array:
        """Score of ``strength``, float64[n_channels] in 0..1; see `bounded_score`."""
        return bounded_score(self.strength)

    def progress(self) -> Float64Array:
        """Completed share of the learning phase, float64[n_channels] in 0..1."""
        progress: Float64Array = np.minimum(self._seen / self._learning_rows, 1.0)
        return progress

    def provisional(self) -> BoolArray:
        """Channels in the provisional phase, bool[n_channels]."""
        provisional: BoolArray = self._seen < self._provisional_rows
        return provisional


def bounded_score(strength: Float64Array) -> Float64Array:
    """Map strength, 0..∞, monotonically to 0..1; strength 1 becomes `SCORE_THRESHOLD`.

    The curve is log-logistic: low for usual errors, and still distinct for large ones, up to a strength of 1,000.

    Examples
    --------
    >>> bounded_score(np.array([0.0, 0.25, 1.0, 2.0])).round(4).tolist()
    [0.0, 0.4374, 0.995, 0.9997]
    """
    odds = SCORE_THRESHOLD / (1.0 - SCORE_THRESHOLD)
    score: Float64Array = 1.0 - 1.0 / (1.0 + odds * np.minimum(strength, 1e3) ** 4)
    return score
