"""Alerts without Edgewatch: a robust z score, Netdata's published method, and the rules that people write.

Each baseline scores every row of a node from that row and earlier ones. Its threshold on a set is the best that
sends no more false alerts than Edgewatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tools.benchmark.accuracy.alert_score import AlertScore, Incident, score
from training.evaluation.metrics.events import intervals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.core.arrays import BoolArray, Float32Array, Float64Array
    from tools.benchmark.accuracy.alert_sets import Node
    from training.data.recording import Recording

__all__ = [
    "BASELINES",
    "RULES",
    "Rule",
    "anomaly_rate",
    "at_most",
    "at_threshold",
    "incidents_from",
    "robust_z",
    "static_rules",
    "two_means",
]

_DAY_S = 86400.0
# Seconds without a flagged row after which an incident closes. Chosen by hand.
_CLOSE_S = 600.0
# Step between the numbers of flagged rows that are tried as thresholds: 5 % more each time. Chosen by hand.
_STEP = 1.05

# Robust z: seconds of the window, rows before the first score, rows taken for a median, and parts of the window
# between two medians. All chosen by hand; exact medians of every row cost a hundred times more.
_WINDOW_S, _FIRST_ROWS, _MOST_ROWS, _PARTS = _DAY_S, 60, 1000, 24
# Deviation of normal noise per median absolute deviation.
_NORMAL = 1.4826

# Netdata's defaults (learn.netdata.cloud/docs/ai-and-machine-learning/ml-configuration): seconds and least rows of a
# training window, models a channel, rows of smoothing and of lag, every fifth row is used, anomaly score of a channel,
# seconds over which the node's anomaly rate is averaged.
_TRAINED_S, _TRAINED_ROWS, _MODELS, _SMOOTH, _LAG, _EVERY, _QUANTILE, _RATE_S = 21600.0, 900, 18, 3, 5, 5, 0.99, 300.0
# Rows without a complete feature vector.
_INCOMPLETE = _SMOOTH + _LAG - 1
# Iterations of 2-means and least rows of the anomaly rate, chosen by hand.
_ITERATIONS, _LEAST_RATE_ROWS = 10, 5

# Score of a rule that has no scale: twice its limit. Chosen by hand.
_CERTAIN = 2.0


@dataclass(frozen=True)
class Rule:
    """A rule on one channel, which must hold for some time.

    Parameters
    ----------
    limit
        Value above which it holds; relative to the median of the first day if ``relative``.
    seconds
        Time for which it must hold.
    """

    limit: float
    seconds: float = 300.0
    relative: bool = False


#: Rules by channel, as widespread guides to monitoring give them.
RULES = {
    "cpu.percent": Rule(90.0),
    "cpu.iowait": Rule(30.0),
    "memory.percent": Rule(90.0),
    "swap.percent": Rule(50.0),
    "disk.percent": Rule(85.0),
    "temperature.cpu": Rule(80.0),
    "app.latency": Rule(3.0, relative=True),
    "latency.gateway": Rule(3.0, relative=True),
    "app.errors": Rule(3.0, relative=True),
}
# Channels whose silence is a rule of its own: no traffic, or no answer, for five minutes.
_SILENT, _SILENT_S = ("app.requests", "app.latency"), 300.0


def robust_z(recording: Recording) -> Float32Array:
    """Largest distance of a channel from its median in the day before, in robust deviations, float32[rows].

    The scale is 1.4826 times the median absolute deviation, at least the standard deviation of all rows before: else
    channels that rarely move would use up all false alerts. With a tenth, a half and the whole of it 15, 119 and 162
    of 327 events of the AIOps KPIs are told, 81, 95 and 95 of 140 of the SMD; the whole was chosen for that. Both are
    renewed each time that the window moves by a twenty-fourth of its length.
    """
    values = _filled(recording.values)
    overall = _deviations(values)
    longest = max(round(_WINDOW_S / recording.interval_s), _FIRST_ROWS)
    scores = np.zeros(len(values), np.float32)
    row = _FIRST_ROWS
    while row < len(values):
        length = min(row, longest)
        until = row + max(1, length // _PARTS)
        window = values[row - length : row][:: -(-length // _MOST_ROWS)]
        median = np.median(window, axis=0)
        scale = np.maximum(_NORMAL * np.median(np.abs(window - median), axis=0), overall[row - 1])
        scale = np.maximum(scale, 1e-6 * (1.0 + np.abs(median)))
        scores[row:until] = np.max(np.abs(values[row:until] - median) / scale, axis=1)
        row = until
    return scores


def anomaly_rate(recording: Recording) -> Float32Array:
    """Netdata's anomaly rate of a node, 0 to 1, float32[rows].

    Each channel has up to 18 models, trained in turn on the six hours before. A model is two centres of the vectors of
    five smoothed, lagged differences. A channel is anomalous if its vector is farther from the nearest centre than 99 %
    of the training vectors for every model. The rate is the share of anomalous channels over the last five minutes.

    Netdata samples once a second. Here a window has at least 900 rows, and the rate at least five.
    """
    features = _features(_filled(recording.values))
    rows, channels = features.shape[:2]
    window = max(round(_TRAINED_S / recording.interval_s), _TRAINED_ROWS)
    every = window // 2
    votes = np.ones((rows, channels), bool)
    votes[:_TRAINED_ROWS] = False
    for row in range(_TRAINED_ROWS, rows, every):
        learned = features[max(row - window, _INCOMPLETE) : row : _EVERY]
        centres = two_means(learned)
        limits = np.quantile(_nearest(learned, centres), _QUANTILE, axis=0)
        judged = slice(row, row + _MODELS * every)
        left, channel = np.nonzero(votes[judged])  # a pair that one model calls normal needs no other
        distances = _nearest(features[judged][left, channel], centres[:, channel])
        votes[judged][left, channel] = distances > limits[channel]
    length = max(round(_RATE_S / recording.interval_s), _LEAST_RATE_ROWS)
    total = np.concatenate((np.zeros(length), np.cumsum(votes.mean(axis=1))))
    rate: Float32Array = ((total[length:] - total[:-length]) / length).astype(np.float32)
    return rate


def two_means(points: Float32Array) -> Float32Array:
    """Two centres for each channel by Lloyd's algorithm, float32[2, n_channels, size].

    It starts at the points closest to and farthest from the mean.

    Parameters
    ----------
    points
        float32[n, n_channels, size].
    """
    from_mean = np.sum((points - points.mean(axis=0)) ** 2, axis=2)
    each = np.arange(points.shape[1])
    centres = np.stack((points[from_mean.argmin(axis=0), each], points[from_mean.argmax(axis=0), each]))
    for _ in range(_ITERATIONS):
        apart = np.sum((points - centres[0]) ** 2, axis=2) > np.sum((points - centres[1]) ** 2, axis=2)
        for index, mine in enumerate((~apart, apart)):
            count = mine.sum(axis=0)
            mean = np.einsum("nc,ncd->cd", mine.astype(np.float32), points) / np.maximum(count, 1)[:, None]
            centres[index] = np.where(count[:, None] > 0, mean, centres[index])
    return centres


def static_rules(recording: Recording) -> Float32Array | None:
    """Largest value of a rule relative to its limit, float32[rows]; from 1 on a rule holds.

    A value counts as low as it was within the rule's time. None if no channel has a rule.
    """
    names = [channel.name for channel in recording.channels]
    if not any(name in RULES for name in names):
        return None
    scores = np.zeros(recording.rows, np.float32)
    day = round(_DAY_S / recording.interval_s)
    for name, rule in RULES.items():
        if name not in names:
            continue
        values, limit = recording.values[:, names.index(name)], rule.limit
        known = np.nan_to_num(values, nan=0.0)
        if rule.relative:
            limit *= max(float(np.median(known[:day])), 1e-6)
            known[:day] = 0.0  # the median is not known yet
        scores = np.maximum(scores, _held(known / limit, rule.seconds / recording.interval_s))
    for name in _SILENT:
        if name in names:
            values = recording.values[:, names.index(name)]
            silent = (np.isnan(values) | (values == 0)).astype(np.float32)
            scores = np.maximum(scores, _CERTAIN * _held(silent, _SILENT_S / recording.interval_s))
    return scores


#: Scores of all rows by name of the baseline; None where it does not apply.
BASELINES: dict[str, Callable[[Recording], Float32Array | None]] = {
    "robust z": robust_z,
    "2-means of each channel, as Netdata": anomaly_rate,
    "static rules": static_rules,
}


def incidents_from(flags: BoolArray, time: Float64Array) -> list[Incident]:
    """Incidents of flagged rows, bool[rows]: one closes ten minutes after its last flagged row."""
    runs = intervals(flags)
    begins, ends = time[runs[:, 0]], time[runs[:, 1] - 1]
    apart = begins[1:] - ends[:-1] >= _CLOSE_S
    first, last = np.concatenate(([True], apart)), np.concatenate((apart, [True]))
    spans = zip(begins[first[: len(runs)]].tolist(), ends[last[: len(runs)]].tolist(), strict=True)
    return [Incident(begin, end + _CLOSE_S, ((begin, ""),)) for begin, end in spans]


def at_threshold(nodes: Sequence[Node], scores: Sequence[Float32Array], threshold: float) -> AlertScore:
    """Score the incidents of the rows that reach a threshold."""
    total = AlertScore()
    for node, each in zip(nodes, scores, strict=True):
        time = node.recording.time
        sent = incidents_from(each >= threshold, time)
        total.add(score(sent, node.events, node.begin, float(time[-1]), node.recording.interval_s))
    return total


def at_most(nodes: Sequence[Node], scores: Sequence[Float32Array], false: int) -> AlertScore:
    """Score at the threshold with most events told and at most ``false`` false alerts.

    The search starts at the highest score, goes down by shares of flagged rows and ends before the first threshold with
    more. The lowest of the others is not always the best: with nearly all rows flagged, few incidents open, and they
    cover everything. Of two thresholds that tell as many events, the lower one counts. Scores of 0 or less are never
    flagged.
    """
    counted = [each[node.recording.time >= node.begin] for node, each in zip(nodes, scores, strict=True)]
    ranked = -np.sort(-np.concatenate(counted))
    ranked = ranked[ranked > 0]
    best, rank, tried = at_threshold(nodes, scores, np.inf), 0, np.inf
    while rank < ranked.size:
        if ranked[rank] < tried:
            tried = float(ranked[rank])
            found = at_threshold(nodes, scores, tried)
            if found.false > false:
                break
            if found.events_told >= best.events_told:
                best = found
        rank = max(rank + 1, int(rank * _STEP))
    return best


def _filled(values: Float32Array) -> Float32Array:
    """Values with the last known one where a reading is missing, 0 before the first, float32[rows, n_channels]."""
    values = np.asarray(values, np.float32)
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], 0), axis=0)
    filled: Float32Array = np.nan_to_num(np.take_along_axis(values, last, axis=0), nan=0.0, posinf=0.0, neginf=0.0)
    return filled


def _deviations(values: Float32Array) -> Float64Array:
    """Standard deviation of each channel over all rows up to each one, float64[rows, n_channels]."""
    shifted = values.astype(np.float64) - values[:1]
    count = np.arange(1, len(values) + 1)[:, None]
    mean = np.cumsum(shifted, axis=0) / count
    deviation: Float64Array = np.sqrt(np.maximum(np.cumsum(shifted**2, axis=0) / count - mean**2, 0.0))
    return deviation


def _features(values: Float32Array) -> Float32Array:
    """Last five means of three differences each, float32[rows, n_channels, 5]; 0 in the first rows."""
    steps = np.diff(values, axis=0, prepend=values[:1])
    smoothed = steps.copy()
    for lag in range(1, _SMOOTH):
        smoothed[lag:] += steps[:-lag]
    features = np.zeros((*values.shape, _LAG), np.float32)
    for lag in range(_LAG):
        features[lag:, :, lag] = smoothed[: len(values) - lag] / _SMOOTH
    features[:_INCOMPLETE] = 0.0
    return features


def _nearest(points: Float32Array, centres: Float32Array) -> Float32Array:
    """Distance to the nearest of two centres, float32[...]."""
    squares = np.minimum(np.sum((points - centres[0]) ** 2, axis=-1), np.sum((points - centres[1]) ** 2, axis=-1))
    distance: Float32Array = np.sqrt(squares)
    return distance


def _held(values: Float32Array, rows: float) -> Float32Array:
    """Least value of the last ``rows`` rows, at least one, float32[rows]; 0 before as many are known."""
    length = max(1, round(rows))
    padded = np.concatenate((np.zeros(length - 1, np.float32), values))
    held: Float32Array = sliding_window_view(padded, length).min(axis=1)
    return held
