"""Types of command-line arguments; `argparse` reports their errors."""

from __future__ import annotations

import argparse
import math

__all__ = ["comma_separated", "natural", "positive", "share"]


def natural(text: str) -> int:
    """Parse an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more: {text}")
    return number


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    number = float(text)
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0: {text}")
    return number


def share(text: str) -> float:
    """Parse a number from 0 to below 1."""
    number = float(text)
    if not 0.0 <= number < 1.0:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1: {text}")
    return number


def comma_separated(text: str) -> tuple[str, ...]:
    """Parse comma-separated names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
