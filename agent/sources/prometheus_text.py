"""Parser of Prometheus' text format: samples and their labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


__all__ = ["labels_of", "sample_lines"]

# A line of the text format: name, labels, value, and a time stamp, which is ignored.
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(\{.*\})?\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')


def sample_lines(page: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Yield the samples of a metrics page as name, labels and value; other lines are skipped.

    Examples
    --------
    >>> list(sample_lines('up{job="a"} 1 1700000000'))
    [('up', {'job': 'a'}, 1.0)]
    """
    for line in page.splitlines():
        match = _SAMPLE.fullmatch(line.strip())
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        yield match[1], labels_of(match[2] or ""), value


def labels_of(text: str) -> Mapping[str, str]:
    """Parse labels in braces, as in a metrics page or a query.

    Examples
    --------
    >>> labels_of('{code="500",path="/"}')
    {'code': '500', 'path': '/'}
    """
    labels, position = {}, 1
    # One label at a time up to the first mismatch: linear in the length of the text.
    while match := _LABEL.match(text, position):
        labels[match[1]] = _unescaped(match[2])
        position = match.end()
    return labels


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text) if "\\" in text else text
