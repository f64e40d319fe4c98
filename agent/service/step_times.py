"""Quantiles of the latest steps' durations."""

from __future__ import annotations

import numpy as np

__all__ = ["StepTimes"]

# Steps in the quantiles; chosen by hand: about nine minutes at an interval of 1 s.
_KEPT = 512


class StepTimes:
    """The durations of the latest 512 steps.

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
        #: Steps so far.
        self.count = 0

    def add(self, seconds: float) -> None:
        """Add the duration of one step."""
        self._seconds[self.count % _KEPT] = seconds
        self.count += 1

    def quantiles_ms(self) -> tuple[float, float]:
        """Median and 99th percentile in milliseconds, 0 before the first step."""
        if not self.count:
            return 0.0, 0.0
        median, high = np.percentile(self._seconds[: min(self.count, _KEPT)], (50.0, 99.0)) * 1e3
        return round(float(median), 4), round(float(high), 4)
