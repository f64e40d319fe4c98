"""Rounding of recurrent weights to int8 such that rounding errors cancel on typical states of the network.

The rounding error of a weight is compensated by the weights that are still unrounded, as far as their inputs are
correlated (optimal brain quantisation in the order of GPTQ, Frantar et al. 2023, arXiv:2210.17323). The states of an
LSTM are strongly correlated, so this removes most of the error without a cost in size or time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.core.arrays import Float32Array, Float64Array

__all__ = ["settle"]

_LEVELS = 127  # largest int8 weight
_DAMPING = 0.01  # share of the mean square of the inputs added to the diagonal for inversion, as in GPTQ


def settle(weights: Float32Array, inputs: Float32Array, gates: int = 4) -> Float32Array:
    """Round the weights of each gate to the int8 grid that the converter will choose.

    Parameters
    ----------
    weights
        float32[n_inputs, gates * units], recurrent kernel in the order of Keras.
    inputs
        float32[n, n_inputs], typical states that the kernel is multiplied with.
    gates
        Number of blocks of columns that the converter quantises separately, with the largest weight as 127.

    Returns
    -------
    float32[n_inputs, gates * units]; in each block, integer multiples of the largest weight over 127.
    """
    exact = inputs.astype(np.float64)
    covariance = exact.T @ exact / len(exact)
    covariance += max(_DAMPING * float(np.mean(np.diag(covariance))), 1e-12) * np.eye(len(covariance))
    blocks = np.split(weights.astype(np.float64), gates, axis=1)
    return np.concatenate([_settle_block(block, covariance) for block in blocks], axis=1).astype(np.float32)


def _settle_block(block: Float64Array, covariance: Float64Array) -> Float64Array:
    largest = np.unravel_index(int(np.argmax(np.abs(block))), block.shape)
    step = float(np.abs(block[largest])) / _LEVELS
    if step == 0.0:
        return np.zeros_like(block)
    # The input of the largest weight comes first and stays exact, which fixes the grid; then by decreasing variance.
    order = np.argsort(-np.diag(covariance), kind="stable")
    order = np.concatenate(([largest[0]], order[order != largest[0]]))
    left = block[order].copy()
    inverse = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
    rounded = np.empty_like(left)
    for k in range(len(order)):
        rounded[k] = np.clip(np.round(left[k] / step), -_LEVELS, _LEVELS) * step
        error = (left[k] - rounded[k]) / inverse[k, k]
        left[k:] -= inverse[k, k:, None] * error
    settled: Float64Array = np.empty_like(rounded)
    settled[order] = rounded
    return settled
