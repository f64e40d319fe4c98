"""Durations of the newest steps."""

from __future__ import annotations

import numpy as np

__all__ = ["StepTimes"]

_KEPT = 512


class StepTimes:
    """The durations of the newest steps.

    Examples
    --------
    >>> times = StepTimes()
    >>> for duration in (0.001, 0.002, 0.003):
    ...     times.add(duration)
    >>> times.quantiles_ms()
    (2.0, 2.98)
    """

    def __init__(self) -> None:
        self._seconds = np.zeros(_KEPT)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Remember one step."""
        self._seconds[self.count % _KEPT] = seconds
        self.count += 1

    def quantiles_ms(self) -> tuple[float, float]:
        """Median and 99th percentile in milliseconds, 0 before the first step."""
        if not self.count:
            return 0.0, 0.0
        median, high = np.percentile(self._seconds[: min(self.count, _KEPT)], (50.0, 99.0)) * 1e3
        return round(float(median), 4), round(float(high), 4)
