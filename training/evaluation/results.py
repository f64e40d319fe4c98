"""Results of an evaluation, the content of ``metrics.json``."""

from __future__ import annotations

from typing import Any

import msgspec

from training.evaluation.metrics.measure import DetectionMetrics  # noqa: TC001 - msgspec resolves the hint at run time
from training.evaluation.metrics.points import ClassReport  # noqa: TC001 - msgspec resolves the hint at run time
from training.evaluation.metrics.sweep import SweepPoint  # noqa: TC001 - msgspec resolves the hint at run time

__all__ = ["FORMAT", "Alarms", "Evaluation", "Result", "Summary", "View"]

#: Version of the format of ``metrics.json``.
FORMAT = 1


class Alarms(msgspec.Struct, frozen=True):
    """Alarms of one detector on one recording; needs no labels.

    Parameters
    ----------
    flagged
        Number of flagged rows.
    alarms
        Number of runs of flagged rows; runs closer than ``alerts.merge_s`` count as one.
    alarms_a_day
        Alarms per day of recording.
    threshold
        Score from which a row is flagged; None for a combination. Scores of baselines must exceed it: it is their
        maximum over the second half of the learning rows.
    score_quantiles
        Quantiles of the score by level: 0.5 is the median, 1.0 the maximum.
    """

    flagged: int
    alarms: int
    alarms_a_day: float
    threshold: float | None
    score_quantiles: dict[str, float]


class View(msgspec.Struct, frozen=True):
    """Metrics by detector, of random scores that flag as many rows as the main detector, and of flagging all rows."""

    detectors: dict[str, DetectionMetrics]
    random: DetectionMetrics
    all_positive: DetectionMetrics


class Result(msgspec.Struct, frozen=True):
    """Result of one recording.

    Parameters
    ----------
    name, interval_s, channels, notes
        From the recording; ``interval_s`` in seconds.
    rows, first
        Number of rows, and the first row that is measured.
    alarms
        Alarms by detector.
    anomalous_rows, true_intervals
        Number of labelled rows and intervals among the measured rows. Without labels, this and all following fields
        are None or empty.
    by_point, by_window
        Metrics per row, and per window if requested.
    classes
        Classification report of the main detector.
    sweep
        Metrics of the main detector for other thresholds.
    """

    name: str
    interval_s: float
    channels: list[str]
    notes: list[str]
    rows: int
    first: int
    alarms: dict[str, Alarms]
    anomalous_rows: int | None = None
    true_intervals: int | None = None
    by_point: View | None = None
    by_window: View | None = None
    classes: dict[str, ClassReport] = {}
    sweep: list[SweepPoint] = []


class Summary(msgspec.Struct, frozen=True):
    """Result of all labelled recordings.

    Parameters
    ----------
    recordings
        Number of labelled recordings.
    pooled, pooled_windows
        Metrics over all rows (windows), as if they were one recording.
    mean, mean_windows
        Mean of each metric over the recordings in which it is defined.
    classes, sweep
        As in `Result`, pooled.
    """

    recordings: int
    pooled: View
    mean: View
    pooled_windows: View | None
    mean_windows: View | None
    classes: dict[str, ClassReport]
    sweep: list[SweepPoint]


class Evaluation(msgspec.Struct, frozen=True):
    """``metrics.json``.

    Parameters
    ----------
    format
        Version of the format of this file.
    bundle
        Name and version of the models.
    main
        Name of the main detector: the agent with the given configuration.
    settings
        Options of the evaluation.
    results
        One per recording, in order.
    skipped
        Error texts of recordings that could not be evaluated, by name.
    summary
        None if no recording is labelled.
    """

    format: int
    bundle: str
    main: str
    settings: dict[str, Any]
    results: list[Result]
    skipped: dict[str, str]
    summary: Summary | None
