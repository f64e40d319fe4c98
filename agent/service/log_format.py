"""Log lines as ``key=value`` or JSON, one event a line, without control characters, and limited in rate."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

from agent.core.text import plain
from agent.core.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JsonLines", "KeyValues", "RateLimit", "configure"]

# Lines of one kind that pass at once, and seconds until one more passes; chosen by hand: a broker that refuses a
# connection every second causes one line a minute.
_BURST = 10
_REFILL_S = 60.0
# Kinds of lines whose rate is remembered; chosen by hand, it bounds memory.
_MOST_KINDS = 1000
# Characters of a message; chosen by hand.
_MOST_LENGTH = 4000


def configure(level: int, *, as_json: bool = False) -> None:
    """Log to the standard error stream from now on.

    Parameters
    ----------
    level
        Lowest level that is logged.
    as_json
        Write `JsonLines` instead of `KeyValues`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else KeyValues())
    handler.addFilter(RateLimit())
    logging.basicConfig(level=level, handlers=[handler])


class RateLimit(logging.Filter):
    """Passes ten lines of a kind, then one a minute, with the number of omitted lines in ``left_out``.

    Lines are of one kind if the same statement logs the same text before formatting.

    Parameters
    ----------
    now_s
        Returns monotonic time in seconds.

    Examples
    --------
    >>> limit = RateLimit(now_s=lambda: 0.0)
    >>> record = logging.LogRecord("agent", logging.WARNING, "x.py", 1, "refused", None, None)
    >>> [limit.filter(record) for _ in range(12)].count(True)
    10
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        # By kind: its bucket, and the lines omitted since the last that passed. Least recently logged kinds come first.
        self._kinds: dict[tuple[str, int, str], tuple[TokenBucket, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        kind = (record.pathname, record.lineno, str(record.msg)[:_MOST_LENGTH])
        # Removed and inserted again, to move it to the end.
        bucket, missing = self._kinds.pop(kind, (TokenBucket(_BURST, _REFILL_S), 0))
        passes = bucket.take(self._now_s())
        self._kinds[kind] = (bucket, 0 if passes else missing + 1)
        if len(self._kinds) > _MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]
        if passes and missing:
            record.left_out = missing
        return passes


class KeyValues(logging.Formatter):
    """``time=… level=… from=… message="…"``, with ``left_out=`` and ``trace=`` if they apply."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(self, record).items())


class JsonLines(logging.Formatter):
    """The fields of `KeyValues` as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return json.dumps(_fields(self, record))


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, str | int]:
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    fields: dict[str, str | int] = {
        "time": f"{when}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "from": record.name.removeprefix("agent."),
        "message": record.getMessage()[:_MOST_LENGTH],
    }
    left_out = getattr(record, "left_out", 0)
    if left_out:
        fields["left_out"] = left_out
    if record.exc_info:
        fields["trace"] = formatter.formatException(record.exc_info)
    return fields


def _quoted(value: str | int) -> str:
    text = str(value)
    if text.isprintable() and text and not set(text) & set(" \"'=\\"):
        return text
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(character, escaped)
    return f'"{plain(text, 2 * _MOST_LENGTH)}"'
