"""Row-based metrics: confusion matrix, precision, recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.evaluation.metrics.ratio import f1, ratio

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray

__all__ = ["ClassReport", "Points", "count_points", "window_labels"]


class ClassReport(msgspec.Struct, frozen=True):
    """Precision, recall and F1 of one class; ``support`` is its true number of rows."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: float


class Points(msgspec.Struct, frozen=True):
    """Confusion matrix over rows and its metrics; None where undefined.

    Parameters
    ----------
    true_positive, false_positive, true_negative, false_negative
        Numbers of rows; means over random draws may be fractional.
    accuracy
        Share of rows classified correctly.
    precision
        Share of the flagged rows that are anomalous.
    recall
        Share of the anomalous rows that are flagged.
    specificity
        Share of the normal rows that are not flagged.
    f1
        Harmonic mean of precision and recall.
    """

    true_positive: float
    false_positive: float
    true_negative: float
    false_negative: float
    accuracy: float | None
    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None

    def classes(self) -> dict[str, ClassReport]:
        """Classification report: precision, recall, F1 and number of rows of each class."""
        right, missed = self.true_negative, self.false_negative
        normal = ratio(right, right + missed), ratio(right, right + self.false_positive)
        return {
            "normal": ClassReport(*normal, f1(*normal), right + self.false_positive),
            "anomalous": ClassReport(self.precision, self.recall, self.f1, self.true_positive + missed),
        }


def count_points(labels: BoolArray, flags: BoolArray) -> Points:
    """Compare flags with labels.

    Parameters
    ----------
    labels, flags
        bool[rows], anomalous and flagged rows.
    """
    tp, fp = int(np.count_nonzero(labels & flags)), int(np.count_nonzero(~labels & flags))
    fn, tn = int(np.count_nonzero(labels & ~flags)), int(np.count_nonzero(~labels & ~flags))
    precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
    return Points(
        true_positive=tp,
        false_positive=fp,
        true_negative=tn,
        false_negative=fn,
        accuracy=ratio(tp + tn, labels.size),
        precision=precision,
        recall=recall,
        specificity=ratio(tn, tn + fp),
        f1=f1(precision, recall),
    )


def window_labels(labels: BoolArray, width: int) -> BoolArray:
    """Labels per window: True in a row if any of the ``width`` rows that end there is anomalous.

    Parameters
    ----------
    labels
        bool[rows].
    width
        Rows per window; the first windows are shorter.

    Examples
    --------
    >>> window_labels(np.array([False, True, False, False, False]), 3).tolist()
    [False, True, True, True, False]
    """
    before = np.concatenate(([0], np.cumsum(labels)))
    rows = np.arange(labels.size)
    touched: BoolArray = before[rows + 1] > before[np.maximum(rows + 1 - width, 0)]
    return touched
