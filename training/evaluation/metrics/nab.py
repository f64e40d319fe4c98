"""Score of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015, arXiv:1510.03336, section II).

A labelled window surrounds each anomaly. The earliest detection in a window counts 1 at its begin and nearly 0 at its
end; a missed window costs the weight ``missed`` of the profile. A detection outside costs up to the weight ``false``:
little just after a window, all of it from three window lengths on and before the first window. One threshold applies to
all series, the best one for the profile. A detector without detections scores 0, a perfect one 100.
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

# From the implementation of the benchmark, https://github.com/numenta/NAB.
_PROBATION_SHARE = 0.15  # share of a series in the probationary period
_PROBATION_OF = 5000  # largest number of rows of which that share is taken
_STEEPNESS = 5.0  # of the scoring sigmoid
_FAR = 3.0  # window lengths after a window from which a false detection costs its full weight


@dataclass(frozen=True)
class Profile:
    """Weights of an application profile.

    Parameters
    ----------
    name
        Name in ``profiles.json`` of the benchmark.
    found, missed, false
        Weights of a found window, a missed window and a false detection.
    """

    name: str
    found: float
    missed: float
    false: float


#: The three profiles of the benchmark.
PROFILES = (
    Profile("standard", 1.0, 1.0, 0.11),
    Profile("reward_low_FP_rate", 1.0, 1.0, 0.22),
    Profile("reward_low_FN_rate", 1.0, 2.0, 0.11),
)


@dataclass(frozen=True)
class NabSeries:
    """Scores of a detector on one series, and its labelled windows.

    Parameters
    ----------
    name
        Name of the series.
    score
        float64[rows], higher means more anomalous. A row is detected if its score reaches the threshold; NaN
        never does.
    windows
        int64[n, 2], begin and end (exclusive) in rows, in order and without overlap.
    probation
        Number of rows at the start that are not scored.
    """

    name: str
    score: Float64Array
    windows: IntArray
    probation: int


@dataclass(frozen=True)
class NabScore:
    """Best score, at most 100, and its threshold; infinite if detecting nothing is best."""

    threshold: float
    score: float


def probation_rows(rows: int) -> int:
    """Length of the probationary period: 15 % of the rows, at most 750.

    Examples
    --------
    >>> probation_rows(1243), probation_rows(22695)
    (186, 750)
    """
    return int(_PROBATION_SHARE * min(rows, _PROBATION_OF))


def score(series: Sequence[NabSeries], profile: Profile) -> NabScore:
    """Best score over all thresholds; one threshold applies to all series."""
    return NabSweep(series).best(profile)


def score_at(series: Sequence[NabSeries], profile: Profile, threshold: float) -> float:
    """Score at a threshold."""
    return NabSweep(series).at(threshold, profile)


def split_halves(sweep: NabSweep, profile: Profile, splits: int = 20) -> list[float]:
    """Two-fold cross-validation of the threshold over random halves of the series.

    Returns
    -------
    Two scores per split. Split n is drawn with seed n, so that all detectors are compared on the same splits.
    """
    scores = []
    for seed in range(splits):
        half = np.zeros(sweep.n_series, bool)
        half[np.random.default_rng(seed).permutation(sweep.n_series)[: sweep.n_series // 2]] = True
        scores += [sweep.at(sweep.best(profile, on).threshold, profile, ~on) for on in (half, ~half)]
    return scores


class NabSweep:
    """Scores of a detector at all thresholds: sorts all rows once, then each profile needs a single cumulative sum.

    Parameters
    ----------
    series
        Scored series, at least one.
    """

    def __init__(self, series: Sequence[NabSeries]) -> None:
        self.n_series = len(series)
        self._n_windows = np.array([_windows_that_count(one) for one in series])
        scores = np.concatenate([one.score[one.probation :] for one in series])
        worth = [_worth(one) for one in series]
        reward = np.concatenate([rows for rows, _ in worth])
        # Number of the first window of each series; windows are numbered through all series, -1 is outside.
        firsts = np.concatenate(([0], np.cumsum(self._n_windows)[:-1]))
        window = np.concatenate(
            [np.where(rows < 0, -1, rows + first) for (_, rows), first in zip(worth, firsts, strict=True)]
        )
        member = np.repeat(np.arange(len(series)), [len(rows) for rows, _ in worth])
        scores = np.where(np.isnan(scores), -np.inf, scores)
        # Among equal scores the largest reward comes first, so that later rows of the same window add nothing.
        order = np.lexsort((-reward, -scores))
        ranked, reward, window = scores[order], reward[order], window[order]
        self._member = member[order]
        # Contribution of each row to the rewards of windows, the found windows, and the cost of false detections.
        self._gain, self._found = np.zeros(len(ranked)), np.zeros(len(ranked))
        self._cost = np.where(window < 0, reward, 0.0)
        for number in range(int(self._n_windows.sum())):
            rows = np.flatnonzero(window == number)
            self._gain[rows] = np.diff(np.maximum.accumulate(reward[rows]), prepend=0.0)
            self._found[rows[:1]] = 1.0
        # A threshold detects all rows of equal score, so that scores are read at the last of them.
        last = np.append(ranked[1:] != ranked[:-1], True) & (ranked > -np.inf)
        self._ends = np.flatnonzero(last)
        self._thresholds = ranked[self._ends]

    def best(self, profile: Profile, which: BoolArray | None = None) -> NabScore:
        """Best score over all thresholds.

        Parameters
        ----------
        profile
            Weights.
        which
            bool[n_series], the series to score; None: all. The scale from 0 to 100 is that of the same series.
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
    """Reward of a detection in each row, and its window.

    Returns
    -------
    Rewards, float64[rows], 0 to 1 inside a window and -1 to 0 outside; and window numbers, int64[rows], -1 outside.
    Both start after the probationary period; windows that end within it are not counted.
    """
    rows = np.arange(len(series.score))
    reward, window = np.full(len(rows), -1.0), np.full(len(rows), -1)
    skipped = len(series.windows) - _windows_that_count(series)
    for number, (begin, end) in enumerate(series.windows.tolist()):
        length = end - begin
        inside = slice(begin, end)
        reward[inside] = _sigmoid(-(end - rows[inside]) / length) / _sigmoid(-1.0)
        window[inside] = number - skipped
        # The last row of a window is at distance 0; the bound avoids a division by 0 for a window of a single row.
        behind = (rows[end:] - (end - 1)) / max(length - 1, 1e-9)
        reward[end:] = np.where(behind > _FAR, -1.0, _sigmoid(behind))
        window[end:] = -1
    return reward[series.probation :], window[series.probation :]


def _sigmoid(position: Float64Array | float) -> Float64Array:
    """Scoring sigmoid: 0.99 at -1, 0 at 0, -0.99 at 1."""
    value: Float64Array = 2.0 / (1.0 + np.exp(_STEEPNESS * np.minimum(position, _FAR))) - 1.0
    return value
