"""Charts of training and evaluation from plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluation.metrics.events import intervals, merged
from training.reports.page.chart import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    PURPLE,
    RED,
    SKY,
    Axis,
    Band,
    Cells,
    Chart,
    Dots,
    Line,
    Panel,
    Rule,
    Spans,
)
from training.reports.page.table import Table, cell
from training.reports.page.thinning import thinned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.core.arrays import BoolArray, Float32Array, Float64Array

__all__ = [
    "confusion_matrix",
    "data_card",
    "error_distribution",
    "forecast_band",
    "loss_curves",
    "precision_recall",
    "quantisation_table",
    "reconstructions",
    "roc",
    "series_with_detections",
    "threshold_sweep",
]

# Chosen by hand.
_CURVE_POINTS = 500  # largest number of points per curve
_BINS = 60  # of a histogram
_SPANS = 400  # largest number of shaded intervals


def loss_curves(history: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Chart:
    """Losses over epochs.

    Parameters
    ----------
    history
        Training and validation loss by network, one number per epoch; validation may be empty.
    """
    panels = []
    for name, (training, validation) in history.items():
        marks: list[Any] = [_curve("training", training, BLUE)]
        if len(validation):
            best = int(np.argmin(validation))
            marks += [
                _curve("validation", validation, ORANGE),
                Rule(f"best epoch ({best + 1})", float(best + 1), GREY),
            ]
        panels.append(Panel(Axis("epoch"), Axis("loss", log=True), tuple(marks), name))
    return Chart(
        "loss",
        "Loss during training",
        "Both losses should decrease and level off together. If the validation loss increases while the training loss "
        "decreases, the network overfits.",
        tuple(panels),
    )


def reconstructions(windows: Float32Array, rebuilt: Float32Array, titles: Sequence[str]) -> Chart:
    """Windows and their reconstructions by the autoencoder.

    Parameters
    ----------
    windows, rebuilt
        float32[n, rows] each.
    titles
        Title of each window, such as its channel.
    """
    x = np.arange(windows.shape[1], dtype=np.float64)
    return Chart(
        "reconstructions",
        "Windows and their reconstructions",
        "The closer the dashed line follows the solid one, the better the reconstruction.",
        tuple(
            Panel(
                Axis("row of the window"),
                Axis("normalised value"),
                (Line("window", x, _exact(window), BLUE), Line("reconstruction", x, _exact(again), RED, dashed=True)),
                title,
            )
            for window, again, title in zip(windows, rebuilt, titles, strict=True)
        ),
    )


def forecast_band(
    time: Float64Array,
    value: Float32Array,
    median: Float32Array,
    lower: Float32Array,
    upper: Float32Array,
    name: str,
    *,
    unit: str = "",
    timed: bool = True,
) -> Chart:
    """Readings with median and band of their forecasts.

    Parameters
    ----------
    time
        float64[rows], seconds since 1970, or any count when not ``timed``.
    value, median, lower, upper
        float32[rows] each.
    name, unit
        Name and unit of the channel.
    """
    kept = thinned(value)
    x = time[kept]
    return Chart(
        "forecast",
        f"{name}: readings and forecast",
        "Nine in ten readings should lie within the shaded band, and the dashed median should run through them.",
        (
            Panel(
                _time_axis(timed),
                Axis(_with_unit(name, unit)),
                (
                    Band("5–95 % band", x, _exact(lower[kept]), _exact(upper[kept]), SKY),
                    Line("reading", x, _exact(value[kept]), BLUE),
                    Line("median forecast", x, _exact(median[kept]), ORANGE, dashed=True),
                ),
            ),
        ),
    )


def error_distribution(
    normal: Float64Array, anomalous: Float64Array, limit: float | None, *, unit: str = "error over limit"
) -> Chart:
    """Distribution of errors in normal and in anomalous rows.

    Parameters
    ----------
    normal, anomalous
        float64[n] ≥ 0 each; ``anomalous`` may be empty. Zeros count as the smallest.
    limit
        Limit of the errors, or None.
    unit
        Unit of the errors.
    """
    together = np.concatenate((normal, anomalous))
    positive = together[together > 0]
    low, high = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
    edges = np.geomspace(low * 0.99, max(high * 1.01, low * 1.1), _BINS + 1)
    marks: list[Any] = []
    for name, errors, colour in (("normal", normal, BLUE), ("anomalous", anomalous, RED)):
        if errors.size:
            counts, _ = np.histogram(np.maximum(errors, low), edges)
            share = np.append(counts, counts[-1:]) * 100.0 / errors.size
            marks.append(Line(f"{name} rows ({errors.size:,})", edges, share, colour, steps=True, filled=True))
    if limit is not None:
        marks.append(Rule("limit", limit, BLACK))
    return Chart(
        "errors",
        "Distribution of errors",
        "The less the two areas overlap, and the better the limit separates them, the better is detection.",
        (Panel(Axis(unit, log=True), Axis("share of rows (%)"), tuple(marks)),),
    )


def confusion_matrix(true_positive: float, false_positive: float, true_negative: float, false_negative: float) -> Chart:
    """Confusion matrix from the numbers of rows."""
    counts = np.array([[true_negative, false_positive], [false_negative, true_positive]], np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    text = tuple(
        tuple(f"{count:,.0f} ({part:.1%})" for count, part in zip(*row, strict=True))
        for row in zip(counts.tolist(), share.tolist(), strict=True)
    )
    cells = Cells(("normal", "anomalous"), ("not flagged", "flagged"), share, text)
    return Chart(
        "confusion",
        "Confusion matrix",
        "Lines are true classes and add up to 100 %; a darker diagonal is better.",
        (Panel(Axis("verdict"), Axis("truth"), (cells,)),),
    )


def precision_recall(curves: Mapping[str, tuple[Float64Array, Float64Array]], prevalence: float) -> Chart:
    """Precision over recall at all thresholds.

    Parameters
    ----------
    curves
        Recall and precision by detector, float64[n] each, 0 to 1, from the lowest to the highest threshold.
    prevalence
        Share of anomalous rows, which is the precision of random scores and of flagging every row.
    """
    marks: list[Any] = [_thinned_curve(name, curve, i, steps=True) for i, (name, curve) in enumerate(curves.items())]
    reference = np.array([prevalence, prevalence])
    marks += [
        Line("random", np.array([0.0, 1.0]), reference, GREY, dashed=True),
        Dots("all positive", np.array([1.0]), reference[:1], GREY),
    ]
    return Chart(
        "precision_recall",
        "Precision and recall",
        "Each point is a threshold. Further to the upper right is better; the dashed line is that of random scores.",
        (Panel(Axis("recall", limits=(0, 1.02)), Axis("precision", limits=(0, 1.02)), tuple(marks)),),
    )


def roc(curves: Mapping[str, tuple[Float64Array, Float64Array]]) -> Chart:
    """True positives over false positives at all thresholds.

    Parameters
    ----------
    curves
        False and true positive rate by detector, float64[n] each, 0 to 1.
    """
    marks: list[Any] = [_thinned_curve(name, curve, i) for i, (name, curve) in enumerate(curves.items())]
    marks += [
        Line("random", np.array([0.0, 1.0]), np.array([0.0, 1.0]), GREY, dashed=True),
        Dots("all positive", np.array([1.0]), np.array([1.0]), GREY),
    ]
    return Chart(
        "roc",
        "ROC curve",
        "Each point is a threshold. Further to the upper left is better. If anomalous rows are rare, the curve is "
        "optimistic; also look at precision and recall.",
        (
            Panel(
                Axis("false positive rate", limits=(0, 1.02)),
                Axis("true positive rate", limits=(0, 1.02)),
                tuple(marks),
            ),
        ),
    )


def series_with_detections(
    time: Float64Array,
    values: Float32Array,
    bounds: Float32Array,
    flags: BoolArray,
    labels: BoolArray | None,
    *,
    names: Sequence[str],
    units: Sequence[str] = (),
    timed: bool = True,
) -> Chart:
    """Readings with normal range, detections and true anomalies.

    Parameters
    ----------
    time
        float64[rows], seconds since 1970, or any count when not ``timed``.
    values
        float32[rows, n_channels], NaN where missing.
    bounds
        float32[3, rows, n_channels]: expectation, lower and upper end of the normal range.
    flags
        bool[rows, n_channels].
    labels
        bool[rows], or None.
    names, units
        Names and units of the channels.
    timed
        Whether ``time`` is seconds since 1970.
    """
    wrong = () if labels is None else (Spans("true anomaly", _spans(time, labels), ORANGE),)
    hint = "They should lie only in the shaded intervals." if wrong else "The band is the normal range."
    panels = []
    for channel, name in enumerate(names):
        value, flagged = values[:, channel], np.flatnonzero(flags[:, channel])
        kept = thinned(value)
        hits = flagged[thinned(value[flagged])] if flagged.size else flagged
        x, (_, lower, upper) = time[kept], bounds[:, kept, channel]
        marks = (
            *wrong,
            Band("normal range", x, _exact(lower), _exact(upper), SKY),
            Line("reading", x, _exact(value[kept]), BLUE),
            Dots("detection", time[hits], _exact(value[hits]), RED),
        )
        unit = units[channel] if units else ""
        panels.append(Panel(_time_axis(timed), Axis(_with_unit(name, unit)), marks))
    return Chart(
        "detections",
        "Readings and detections",
        f"Red points are rows that the agent called anomalous. {hint}",
        tuple(panels),
        stacked=True,
    )


def threshold_sweep(
    threshold: Float64Array,
    precision: Float64Array,
    recall: Float64Array,
    f1: Float64Array,
    event_recall: Float64Array,
    false_a_day: Float64Array,
    *,
    working: float | None = None,
    unit: str = "threshold of the score",
    log: bool = False,
) -> Chart:
    """Metrics over the threshold, float64[n] each; NaN where undefined."""
    at_work = () if working is None else (Rule("in use", working, BLACK),)
    lines = (
        Line("precision", threshold, precision, BLUE),
        Line("recall", threshold, recall, ORANGE),
        Line("F1", threshold, f1, GREEN),
        Line("events found", threshold, event_recall, PURPLE, dashed=True),
    )
    x = Axis(unit, log=log)
    return Chart(
        "thresholds",
        "Other thresholds",
        "To the right, fewer rows are flagged: precision should rise and false alarms should fall before recall falls.",
        (
            Panel(x, Axis("share", limits=(0, 1.02)), (*lines, *at_work)),
            Panel(x, Axis("false alarms a day"), (Line("false alarms a day", threshold, false_a_day, RED), *at_work)),
        ),
        stacked=True,
    )


def quantisation_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Networks by number format.

    Parameters
    ----------
    rows
        One per network and format, all with the same keys, which become the header.
    """
    return Table(tuple(rows[0]), tuple(tuple(row.values()) for row in rows))


def data_card(facts: Mapping[str, Any]) -> Table:
    """Facts by name, one per line."""
    return Table(("", ""), tuple((name, cell(fact)) for name, fact in facts.items()))


def _curve(name: str, loss: Sequence[float], colour: str) -> Line:
    epochs = np.arange(1, len(loss) + 1).astype(np.float64)
    return Line(name, epochs, np.asarray(loss, np.float64), colour)


def _thinned_curve(name: str, curve: tuple[Float64Array, Float64Array], position: int, *, steps: bool = False) -> Line:
    x, y = curve
    kept = np.unique(np.linspace(0, x.size - 1, min(x.size, _CURVE_POINTS)).astype(int))
    return Line(name, x[kept], y[kept], PALETTE[position % len(PALETTE)], dashed=position >= len(PALETTE), steps=steps)


def _spans(time: Float64Array, labels: BoolArray) -> Float64Array:
    """Begin and end of labelled intervals; close ones are merged until at most 400 remain."""
    runs, apart = intervals(labels), 1
    while len(runs) > _SPANS:
        apart *= 2
        runs = merged(runs, apart)
    return np.stack((time[runs[:, 0]], time[runs[:, 1] - 1]), axis=1)


def _time_axis(timed: bool) -> Axis:
    return Axis("time (UTC)", time=True) if timed else Axis("row")


def _with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _exact(values: Float32Array) -> Float64Array:
    return values.astype(np.float64)
