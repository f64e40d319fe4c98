"""Volume under the surface (VUS): mean area under ROC and PR curves over widths of a soft edge around anomalies.

Paparrizos et al. 2022, PVLDB 15(11), in the implementation of aeon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from aeon.benchmarking.metrics.anomaly_detection import range_pr_roc_auc_support

from training.evaluation.metrics.events import intervals

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float64Array

__all__ = ["MAX_ROWS", "volume"]

#: Largest number of rows; above it, VUS takes minutes and is omitted.
MAX_ROWS = 250_000
# Number of widths from 0 to the buffer; using all widths changes at most the third decimal.
_WIDTHS = 11


def volume(labels: BoolArray, score: Float64Array, buffer: int | None = None) -> tuple[float, float, int] | None:
    """Compute VUS-ROC and VUS-PR.

    Parameters
    ----------
    labels
        bool[rows], True where labelled anomalous.
    score
        float64[rows], finite, higher means more anomalous.
    buffer
        Largest width in rows; None: the median length of the anomalies.

    Returns
    -------
    VUS-ROC, VUS-PR and the largest width, averaged over eleven evenly spaced widths. None if undefined (no or all rows
    labelled, constant score) or for more than `MAX_ROWS` rows.
    """
    if labels.all() or not labels.any() or score.min() == score.max() or labels.size > MAX_ROWS:
        return None
    true = intervals(labels)
    widest = int(np.median(true[:, 1] - true[:, 0])) if buffer is None else buffer
    widths = np.unique(np.rint(np.linspace(0, widest, _WIDTHS)).astype(int)).tolist()
    y = labels.astype(int)
    areas = [range_pr_roc_auc_support(y, score, buffer_size=width, skip_check=True) for width in widths]
    pr, roc = np.mean(areas, axis=0)
    return float(roc), float(pr), widest
