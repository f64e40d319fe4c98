"""VUS-PR as computed by the TSB-AD benchmark (Liu and Paparrizos 2024), for comparison with its published figures.

It differs from `training.evaluation.metrics.volume` in details that the definition leaves open: the area under a
precision-recall curve is a sum of steps, anomalies are widened by every width up to the period of the series, and rows
in the widened part count as anomalous only as far as they are flagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.metrics.events import intervals

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float64Array, IntArray

__all__ = ["period", "vus_pr"]

# From the implementation of the benchmark, https://github.com/TheDatumOrg/TSB-AD.
_THRESHOLDS = 250
_LAGS = 400  # largest lag of the autocorrelation in rows
_SHORTEST, _LONGEST = 6, 303  # accepted periods in rows
_NO_PERIOD = 125  # result without an accepted period, in rows
_PERIOD_ROWS = 20_000  # rows of the autocorrelation


def period(values: Float64Array) -> int:
    """Period of a series: the lag of the highest peak of its autocorrelation.

    Parameters
    ----------
    values
        float64[rows], the first channel; only the first 20,000 rows are used.

    Returns
    -------
    6 to 303 rows; 125 if the peak lies outside or is missing.
    """
    centred = values[:_PERIOD_ROWS] - values[:_PERIOD_ROWS].mean()
    rows = len(centred)
    spectrum = np.abs(np.fft.rfft(centred, 2 * rows)) ** 2
    correlation = np.fft.irfft(spectrum)[: min(_LAGS + 1, rows)]
    inner = correlation[3:]
    peaks = np.flatnonzero((inner[1:-1] > inner[:-2]) & (inner[1:-1] > inner[2:])) + 4
    if not centred.any() or not peaks.size:
        return _NO_PERIOD
    highest = int(peaks[np.argmax(correlation[peaks])])
    return highest if _SHORTEST <= highest <= _LONGEST else _NO_PERIOD


def vus_pr(labels: BoolArray, score: Float64Array, widest: int) -> float:
    """Volume under the precision-recall surface: mean area over buffer widths from 0 to ``widest``.

    Parameters
    ----------
    labels
        bool[rows], with at least one anomaly.
    score
        float64[rows], finite, higher means more anomalous.
    widest
        Largest width in rows; half of it is added on either side of an anomaly.
    """
    ranked = -np.sort(-score)
    thresholds = ranked[np.linspace(0, len(score) - 1, _THRESHOLDS).astype(int)]
    flagged = np.searchsorted(-ranked, -thresholds, "right")
    # Index of the highest threshold that flags each row; thresholds decrease.
    first = np.searchsorted(-thresholds, -score, "left")
    true = intervals(labels)
    inside = np.cumsum(np.bincount(first[labels], minlength=_THRESHOLDS))
    areas = [_area(labels, true, first, inside, flagged, width) for width in range(widest + 1)]
    return float(np.mean(areas))


def _area(labels: BoolArray, true: IntArray, first: IntArray, inside: IntArray, flagged: IntArray, width: int) -> float:
    """Area under the precision-recall curve of anomalies widened by a slope of ``width // 2`` rows on either side."""
    weight = _slopes(labels, true, width)
    beside = np.flatnonzero(weight)
    right_beside = np.cumsum(np.bincount(first[beside], weight[beside], minlength=_THRESHOLDS))
    right = inside + right_beside
    found = np.zeros(_THRESHOLDS)
    segments = _widened(true, width // 2, len(labels))
    for begin, end in segments:
        found[first[begin:end].min() :] += 1.0
    anomalous = labels.sum() + right_beside / 2.0
    recall = np.minimum(right / anomalous, 1.0) * found / len(segments)
    return float(np.sum(np.diff(recall, prepend=0.0) * right / flagged))


def _slopes(labels: BoolArray, true: IntArray, width: int) -> Float64Array:
    """Weight of rows beside an anomaly, float64[rows], 0 to 1; 0 inside and far away."""
    weight = np.zeros(len(labels))
    distance = np.arange(1, width // 2 + 1)
    slope = np.sqrt(1.0 - distance / max(width, 1))
    for begin, end in true.tolist():
        behind = min(len(slope), len(labels) - end)
        weight[end : end + behind] += slope[:behind]
        before = min(len(slope), begin)
        weight[begin - before : begin] += slope[:before][::-1]
    weight[labels] = 0.0
    return np.minimum(weight, 1.0)


def _widened(true: IntArray, by: int, rows: int) -> list[tuple[int, int]]:
    """Intervals, begin and end (exclusive), widened by ``by`` rows on both sides; touching ones are merged."""
    widened: list[tuple[int, int]] = []
    for begin, end in true.tolist():
        if widened and begin - by <= widened[-1][1] - 1:
            widened[-1] = (widened[-1][0], min(end + by, rows))
        else:
            widened.append((max(begin - by, 0), min(end + by, rows)))
    return widened
