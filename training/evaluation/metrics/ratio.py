"""Ratios that may be undefined."""

from __future__ import annotations

__all__ = ["f1", "ratio"]


def ratio(part: float, whole: float) -> float | None:
    """Ratio of two counts; None if ``whole`` is 0."""
    return part / whole if whole else None


def f1(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean of precision and recall; 0 if nothing was flagged, None if there was nothing to find.

    Examples
    --------
    >>> f1(0.5, 1.0), f1(None, 0.0), f1(0.0, None)
    (0.6666666666666666, 0.0, None)
    """
    if recall is None:
        return None
    if precision is None or precision + recall == 0.0:
        return 0.0
    return 2.0 * precision * recall / (precision + recall)
