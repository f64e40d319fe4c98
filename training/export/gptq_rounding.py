"""Rounds recurrent weights to int8 so that their errors cancel on what the network sees, and not each to the nearest.

A rounding error in one weight is made good by those of the same row that are still to be rounded, as far as their
inputs go together (optimal brain quantisation, in the order of GPTQ: Frantar et al. 2023). The states of an LSTM go
together closely, so this removes most of the error, at no cost in size or time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array, Float64Array

__all__ = ["settle"]

_LEVELS = 127
_DAMPING = 0.01  # of the mean square of an input, so that inputs that never vary can be inverted


def settle(weights: Float32Array, inputs: Float32Array, gates: int = 4) -> Float32Array:
    """Bring the weights of each gate onto the grid that the converter will find for it.

    Parameters
    ----------
    weights
        float32[n_inputs, gates * units], a recurrent kernel in Keras' order.
    inputs
        float32[n, n_inputs], states that it is multiplied with.
    gates
        Blocks of columns, each of which the converter quantises by itself, with its largest weight as 127.

    Returns
    -------
    float32[n_inputs, gates * units], whole multiples of each block's largest weight over 127.
    """
    exact = inputs.astype(np.float64)
    together = exact.T @ exact / len(exact)
    together += max(_DAMPING * float(np.mean(np.diag(together))), 1e-12) * np.eye(len(together))
    blocks = np.split(weights.astype(np.float64), gates, axis=1)
    return np.concatenate([_settle_block(block, together) for block in blocks], axis=1).astype(np.float32)


def _settle_block(block: Float64Array, together: Float64Array) -> Float64Array:
    largest = np.unravel_index(int(np.argmax(np.abs(block))), block.shape)
    step = float(np.abs(block[largest])) / _LEVELS
    if step == 0.0:
        return np.zeros_like(block)
    # The input of the largest weight first, which so stays what it is and keeps the grid; then by what moves most.
    order = np.argsort(-np.diag(together), kind="stable")
    order = np.concatenate(([largest[0]], order[order != largest[0]]))
    left = block[order].copy()
    inverse = np.linalg.cholesky(np.linalg.inv(together[np.ix_(order, order)])).T
    rounded = np.empty_like(left)
    for k in range(len(order)):
        rounded[k] = np.clip(np.round(left[k] / step), -_LEVELS, _LEVELS) * step
        error = (left[k] - rounded[k]) / inverse[k, k]
        left[k:] -= inverse[k, k:, None] * error
    settled: Float64Array = np.empty_like(rounded)
    settled[order] = rounded
    return settled
