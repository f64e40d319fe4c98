"""Noise processes, the building blocks of simulated series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.core.arrays import Float64Array

__all__ = ["autoregressive", "decaying", "log_uniform", "smooth", "white"]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform: every order of magnitude is equally likely."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def white(rng: np.random.Generator, length: int) -> Float64Array:
    """Independent noise of unit order, float64[length]: normal, Laplace or Student's t with 3 degrees of freedom."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.normal(size=length)
    if kind == 1:
        return rng.laplace(scale=0.7, size=length)
    return rng.standard_t(3.0, size=length) * 0.6


def autoregressive(rng: np.random.Generator, length: int) -> Float64Array:
    """Stationary autoregressive noise of order 1 or 2 with unit deviation, float64[length].

    The filter works in the frequency domain: the response of a pair of poles ``r exp(±iθ)`` has a closed form, and the
    series needs no settling time.
    """
    radius = 1.0 - log_uniform(rng, 0.005, 1.0)
    angle = 0.0 if rng.random() < 0.6 else rng.uniform(0.0, np.pi)
    return _unit(_filtered(white(rng, 2 * length), radius, angle)[:length])


def smooth(rng: np.random.Generator, length: int, scale: float) -> Float64Array:
    """Draw from a Gaussian process with a squared-exponential kernel, unit deviation, float64[length].

    Parameters
    ----------
    scale
        Correlation length in rows.
    """
    frequency = np.fft.rfftfreq(2 * length)
    spectrum = np.fft.rfft(rng.normal(size=2 * length)) * np.exp(-((np.pi * frequency * scale) ** 2))
    return _unit(np.fft.irfft(spectrum, 2 * length)[:length])


def decaying(impulses: Float64Array, memory: float) -> Float64Array:
    """Convolve impulses with an exponential decay of ``memory`` rows, float64[length].

    The convolution is circular: the decay at the end continues at the start.
    """
    return _filtered(impulses, float(np.exp(-1.0 / memory)), None)


def _filtered(values: Float64Array, radius: float, angle: float | None) -> Float64Array:
    """Filter circularly by one real pole (no angle, or angle 0) or by a pair of complex ones."""
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(values.size))
    if not angle:
        response = 1.0 / (1.0 - radius * delay)
    else:
        response = 1.0 / (1.0 - 2.0 * radius * np.cos(angle) * delay + (radius * delay) ** 2)
    return np.fft.irfft(np.fft.rfft(values) * response, values.size)


def _unit(values: Float64Array) -> Float64Array:
    centred: Float64Array = values - values.mean()
    return centred / max(float(centred.std()), 1e-12)
