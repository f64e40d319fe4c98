"""Formats numbers for people, in alerts and in the terminal."""

from __future__ import annotations

import math

__all__ = ["plain", "quantity", "range_text"]

_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: float | None, unit: str = "") -> str:
    """Format a value to three significant digits with unit and decimal prefix; None, NaN and infinity as a dash.

    Examples
    --------
    >>> quantity(97.53, "%"), quantity(12_345_678.0, "B/s"), quantity(0.0), quantity(float("nan"), "ms")
    ('97.5 %', '12.3 MB/s', '0', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    factor, prefix = next(((f, p) for f, p in _STEPS if abs(value) >= 10 * f), (1.0, ""))
    number = value / factor
    digits = 0 if abs(number) >= 99.95 else 1 if abs(number) >= 9.95 else 2
    text = f"{number:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    text = "0" if text == "-0" else text
    return f"{text} {prefix}{unit}" if unit else f"{text}{prefix}"


def range_text(lower: float | None, upper: float | None, unit: str = "") -> str:
    """Format a range with its unit; ``nothing yet`` if a bound is None, NaN or infinite.

    Examples
    --------
    >>> range_text(2.0, 14.0, "%"), range_text(None, None)
    ('2 – 14 %', 'nothing yet')
    """
    if lower is None or upper is None or not (math.isfinite(lower) and math.isfinite(upper)):
        return "nothing yet"
    low, high = quantity(lower, unit), quantity(upper, unit)
    low_number, _, low_unit = low.partition(" ")
    return f"{low_number} – {high}" if high.endswith(f" {low_unit}") or not low_unit else f"{low} – {high}"


def plain(text: str, most: int = 500) -> str:
    r"""Make text from outside safe to print: replace unprintable characters and cut it to ``most`` characters.

    Examples
    --------
    >>> plain("disk.read\n\x1b[2J")
    'disk.read··[2J'
    """
    return "".join(character if character.isprintable() else "·" for character in text[:most])
