"""Combination of the verdicts of several detectors by voting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.core.arrays import BoolArray, Float64Array

__all__ = ["RULES", "combine"]

#: Number of detectors that must agree, out of n, by rule.
RULES: dict[str, Callable[[int], int]] = {"any": lambda _: 1, "all": lambda n: n, "majority": lambda n: n // 2 + 1}


def combine(rule: str, scores: Sequence[Float64Array], flags: Sequence[BoolArray]) -> tuple[Float64Array, BoolArray]:
    """Combine detectors whose scores share one scale.

    If m detectors must agree, the score is the m-th largest score: it exceeds a threshold if m scores do.

    Parameters
    ----------
    rule
        One of `RULES`.
    scores, flags
        float64[rows] and bool[rows] of each detector.

    Returns
    -------
    Combined score, float64[rows], and flags, bool[rows].

    Examples
    --------
    >>> score, flags = combine("all", [np.array([0.9]), np.array([0.2])], [np.array([True]), np.array([False])])
    >>> score.tolist(), flags.tolist()
    ([0.2], [False])
    """
    needed = RULES[rule](len(scores))
    score: Float64Array = np.sort(np.stack(scores), axis=0)[-needed]
    agreed: BoolArray = np.stack(flags).sum(axis=0) >= needed
    return score, agreed
