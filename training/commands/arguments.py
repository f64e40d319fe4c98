"""What commands take from the command line, checked as it is read."""

from __future__ import annotations

import argparse
import math

__all__ = ["comma_separated", "natural", "positive", "share"]


def natural(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more: {text}")
    return number


def positive(text: str) -> float:
    """Read a number above 0."""
    number = float(text)
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0: {text}")
    return number


def share(text: str) -> float:
    """Read a share, 0 to below 1."""
    number = float(text)
    if not 0.0 <= number < 1.0:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1: {text}")
    return number


def comma_separated(text: str) -> tuple[str, ...]:
    """Read names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
