"""Families of normal behaviour: each draws one series like those of a sensor, a service or a host.

Every process takes a random generator and a span and returns float64[span.length] in an arbitrary unit. The families
cover different kinds of normal behaviour for the networks to learn. All their parameters are chosen by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from training.synthetic.noise import autoregressive, decaying, log_uniform, smooth, white

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.arrays import Float64Array

    Process: TypeAlias = Callable[[np.random.Generator, "Span"], Float64Array]

__all__ = ["PROCESSES", "Span"]

_TABLE = 256  # points of a seasonal shape
_DAILY = 0.75  # share of cyclic series whose period is a day or a week; the others have arbitrary periods
_DAYS = 0.85  # share of those whose period is a day
_WEEKS = 0.4  # share of cyclic series in which the seven cycles of a week differ


class Span(NamedTuple):
    """Length of a series.

    Parameters
    ----------
    length
        Rows.
    day
        Rows per day, a period that the agent knows from the sampling interval.
    """

    length: int
    day: float


def _harmonics(rng: np.random.Generator) -> Float64Array:
    """One cycle as a few random harmonics, float64[_TABLE]."""
    phase = np.arange(_TABLE) / _TABLE
    orders = np.arange(1, rng.integers(2, 9))
    amplitude = rng.normal(size=orders.size) / orders ** rng.uniform(0.3, 1.5)
    shift = rng.random(orders.size)
    return np.asarray(amplitude @ np.sin(2 * np.pi * (orders[:, None] * phase + shift[:, None])))


def _plateaus(rng: np.random.Generator) -> Float64Array:
    """One cycle as hours of activity with softer or harder edges."""
    phase = np.arange(_TABLE) / _TABLE
    cycle = np.zeros(_TABLE)
    for _ in range(rng.integers(1, 4)):
        start, duration, edge = rng.random(), rng.uniform(0.03, 0.5), log_uniform(rng, 0.003, 0.1)
        distance = np.abs((phase - start + 0.5) % 1.0 - 0.5)
        cycle += rng.uniform(0.3, 1.0) / (1.0 + np.exp(np.clip((distance - duration / 2) / edge, -50, 50)))
    return cycle


def _beats(rng: np.random.Generator) -> Float64Array:
    """One cycle as sharp pulses of either sign, as of a heart or a machine."""
    phase = np.arange(_TABLE) / _TABLE
    cycle = np.zeros(_TABLE)
    for _ in range(rng.integers(1, 5)):
        distance = (phase - rng.random() + 0.5) % 1.0 - 0.5
        cycle += rng.normal() * np.exp(-0.5 * (distance / log_uniform(rng, 0.01, 0.08)) ** 2)
    return cycle


def _ramps(rng: np.random.Generator) -> Float64Array:
    """One cycle as straight lines between a few points: saw teeth, squares, thermostats."""
    knots = np.sort(rng.random(rng.integers(2, 6)))
    return np.asarray(np.interp(np.arange(_TABLE) / _TABLE, knots, rng.normal(size=knots.size), period=1.0))


_SHAPES = (_harmonics, _harmonics, _plateaus, _beats, _ramps)


def _cycles(rng: np.random.Generator, span: Span, *, wander: float) -> Float64Array:
    """Repeat a random shape of unit deviation; in some series, the amplitude differs by day of the week.

    Parameters
    ----------
    wander
        Relative variation of the period; 0 keeps it exact. Daily and weekly cycles are always exact.
    """
    length = span.length
    table = _SHAPES[rng.integers(len(_SHAPES))](rng)
    table = (table - table.mean()) / max(float(table.std()), 1e-12)
    if rng.random() < _DAILY:
        period = span.day * (1.0 if rng.random() < _DAYS else 7.0)
        wander = 0.0
    else:
        period = log_uniform(rng, 4.0, 0.7 * length)
        if wander == 0.0 and rng.random() < 0.5:
            period = float(np.round(period))
    pace = np.exp(wander * smooth(rng, length, 2.0 * period)) / period
    cycle = np.cumsum(pace) + 7.0 * rng.random()
    series: Float64Array = np.interp(cycle % 1.0, np.arange(_TABLE) / _TABLE, table, period=1.0)
    if rng.random() < _WEEKS:
        weekdays = np.where(np.arange(7) < rng.integers(4, 7), 1.0, rng.uniform(0.1, 0.9))
        low = float(table.min())
        series = low + (series - low) * weekdays[np.floor(cycle).astype(np.int64) % 7]
    return series


def _seasonal(rng: np.random.Generator, span: Span) -> Float64Array:
    length = span.length
    wander = 0.0 if rng.random() < 0.6 else log_uniform(rng, 0.01, 0.2)
    series = _cycles(rng, span, wander=wander)
    if rng.random() < 0.3:
        series += rng.uniform(0.2, 1.0) * _cycles(rng, span, wander=0.0)
    noise = log_uniform(rng, 0.003, 1.0) * (white(rng, length) if rng.random() < 0.5 else autoregressive(rng, length))
    if rng.random() < 0.3:  # traffic: noise grows with the level
        return np.exp(np.clip(rng.uniform(0.3, 1.2) * (series + noise), -8.0, 8.0))
    return series + noise


def _autoregressive(rng: np.random.Generator, span: Span) -> Float64Array:
    series = autoregressive(rng, span.length)
    return np.exp(rng.uniform(0.2, 1.0) * series) if rng.random() < 0.25 else series


def _random_walk(rng: np.random.Generator, span: Span) -> Float64Array:
    length = span.length
    steps = white(rng, length)
    if rng.random() < 0.3:  # pauses between steps
        steps *= rng.random(length) < rng.uniform(0.02, 0.5)
    drift = rng.normal(scale=0.1) if rng.random() < 0.4 else 0.0
    noise = log_uniform(rng, 0.01, 3.0) * white(rng, length) if rng.random() < 0.4 else 0.0
    return np.asarray(np.cumsum(steps + drift) + noise)


def _counts(rng: np.random.Generator, span: Span) -> Float64Array:
    """Poisson counts, or negative binomial counts as a gamma-Poisson mixture."""
    modulation = _cycles(rng, span, wander=0.0) if rng.random() < 0.6 else autoregressive(rng, span.length)
    rate = log_uniform(rng, 0.05, 300.0) * np.exp(np.clip(rng.uniform(0.0, 1.0) * modulation, -6.0, 6.0))
    if rng.random() < 0.5:
        shape = log_uniform(rng, 0.3, 20.0)
        rate = rate * rng.gamma(shape, 1.0 / shape, span.length)
    return rng.poisson(rate).astype(np.float64)


def _impulses(rng: np.random.Generator, length: int, gap: float) -> Float64Array:
    """Log-normal impulses, one per ``gap`` rows on average, and zeros between them."""
    return (rng.random(length) < 1.0 / gap) * rng.lognormal(0.0, rng.uniform(0.1, 1.2), length)


def _bursts(rng: np.random.Generator, span: Span) -> Float64Array:
    impulses = _impulses(rng, span.length, log_uniform(rng, 5.0, 300.0))
    bursts = decaying(impulses, log_uniform(rng, 0.3, 40.0))
    return bursts * log_uniform(rng, 1.0, 30.0) + autoregressive(rng, span.length) * log_uniform(rng, 0.01, 1.0)


def _jobs(rng: np.random.Generator, span: Span) -> Float64Array:
    """Scheduled jobs: periodic runs of nearly equal height and duration; some are skipped."""
    length = span.length
    series = log_uniform(rng, 0.01, 0.5) * autoregressive(rng, length)
    for _ in range(rng.integers(1, 3)):
        period = log_uniform(rng, 8.0, 0.4 * length)
        height, duration, lateness = rng.uniform(1.0, 10.0), rng.uniform(0.02, 0.4) * period, rng.uniform(0.0, 0.05)
        start = rng.random() * period
        while start < length:
            first = max(0, int(start + rng.normal() * lateness * period))
            last = first + max(1, int(duration * rng.uniform(0.8, 1.2)))
            if rng.random() < 0.97:
                series[first:last] += height * rng.uniform(0.9, 1.1)
            start += period
    return series


def _regimes(rng: np.random.Generator, span: Span) -> Float64Array:
    """A few levels with their own noise; each lasts for a random time."""
    n_levels = int(rng.integers(2, 5))
    levels = rng.normal(scale=rng.uniform(1.0, 6.0), size=n_levels)
    noises = np.exp(rng.normal(scale=0.8, size=n_levels)) * log_uniform(rng, 0.02, 1.0)
    stay = log_uniform(rng, 8.0, 400.0)
    switches = np.cumsum(rng.random(span.length) < 1.0 / stay)
    order = rng.integers(n_levels, size=int(switches[-1]) + 1)
    regime = order[switches]
    return np.asarray(levels[regime] + noises[regime] * autoregressive(rng, span.length))


def _capped(rng: np.random.Generator, span: Span) -> Float64Array:
    """At a ceiling most of the time, with dips, like link speed, charge of a battery or availability."""
    dips = decaying(_impulses(rng, span.length, log_uniform(rng, 10.0, 300.0)), log_uniform(rng, 0.5, 30.0))
    return np.minimum(0.0, rng.uniform(0.0, 1.0) * 0.2 * white(rng, span.length) - 3.0 * dips)


def _smooth(rng: np.random.Generator, span: Span) -> Float64Array:
    length = span.length
    series = smooth(rng, length, log_uniform(rng, 3.0, 0.3 * length))
    return series + log_uniform(rng, 0.001, 0.3) * white(rng, length)


def _flat(rng: np.random.Generator, span: Span) -> Float64Array:
    """Constant, or with a last digit that flips occasionally."""
    series = np.full(span.length, rng.normal())
    if rng.random() < 0.6:
        series += 0.01 * (rng.random(span.length) < log_uniform(rng, 0.005, 0.5))
    return series


def _cpu(rng: np.random.Generator, span: Span) -> Float64Array:
    """Processor load in per cent at 1 Hz: mostly low, with short bursts, clipped to 0 and 100."""
    idle = log_uniform(rng, 0.2, 20.0)
    shape = log_uniform(rng, 0.5, 30.0)
    series = rng.gamma(shape, idle / shape, span.length)
    arrivals = rng.random(span.length) < 1.0 / log_uniform(rng, 15.0, 400.0)
    for first in np.flatnonzero(arrivals):
        series[first : first + rng.geometric(1.0 / log_uniform(rng, 1.0, 30.0))] += rng.uniform(2.0, 110.0)
    if rng.random() < 0.3:
        series += np.maximum(0.0, 20.0 * _cycles(rng, span, wander=0.01))
    digits = int(rng.integers(0, 2))
    return np.asarray(np.round(np.clip(series, 0.0, 100.0), digits))


def _memory(rng: np.random.Generator, span: Span) -> Float64Array:
    """Memory use in per cent: slow drift, steps of processes that start or end, leaks with garbage collection."""
    length = span.length
    series = rng.uniform(10.0, 80.0) + np.cumsum(rng.normal(scale=log_uniform(rng, 0.001, 0.1), size=length))
    steps = (rng.random(length) < 1.0 / log_uniform(rng, 50.0, 1000.0)) * rng.normal(scale=2.0, size=length)
    series = series + np.cumsum(steps)
    if rng.random() < 0.4:
        period = log_uniform(rng, 20.0, length)
        series += rng.uniform(0.5, 15.0) * ((np.arange(length) / period + rng.random()) % 1.0)
    return np.asarray(np.round(np.clip(series, 0.0, 100.0), int(rng.integers(1, 3))))


def _rate(rng: np.random.Generator, span: Span) -> Float64Array:
    """Disk or network throughput on the agent's logarithmic scale: zeros, a background rate, flushes and bursts."""
    length = span.length
    hum = log_uniform(rng, 1e-3, 3.0) * rng.lognormal(0.0, rng.uniform(0.1, 1.2), length)
    rate = hum * (rng.random(length) < rng.uniform(0.05, 1.5))
    arrivals = rng.random(length) < 1.0 / log_uniform(rng, 5.0, 300.0)
    if rng.random() < 0.5:  # a regular flush
        arrivals |= np.arange(length) % rng.integers(5, 60) == 0
    for first in np.flatnonzero(arrivals):
        last = first + rng.geometric(1.0 / log_uniform(rng, 1.0, 20.0))
        rate[first:last] += rng.lognormal(1.0, 1.0) * hum.mean() * 10.0
    return np.log1p(rate)


def _latency(rng: np.random.Generator, span: Span) -> Float64Array:
    """Round-trip or service times on the agent's logarithmic scale: a skewed distribution with a long tail."""
    length = span.length
    body = rng.lognormal(0.0, log_uniform(rng, 0.02, 0.6), length)
    tail = (rng.random(length) < log_uniform(rng, 0.001, 0.1)) * rng.pareto(1.5, length)
    wave = np.exp(rng.uniform(0.0, 0.6) * autoregressive(rng, length))
    return np.asarray(np.log1p(log_uniform(rng, 0.05, 200.0) * (body * wave + tail)))


def _switch(rng: np.random.Generator, span: Span) -> Float64Array:
    """On or off, for random or regular durations."""
    length = span.length
    stay = log_uniform(rng, 3.0, 200.0)
    if rng.random() < 0.4:
        on = np.arange(length) % max(2, int(2 * stay)) < stay
    else:
        on = np.cumsum(rng.random(length) < 1.0 / stay) % 2 == 1
    return np.asarray(on + rng.choice([0.0, 0.02, 0.1]) * white(rng, length))


def _thermostat(rng: np.random.Generator, span: Span) -> Float64Array:
    """Controlled temperature: it decays towards one bound and is heated back to the other."""
    length = span.length
    heating, cooling = log_uniform(rng, 3.0, 150.0), log_uniform(rng, 3.0, 300.0)
    period = heating + cooling
    phase = (np.arange(length) + rng.random() * period) % period
    rising = phase < heating
    series: Float64Array = np.where(
        rising, 1.0 - np.exp(-3.0 * phase / heating), np.exp(-2.0 * (phase - heating) / cooling)
    )
    return series + 0.3 * rng.random() * smooth(rng, length, 100.0) + log_uniform(rng, 0.002, 0.1) * white(rng, length)


#: Families, drawn with equal probability; the most common kinds of real channels are repeated.
PROCESSES: tuple[Process, ...] = (
    _seasonal,
    _seasonal,
    _seasonal,
    _autoregressive,
    _random_walk,
    _counts,
    _counts,
    _bursts,
    _jobs,
    _regimes,
    _capped,
    _smooth,
    _flat,
    _cpu,
    _cpu,
    _memory,
    _rate,
    _rate,
    _latency,
    _switch,
    _thermostat,
)
