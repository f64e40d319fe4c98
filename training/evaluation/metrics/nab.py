"""Score of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015, arXiv:1510.03336, section II).

A window around each anomaly is worth 1 when a row at its begin is detected, next to nothing at its end, and costs the
profile's weight when none is. Only the earliest detection in a window counts. A detection outside costs up to the
profile's weight: little right behind a window, all of it from three windows' lengths on and before the first. One
threshold holds for all series: the one that is best for the profile. 0 is what no detection gets, 100 the perfect one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = [
    "PROFILES",
    "NabScore",
    "NabSeries",
    "NabSweep",
    "Profile",
    "probation_rows",
    "score",
    "score_at",
    "split_halves",
]

_PROBATION_SHARE = 0.15
_PROBATION_OF = 5000
_STEEPNESS = 5.0
# Further behind a window than so many of its lengths a false detection costs all of its weight.
_FAR = 3.0


@dataclass(frozen=True)
class Profile:
    """What counts how much.

    Parameters
    ----------
    name
        As in the benchmark's ``profiles.json``.
    found, missed, false
        Weight of a window found, of one missed, and of a false detection.
    """

    name: str
    found: float
    missed: float
    false: float


#: The benchmark's own three.
PROFILES = (
    Profile("standard", 1.0, 1.0, 0.11),
    Profile("reward_low_FP_rate", 1.0, 1.0, 0.22),
    Profile("reward_low_FN_rate", 1.0, 2.0, 0.11),
)


@dataclass(frozen=True)
class NabSeries:
    """A detector's scores of one series, and its windows.

    Parameters
    ----------
    name
        Of the series.
    score
        float64[rows], larger is stranger; what is detected at a threshold is that score and above, NaN never is.
    windows
        int64[n, 2], begin and end (exclusive) of each, in rows, in order and apart from each other.
    probation
        Rows from the start that do not count.
    """

    name: str
    score: Float64Array
    windows: IntArray
    probation: int


@dataclass(frozen=True)
class NabScore:
    """The best score, 100 at most, and the threshold that gives it; infinite where nothing should be detected."""

    threshold: float
    score: float


def probation_rows(rows: int) -> int:
    """Rows of a series that do not count: the first 15 %, at most 750.

    Examples
    --------
    >>> probation_rows(1243), probation_rows(22695)
    (186, 750)
    """
    return int(_PROBATION_SHARE * min(rows, _PROBATION_OF))


def score(series: Sequence[NabSeries], profile: Profile) -> NabScore:
    """Best score over all thresholds, the same for all series."""
    return NabSweep(series).best(profile)


def score_at(series: Sequence[NabSeries], profile: Profile, threshold: float) -> float:
    """Score at a threshold."""
    return NabSweep(series).at(threshold, profile)


def split_halves(sweep: NabSweep, profile: Profile, splits: int = 20) -> list[float]:
    """Choose the threshold on one half of the series, score the other, both ways; of random halves.

    Returns
    -------
    Two scores a split; split number n is drawn with seed n, so that detectors are compared on the same ones.
    """
    scores = []
    for seed in range(splits):
        half = np.zeros(sweep.n_series, bool)
        half[np.random.default_rng(seed).permutation(sweep.n_series)[: sweep.n_series // 2]] = True
        scores += [sweep.at(sweep.best(profile, on).threshold, profile, ~on) for on in (half, ~half)]
    return scores


class NabSweep:
    """All thresholds of a detector at once: rows are sorted once, then each profile and choice of series is one sum.

    Parameters
    ----------
    series
        At least one.
    """

    def __init__(self, series: Sequence[NabSeries]) -> None:
        self.n_series = len(series)
        self._n_windows = np.array([_windows_that_count(one) for one in series])
        scores = np.concatenate([one.score[one.probation :] for one in series])
        worth = [_worth(one) for one in series]
        reward = np.concatenate([rows for rows, _ in worth])
        firsts = np.concatenate(([0], np.cumsum(self._n_windows)[:-1]))
        window = np.concatenate(
            [np.where(rows < 0, -1, rows + first) for (_, rows), first in zip(worth, firsts, strict=True)]
        )
        member = np.repeat(np.arange(len(series)), [len(rows) for rows, _ in worth])
        scores = np.where(np.isnan(scores), -np.inf, scores)
        # Of equal scores the one worth most goes first, so that the others of its window add nothing.
        order = np.lexsort((-reward, -scores))
        ranked, reward, window = scores[order], reward[order], window[order]
        self._member = member[order]
        # What each row adds to the rewards of windows, to the windows found, and to the cost of false detections.
        self._gain, self._found = np.zeros(len(ranked)), np.zeros(len(ranked))
        self._cost = np.where(window < 0, reward, 0.0)
        for number in range(int(self._n_windows.sum())):
            rows = np.flatnonzero(window == number)
            self._gain[rows] = np.diff(np.maximum.accumulate(reward[rows]), prepend=0.0)
            self._found[rows[:1]] = 1.0
        last = np.append(ranked[1:] != ranked[:-1], True) & (ranked > -np.inf)
        self._ends = np.flatnonzero(last)
        self._thresholds = ranked[self._ends]

    def best(self, profile: Profile, which: BoolArray | None = None) -> NabScore:
        """Best score over all thresholds.

        Parameters
        ----------
        profile
            What counts how much.
        which
            bool[n_series], the series that count; None takes all. None and perfect are those of the same series.
        """
        scores = self._scores(profile, which)
        if not scores.size or scores.max() <= 0.0:
            return NabScore(np.inf, 0.0)
        best = int(np.argmax(scores))
        return NabScore(float(self._thresholds[best]), float(scores[best]))

    def at(self, threshold: float, profile: Profile, which: BoolArray | None = None) -> float:
        """Score at a threshold; see `best`."""
        detected = int(np.searchsorted(-self._thresholds, -threshold, "right"))
        return float(self._scores(profile, which)[detected - 1]) if detected else 0.0

    def _scores(self, profile: Profile, which: BoolArray | None) -> Float64Array:
        """Score at every threshold, from the highest to the lowest."""
        each = profile.found * self._gain + profile.missed * self._found + profile.false * self._cost
        if which is not None:
            each *= which[self._member]
        windows = int(self._n_windows.sum() if which is None else self._n_windows[which].sum())
        normalised: Float64Array = 100.0 * np.cumsum(each)[self._ends]
        return normalised / (windows * (profile.found + profile.missed) or np.inf)


def _windows_that_count(series: NabSeries) -> int:
    return int(np.count_nonzero(series.windows[:, 1] > series.probation))


def _worth(series: NabSeries) -> tuple[Float64Array, IntArray]:
    """What a detection is worth, and in which window.

    Returns
    -------
    float64[rows], in a window 0..1, outside -1..0; and int64[rows], number of the window or -1; both of the rows behind
    the probation, counting the windows that reach beyond it.
    """
    rows = np.arange(len(series.score))
    reward, window = np.full(len(rows), -1.0), np.full(len(rows), -1)
    skipped = len(series.windows) - _windows_that_count(series)
    for number, (begin, end) in enumerate(series.windows.tolist()):
        length = end - begin
        inside = slice(begin, end)
        reward[inside] = _sigmoid(-(end - rows[inside]) / length) / _sigmoid(-1.0)
        window[inside] = number - skipped
        # A window of one row has no length behind which to forgive.
        behind = (rows[end:] - (end - 1)) / max(length - 1, 1e-9)
        reward[end:] = np.where(behind > _FAR, -1.0, _sigmoid(behind))
        window[end:] = -1
    return reward[series.probation :], window[series.probation :]


def _sigmoid(position: Float64Array | float) -> Float64Array:
    """From 0.99 at -1 through 0 at 0 to -0.99 at 1."""
    value: Float64Array = 2.0 / (1.0 + np.exp(_STEEPNESS * np.minimum(position, _FAR))) - 1.0
    return value
