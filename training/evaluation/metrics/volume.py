"""Volume under the surface (VUS): areas under ROC and PR curves whose labels have soft edges, over widths of the edge.

Paparrizos et al. 2022, PVLDB 15(11); worked out by aeon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from aeon.benchmarking.metrics.anomaly_detection import range_pr_roc_auc_support

from training.evaluation.metrics.events import intervals

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float64Array

__all__ = ["MAX_ROWS", "volume"]

#: Beyond this a volume takes minutes and is left out.
MAX_ROWS = 250_000
# Of a width in 0..buffer; neighbours differ so little that more changes the third decimal at most.
_WIDTHS = 11


def volume(labels: BoolArray, score: Float64Array, buffer: int | None = None) -> tuple[float, float, int] | None:
    """Work out VUS-ROC and VUS-PR.

    Parameters
    ----------
    labels
        bool[rows].
    score
        float64[rows], finite.
    buffer
        Largest width in rows; None takes the median length of the anomalies.

    Returns
    -------
    VUS-ROC, VUS-PR and the largest width; None where undefined (nothing or everything labelled, a constant score) and
    for more than `MAX_ROWS` rows. The mean runs over eleven widths, evenly spaced from 0.
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
