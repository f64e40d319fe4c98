"""A token bucket: so many events at once, and one more each time a token has been refilled."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """Limits how often something may happen.

    Parameters
    ----------
    capacity
        Events that may happen at once; the bucket is full in the beginning.
    refill_s
        Seconds until one more may happen.

    Examples
    --------
    >>> bucket = TokenBucket(capacity=2, refill_s=60.0)
    >>> [bucket.take(now_s) for now_s in (0.0, 1.0, 2.0, 61.0)]
    [True, True, False, True]
    """

    __slots__ = ("_at_s", "_capacity", "_refill_s", "_tokens")

    def __init__(self, capacity: int, refill_s: float) -> None:
        self._capacity = float(capacity)
        self._refill_s = refill_s
        self._tokens = self._capacity
        self._at_s = 0.0

    def take(self, now_s: float) -> bool:
        """Whether one more event may happen now.

        Parameters
        ----------
        now_s
            Seconds of a clock that never goes back.
        """
        refilled = max(0.0, now_s - self._at_s) / self._refill_s
        self._tokens = min(self._tokens + refilled, self._capacity)
        self._at_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
