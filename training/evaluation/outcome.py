"""Outcome of the agent's step for every row of a recording."""

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
        The recording.
    first
        First row that is measured; the rows before it are for learning.
    score
        float64[rows], 0 to 1, alert score: the maximum over channels.
    state_score
        float64[rows], 0 to 1, state score of the node.
    flagged
        bool[rows], whether any channel is anomalous.
    bounds
        float32[3, rows, n_channels]: expectation, lower and upper end of the normal range, in the channels' units.
    channel_score
        float32[rows, n_channels], 0 to 1.
    errors
        float32[2, rows, n_channels]: errors of forecast (signed) and reconstruction (≥ 0) on the channel scales; NaN
        where undefined. A reconstruction error stands in the row in which it is computed.
    """

    recording: Recording
    first: int
    score: Float64Array
    state_score: Float64Array
    flagged: BoolArray
    bounds: Float32Array
    channel_score: Float32Array
    errors: Float32Array
