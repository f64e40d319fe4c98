"""Calibration of a fitted bundle: quantiles of its errors, and alerts on the test part, from the agent's own step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.alerting.incidents import Incidents
from agent.alerting.settings import AlertsConfig
from agent.core.errors import UserError
from agent.core.frame import Frame
from agent.detection.ensemble import Ensemble
from agent.detection.fitted_networks import MOST_MISSING, FittedNetworks
from agent.detection.settings import DetectionConfig
from agent.models.manifest import Start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
    from agent.models.bundle import Bundle
    from training.data.recording import Recording
    from training.networks.dataset import Part, Prepared

__all__ = ["Quiet", "errors_of", "frames", "quiet", "refuse_too_little", "start_of"]

# Settings that count all alerts, without the limit of the alert budget.
_UNBOUNDED = AlertsConfig(budget_per_day=1e9)
_MOST_ROWS = 30_000  # largest number of rows per part, to bound the time; chosen by hand
# Levels of the quantiles, dense at both ends, which determine the limits.
_TAIL = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
_LEVELS = np.unique(np.round(np.concatenate((_TAIL, np.linspace(0.05, 0.95, 19), 1.0 - np.array(_TAIL))), 6))
_FEWEST = 12  # smallest number of autoencoder windows for calibration; chosen by hand
_SETTLING_ROWS = 256  # smallest number of rows for the forecaster's state to settle; chosen by hand
_BUDGETS = (1, 3, 10)  # alerts per day for which the summary gives a strength


def frames(recording: Recording, rows: range) -> Iterator[Frame]:
    """Yield rows of a recording as frames of the sampler."""
    step_ns = round(recording.interval_s * 1e9)
    for row in rows:
        yield Frame(row, row * step_ns, float(recording.time[row]), recording.values[row])


def errors_of(bundle: Bundle, prepared: Prepared, *, learned: bool) -> Float32Array:
    """Errors of the networks on the calibration parts, or on the training data, from the agent's own step.

    Parameters
    ----------
    bundle
        Exported networks.
    prepared
        Scaled and split recordings.
    learned
        Whether to run the training and validation parts instead of the calibration parts.

    Returns
    -------
    float32[2, rows, n_channels]: errors of forecast and reconstruction, NaN where undefined. State is carried through
    all rows, as on the device. Errors at labelled rows and shortly after them are NaN.
    """
    found = []
    for part in prepared.parts:
        split = part.split
        rows = slice(split.train.start, split.validation.stop) if learned else split.calibration
        found.append(_errors(bundle, prepared, part, rows))
    return np.concatenate(found, axis=1)


def start_of(bundle: Bundle, prepared: Prepared, held_back: Float32Array, learned: Float32Array) -> Start:
    """Quantiles of the errors by channel, for the manifest.

    The quantiles come from the calibration data, because errors on training data are too small. Minimum and maximum
    come from all data, because rare normal patterns may occur only in the training data.

    Parameters
    ----------
    bundle, prepared
        As for `errors_of`.
    held_back, learned
        `errors_of` the calibration parts and of the training data.

    Raises
    ------
    UserError
        A channel has too few errors.
    """
    spec = bundle.manifest.autoencoder
    _refuse_few(np.isfinite(held_back[1]).sum(axis=0), prepared, spec.rows, spec.stride)
    rows = sum(int(part.present[: part.split.test.start].any(axis=1).sum()) for part in prepared.parts)
    everything = np.concatenate((held_back, learned), axis=1)
    return Start(
        rows=rows,
        levels=_LEVELS.tolist(),
        forecast_error=_quantiles(held_back[0], everything[0]),
        reconstruction_error=_quantiles(held_back[1], everything[1]),
    )


def refuse_too_little(prepared: Prepared, rows: int, stride: int) -> None:
    """Refuse data with too few windows for calibration, before training.

    Parameters
    ----------
    prepared
        Scaled and split recordings.
    rows, stride
        Rows per window of the autoencoder, and rows from one window to the next.

    Raises
    ------
    UserError
        A channel has fewer than 12 windows; the error names the channels unless it is all of them.
    """
    looks = np.zeros(len(prepared.channels), np.int64)
    for part in prepared.parts:
        ends = np.arange(part.split.calibration.start + stride - 1, part.split.calibration.stop, stride)
        ends = ends[~_touched(part, ends, _lead(rows))]
        begins = np.maximum(ends - rows, -1)
        for channel, present in enumerate(part.present.T):
            count = np.concatenate(([0], np.cumsum(present)))
            looks[channel] += np.count_nonzero(count[ends + 1] - count[begins + 1] >= (1.0 - MOST_MISSING) * rows)
    _refuse_few(looks, prepared, rows, stride)


class Quiet:
    """Result of the finished bundle on the test parts.

    Parameters
    ----------
    score
        float64[rows], largest error over its limit in each row.
    days
        Length of the test parts in days.
    incidents
        Number of opened incidents.
    strength
        Maximum of ``score`` in each run of rows above half of the limit, in decreasing order.
    """

    def __init__(self, score: Float64Array, days: float, incidents: int, strength: list[float]) -> None:
        self.rows = score.size
        self.score = score
        self.days = days
        self.incidents = incidents
        self.strength = strength

    def summary(self) -> dict[str, Any]:
        """Entry for the manifest: alerts per day, and the strength above which N alerts per day remain."""
        budgets = {}
        for budget in _BUDGETS:
            rank = math.floor(budget * self.days)
            budgets[str(budget)] = round(max(1.0, self.strength[rank] if rank < len(self.strength) else 1.0), 3)
        return {
            "rows": self.rows,
            "days": round(self.days, 3),
            "alerts": self.incidents,
            "alerts_a_day": round(self.incidents / self.days, 3) if self.days else None,
            "strength_for_alerts_a_day": budgets,
        }


def quiet(bundle: Bundle, prepared: Prepared) -> Quiet:
    """Run the agent with default settings over the test parts; the calibration parts first fill windows and state."""
    scores, peaks, opened, rows = [np.zeros(0)], [], 0, 0
    for part in prepared.parts:
        first, last = part.split.test.start, part.split.test.stop
        last = min(last, first + _MOST_ROWS)
        monitor = Ensemble(prepared.channels, bundle, DetectionConfig(), _UNBOUNDED, prepared.interval_s)
        ledger = Incidents(
            prepared.channels, _UNBOUNDED, prepared.interval_s, node="test", model=bundle.label, instance="fit"
        )
        strength = np.zeros(max(0, last - first))
        begin = max(part.split.calibration.start, first - _lead(bundle.manifest.autoencoder.rows))
        for frame in frames(part.recording, range(begin, last)):
            verdict = monitor.step(frame)
            alerts = ledger.step(frame, verdict)
            if frame.seq >= first:
                strength[frame.seq - first] = verdict.strength.max()
                opened += sum(alert.phase == "open" for alert in alerts)
        rows += strength.size
        scores.append(strength)
        peaks += _peaks(strength)
    days = rows * prepared.interval_s / 86400.0
    return Quiet(np.concatenate(scores), days, opened, sorted(peaks, reverse=True))


def _refuse_few(looks: IntArray, prepared: Prepared, rows: int, stride: int) -> None:
    """Raise `UserError` if a channel has too few windows, ``looks``; 16 % of a recording is for calibration."""
    few = [channel.name for channel, count in zip(prepared.channels, looks, strict=True) if count < _FEWEST]
    if not few:
        return
    named = f" of {', '.join(few)}" if len(few) < looks.size else ""
    raise UserError(
        f"too little data{named} for calibration: {looks.min()} windows of {rows} rows, at least {_FEWEST} are needed",
        location=prepared.place,
        remedy=f"record about {math.ceil((_FEWEST * stride + rows) / 0.16)} rows in total, choose a smaller --window, "
        "or leave out channels with few readings",
    )


def _touched(part: Part, rows: IntArray, lead: int) -> BoolArray:
    """Mask of rows with a label on them or in the ``lead`` rows before, which a window may contain, bool[n]."""
    labels = part.recording.labels
    if labels is None:
        return np.zeros(rows.size, bool)
    count = np.concatenate(([0], np.cumsum(labels)))
    touched: BoolArray = count[rows + 1] > count[np.maximum(rows - lead, 0)]
    return touched


def _lead(rows: int) -> int:
    """Rows until a window of ``rows`` rows is full and the states have settled."""
    return max(rows, _SETTLING_ROWS)


def _errors(bundle: Bundle, prepared: Prepared, part: Part, rows: slice) -> Float32Array:
    first, last = max(rows.start, rows.stop - _MOST_ROWS), rows.stop
    lead = _lead(bundle.manifest.autoencoder.rows)
    detector = FittedNetworks(prepared.channels, bundle, prepared.interval_s)
    everyone = np.ones(len(prepared.channels), bool)
    errors = np.full((2, last - first, len(prepared.channels)), np.nan, np.float32)
    for frame in frames(part.recording, range(max(0, first - lead), last)):
        scores = detector.score(frame)
        detector.learn(everyone)
        if frame.seq >= first:
            errors[:, frame.seq - first] = scores.errors
    errors[:, _touched(part, np.arange(first, last), lead)] = np.nan
    return errors


def _quantiles(held_back: Float32Array, everything: Float32Array) -> list[list[float]]:
    table = np.nanquantile(held_back.astype(np.float64), _LEVELS, axis=0).T
    table[:, 0] = np.nanmin(everything, axis=0)
    table[:, -1] = np.nanmax(everything, axis=0)
    # Six significant digits keep the manifest small; more are noise.
    return [[float(f"{value:.6g}") for value in row] for row in table.tolist()]


def _peaks(strength: Float64Array) -> list[float]:
    """Maximum of each run of rows above half of the limit."""
    near = np.flatnonzero(strength > 0.5)
    stretches = np.split(near, np.flatnonzero(np.diff(near) > 1) + 1)
    return [round(float(strength[stretch].max()), 3) for stretch in stretches if stretch.size]
