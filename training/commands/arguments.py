"""What commands take from the command line, checked as it is read."""

from __future__ import annotations

import argparse

__all__ = ["natural"]


def natural(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more: {text}")
    return number
