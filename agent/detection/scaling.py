"""Scales of channels (linear or logarithmic), and compression of normalised values for the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
    from agent.core.channel import Channel


__all__ = ["ABSURD", "SQUASH_LIMIT", "Scale", "between", "compress", "expand", "squash", "unsquash"]

#: Readings beyond this are invalid; smaller ones overflow nowhere in float64.
ABSURD = 1e30
#: Clipping of `squash`: asinh of about 81,000 spreads. The universal networks were trained with it.
SQUASH_LIMIT = 12.0
# `compress` is linear up to this, and is clipped at 16, about 3,000 spreads. Fitted networks are trained with both.
_LINEAR_TO = 8.0
_COMPRESSED_LIMIT = 16.0


class Scale:
    """The scale on which each channel is scored: linear, or logarithmic for rates and latencies.

    Parameters
    ----------
    channels
        In the order of the frames' values.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        n = len(channels)
        self._log = np.zeros(n, bool)
        self._reference = np.ones(n)
        #: float64[n_channels], smallest effect worth an alert, on the channels' scales.
        self.effect: Float64Array = np.zeros(n)
        self.replace(np.arange(n), channels)

    def replace(self, indices: IntArray, channels: Sequence[Channel]) -> None:
        """Assign these indices, int64[m], to other channels."""
        reference = np.array([c.log_reference for c in channels], np.float64)
        log = reference > 0
        effect = np.array([c.effect for c in channels], np.float64)
        self._log[indices] = log
        self._reference[indices] = np.where(log, reference, 1.0)
        self.effect[indices] = np.where(log, np.log(np.maximum(effect, 1.0)), np.maximum(effect, 0.0))
        self._any_log = bool(self._log.any())

    def apply(self, values: Float32Array) -> tuple[Float64Array, BoolArray]:
        """Convert readings to the channels' scales.

        Parameters
        ----------
        values
            float32[n_channels], NaN where missing.

        Returns
        -------
        scaled
            float64[n_channels]; 0 where not valid.
        valid
            bool[n_channels], False where missing, infinite or beyond 1e30.
        """
        scaled: Float64Array = values.astype(np.float64)
        valid: BoolArray = np.abs(scaled) < ABSURD
        if np.count_nonzero(valid) < valid.size:
            scaled[~valid] = 0.0
        if self._any_log:
            np.log1p(np.maximum(scaled, 0.0) / self._reference, out=scaled, where=self._log)
        return scaled, valid

    def invert(self, scaled: Float64Array) -> Float64Array:
        """Convert from the channels' scales to their units; float64[..., n_channels]."""
        if not self._any_log:
            return scaled
        return np.where(self._log, np.expm1(between(scaled, 0.0, 80.0)) * self._reference, scaled)


def squash(normalised: Float64Array) -> Float64Array:
    """Compress normalised values monotonically: asinh, clipped to ±12."""
    return between(np.arcsinh(normalised), -SQUASH_LIMIT, SQUASH_LIMIT)


def unsquash(squashed: Float64Array | Float32Array) -> Float64Array:
    """Invert `squash`."""
    wide: Float64Array = np.sinh(between(squashed, -SQUASH_LIMIT, SQUASH_LIMIT))
    return wide


def compress(scaled: Float64Array) -> Float64Array:
    """Compress normalised values for fitted networks: linear up to 8 spreads, logarithmic beyond, clipped to ±16.

    Usual values keep their shape, and a wild reading stays within a few units.

    Examples
    --------
    >>> compress(np.array([-3.0, 8.0, 108.0])).round(2).tolist()
    [-3.0, 8.0, 12.62]
    """
    beyond = np.abs(scaled) - _LINEAR_TO
    outside = np.copysign(_LINEAR_TO + np.log1p(np.maximum(beyond, 0.0)), scaled)
    return between(np.where(beyond > 0.0, outside, scaled), -_COMPRESSED_LIMIT, _COMPRESSED_LIMIT)


def expand(compressed: Float64Array | Float32Array) -> Float64Array:
    """Invert `compress`."""
    within = between(compressed, -_COMPRESSED_LIMIT, _COMPRESSED_LIMIT)
    beyond = np.abs(within) - _LINEAR_TO
    outside = np.copysign(_LINEAR_TO + np.expm1(np.maximum(beyond, 0.0)), within)
    expanded: Float64Array = np.where(beyond > 0.0, outside, within)
    return expanded


def between(values: Float64Array | Float32Array, low: float | Float64Array, high: float | Float64Array) -> Float64Array:
    """Clip values; for few numbers faster than np.clip."""
    clipped: Float64Array = np.maximum(np.minimum(values, high), low)
    return clipped
