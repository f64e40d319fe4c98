"""The verdict on one frame: strengths, limits, scores."""

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

#: The score at which an error is at its limit.
SCORE_THRESHOLD = 0.995
#: How an anomaly was noticed: by single readings, by the course of some minutes, or by where the level lies.
Course: TypeAlias = Literal["readings", "pattern", "level"]


class Scores(msgspec.Struct, gc=False):
    """What the models say of one frame, on each channel's own scale (linear or logarithmic).

    Parameters
    ----------
    outlook
        float64[3, n_channels]: what the forecaster expected of this tick, median, 5 % and 95 % quantile; NaN before a
        channel's first valid reading.
    errors
        float64[2, n_channels]: of the forecast, reading less median, NaN where either is missing; of the
        reconstruction, the largest of the newest points, NaN for a channel whose window was not due at this tick.
    """

    outlook: Any  # Float64Array; msgspec does not look inside
    errors: Any


#: Where there is no excursion.
NO_COURSES: Mapping[int, Course] = MappingProxyType({})


class Verdict:
    """What the thresholds say of one frame; arrays over channels.

    What people read – expectations in the channel's unit, scores, progress – is worked out when it is asked for, which
    on a quiet device is seldom.

    Parameters
    ----------
    value
        float32[n_channels], the readings, NaN where missing.
    outlook
        float64[3, n_channels] on the channels' scales, see `Scores`.
    limits
        Lower and upper limit of the forecast error, float64[n_channels] each, on the channels' scales.
    in_units
        Brings numbers from the channels' scales to their units.
    strength
        float64[n_channels], how much this frame speaks for an anomaly: 1 is at the limit. The alert head.
    peak
        float64[n_channels], the largest strength of the present excursion where a channel is anomalous, else 0 or
        ``strength``.
    anomalous
        bool[n_channels].
    accepted
        bool[n_channels]: anomalous for so long that the new level is taken as normal from here on.
    seen, learning_rows, provisional_rows
        float64[n_channels] readings seen; how many, the same of all or float64[n_channels], end the silent and the
        provisional part of learning.
    state
        float64[n_channels], deviations over their usual size: the state head.
    state_score
        0..1 for the node as a whole: the channels' states, see `agent.detection.relative_error.node_state`.
    errors
        float64[2, n_channels], see `Scores`.
    courses
        By channel, how its present anomaly was noticed where it was not by single readings.
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
        "state",
        "state_score",
        "strength",
        "value",
    )

    #: The score from which a channel is anomalous.
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
        """Put verdicts on groups of channels together.

        Parameters
        ----------
        order
            int64[n_channels]: where in the parts, one behind the other, each channel is.
        """

        def all_of(name: str) -> Any:
            return np.concatenate([getattr(part, name) for part in parts], axis=-1)[..., order]

        def rows(name: str) -> Float64Array:
            each = [np.broadcast_to(getattr(part, name), part.strength.shape) for part in parts]
            spread: Float64Array = np.concatenate(each)[order]
            return spread

        courses, offset = {}, 0
        if any(part.courses for part in parts):
            place = np.argsort(order)
            for part in parts:
                courses.update({int(place[offset + channel]): course for channel, course in part.courses.items()})
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
            **{name: all_of(name) for name in ("strength", "peak", "anomalous", "accepted", "state", "errors")},
        )

    def bounds(self) -> Float64Array:
        """Expectation, lower and upper end of the normal range, float64[3, n_channels] in the channels' units.

        The range is where the forecast error is within its limits; while these are still being learned, it is the
        model's own band.
        """
        bounds = self._outlook.copy()
        known = self._seen > self._learning_rows
        for end, limit in zip(bounds[1:], self._limits, strict=True):
            np.add(bounds[0], limit, out=end, where=known)
        return self._in_units(bounds)

    def score(self) -> Float64Array:
        """``strength`` on a bounded scale, float64[n_channels] in 0..1."""
        return bounded_score(self.strength)

    def progress(self) -> Float64Array:
        """How much of the silent part of learning is done, float64[n_channels] in 0..1."""
        progress: Float64Array = np.minimum(self._seen / self._learning_rows, 1.0)
        return progress

    def provisional(self) -> BoolArray:
        """Whether a channel has learned too little yet to be sure, bool[n_channels]."""
        provisional: BoolArray = self._seen < self._provisional_rows
        return provisional


def bounded_score(strength: Float64Array) -> Float64Array:
    """Map error over limit, 0..∞, to 0..1 without losing its order; 1 becomes `SCORE_THRESHOLD`.

    A log-logistic curve: it stays low where errors are usual, and still tells 50 limits from 100.

    Examples
    --------
    >>> bounded_score(np.array([0.0, 0.25, 1.0, 2.0])).round(4).tolist()
    [0.0, 0.4374, 0.995, 0.9997]
    """
    odds = SCORE_THRESHOLD / (1.0 - SCORE_THRESHOLD)
    score: Float64Array = 1.0 - 1.0 / (1.0 + odds * np.minimum(strength, 1e3) ** 4)
    return score
