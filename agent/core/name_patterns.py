"""Glob patterns of channel names: ``*``, ``?`` and ``[…]``, as in a shell."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


__all__ = ["glob"]


def glob(patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile glob patterns (``*``, ``?``, ``[…]``) into one expression that matches a name if any pattern does.

    Examples
    --------
    >>> bool(glob(["disk.*", "load"]).match("disk.read")), bool(glob(["disk.*"]).match("load"))
    (True, False)
    """
    return re.compile("|".join(map(_expression, patterns)))


def _expression(pattern: str) -> str:
    expression = fnmatch.translate(pattern)
    try:
        re.compile(expression)
    except re.error:  # a set such as [z-a], before Python 3.10.5
        return "(?!)"
    return expression
