"""Reduction of the points of long lines that keeps all spikes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array, IntArray

__all__ = ["BUCKETS", "thinned"]

#: Default number of buckets, enough for the pixel columns of a chart.
BUCKETS = 1500


def thinned(values: Float32Array, buckets: int = BUCKETS) -> IntArray:
    """Choose the rows to draw: minimum and maximum of every bucket, and one row of an empty bucket.

    Parameters
    ----------
    values
        float32[rows], NaN where missing.
    buckets
        Number of parts of equal length; series of up to 2 ``buckets`` rows keep every row.

    Returns
    -------
    int64[n], rising, n ≤ 2 ``buckets``.

    Examples
    --------
    >>> thinned(np.array([0, 1, 9, 1, 0, -5, 0, 0], np.float32), buckets=2).tolist()
    [0, 2, 4, 5]
    """
    rows = values.size
    if rows <= 2 * buckets:
        return np.arange(rows)
    width = -(-rows // buckets)
    padded = np.full(width * -(-rows // width), np.nan)
    padded[:rows] = values
    blocks = padded.reshape(-1, width)
    starts = np.arange(0, padded.size, width)
    lowest = starts + np.argmin(np.where(np.isnan(blocks), np.inf, blocks), axis=1)
    highest = starts + np.argmax(np.where(np.isnan(blocks), -np.inf, blocks), axis=1)
    return np.unique(np.concatenate((lowest, highest)))
