"""What the agent's step said of every row of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.arrays import BoolArray, Float32Array, Float64Array
    from training.data.recording import Recording

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """Scores and verdicts, row by row.

    Parameters
    ----------
    recording
        What was judged.
    first
        The first row that counts; what lies before was there to learn from.
    score
        float64[rows], 0..1, of the alert head: the largest over channels.
    state_score
        float64[rows], 0..1, of the node as a whole.
    flagged
        bool[rows], whether any channel was anomalous.
    bounds
        float32[3, rows, n_channels]: expectation, lower and upper end of the normal range, in the channels' units.
    channel_score
        float32[rows, n_channels], 0..1.
    errors
        float32[2, rows, n_channels]: of forecast (signed) and reconstruction (≥ 0), on the channels' scales; NaN where
        there is none. A reconstruction error stands at the row at which it was worked out.
    """

    recording: Recording
    first: int
    score: Float64Array
    state_score: Float64Array
    flagged: BoolArray
    bounds: Float32Array
    channel_score: Float32Array
    errors: Float32Array
