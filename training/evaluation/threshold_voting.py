"""Several detectors' verdicts made one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.core.arrays import BoolArray, Float64Array

__all__ = ["RULES", "combine"]

#: How many of n detectors have to agree.
RULES: dict[str, Callable[[int], int]] = {"any": lambda _: 1, "all": lambda n: n, "majority": lambda n: n // 2 + 1}


def combine(rule: str, scores: Sequence[Float64Array], flags: Sequence[BoolArray]) -> tuple[Float64Array, BoolArray]:
    """Combine detectors whose scores share one scale.

    Where m of them have to agree, the score is the m-th largest of theirs: it passes a threshold when m of them do.

    Parameters
    ----------
    rule
        One of `RULES`.
    scores, flags
        float64[rows] and bool[rows] of each detector.

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
