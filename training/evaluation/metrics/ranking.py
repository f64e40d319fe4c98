"""Ranking metrics: how well a score separates anomalous from normal rows, over all thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from training.evaluation.metrics.events import intervals

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float64Array

__all__ = ["Ranking", "best_f1", "highest_inside", "rank"]

_TOLERANCE_ROWS = 100  # accepted distance from the anomaly (Wu and Keogh 2021)


class Ranking(msgspec.Struct, frozen=True):
    """Metrics of a score without a given threshold; None where undefined.

    Parameters
    ----------
    roc_auc
        Area under the ROC curve: probability that an anomalous row scores above a normal one.
    pr_auc
        Average precision: the sum of precisions weighted by the increase of recall.
    best_f1, best_f1_threshold
        Largest F1 over all thresholds, and its threshold; in operation, this threshold is unknown.
    vus_roc, vus_pr
        Volume under the surface, see `training.evaluation.metrics.volume`.
    vus_buffer
        Largest buffer around anomalies in rows.
    highest_inside
        1 if the highest score lies within the only anomaly, plus or minus the larger of its length and 100 rows; else
        0 (accuracy of the UCR Anomaly Archive; Wu and Keogh 2021).
    """

    roc_auc: float | None
    pr_auc: float | None
    best_f1: float | None
    best_f1_threshold: float | None
    vus_roc: float | None
    vus_pr: float | None
    vus_buffer: float | None
    highest_inside: float | None


def rank(
    labels: BoolArray,
    score: Float64Array,
    *,
    volume: tuple[float, float, int] | None = None,
    inside: bool | None = None,
) -> Ranking:
    """Compute all ranking metrics.

    Parameters
    ----------
    labels
        bool[rows].
    score
        float64[rows], finite, higher means more anomalous.
    volume
        ``vus_roc``, ``vus_pr`` and ``vus_buffer``, if computed.
    inside
        Result of `highest_inside`, if computed.
    """
    both_classes = bool(labels.any()) and not labels.all()
    best, threshold = best_f1(labels, score) if labels.any() else (None, None)
    vus_roc, vus_pr, buffer = volume or (None, None, None)
    return Ranking(
        roc_auc=float(roc_auc_score(labels, score)) if both_classes else None,
        pr_auc=float(average_precision_score(labels, score)) if both_classes else None,
        best_f1=best,
        best_f1_threshold=threshold,
        vus_roc=vus_roc,
        vus_pr=vus_pr,
        vus_buffer=buffer,
        highest_inside=None if inside is None else float(inside),
    )


def best_f1(labels: BoolArray, score: Float64Array) -> tuple[float, float]:
    """Largest F1 over all thresholds, and its threshold; a row is flagged if its score reaches it.

    Examples
    --------
    >>> best_f1(np.array([False, True, False, True]), np.array([0.1, 0.8, 0.3, 0.7]))
    (1.0, 0.7)
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal scores are flagged together
    hits = np.cumsum(labels[order])[last]
    flagged = np.flatnonzero(last) + 1
    f1 = 2.0 * hits / (flagged + np.count_nonzero(labels))
    best = int(np.argmax(f1))
    return float(f1[best]), float(ranked[last][best])


def highest_inside(labels: BoolArray, score: Float64Array) -> bool | None:
    """Whether the highest score lies in or near the only anomaly; None unless there is exactly one."""
    true = intervals(labels)
    if len(true) != 1:
        return None
    begin, end = true[0].tolist()
    slack = max(_TOLERANCE_ROWS, end - begin)
    return bool(begin - slack <= int(np.argmax(score)) < end + slack)
