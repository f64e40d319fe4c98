"""Report of an evaluation: tables and charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from agent.detection.verdict import SCORE_THRESHOLD
from training.evaluation.metrics.measure import numbers
from training.reports.page import charts
from training.reports.page.document import Report, Section
from training.reports.page.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.arrays import Float64Array
    from training.evaluation.evaluate import Examined
    from training.evaluation.metrics.measure import DetectionMetrics
    from training.evaluation.metrics.points import ClassReport
    from training.evaluation.metrics.sweep import SweepPoint
    from training.evaluation.outcome import Outcome
    from training.evaluation.results import Evaluation, Result, View
    from training.reports.page.document import Item

__all__ = ["alarms_table", "details", "error_over_limit", "recordings_table", "report", "short"]

_CHANNELS = 8  # largest number of channels drawn per recording
_OVERVIEW = {
    "precision": "points.precision",
    "recall": "points.recall",
    "F1": "points.f1",
    "events found": "events.found",
    "of": "events.true",
    "false a day": "events.false_a_day",
    "median delay (s)": "events.delay_median_s",
    "ROC-AUC": "ranking.roc_auc",
    "PR-AUC": "ranking.pr_auc",
    "best F1 (hindsight)": "ranking.best_f1",
    "VUS-PR": "ranking.vus_pr",
}
_POINTS = {
    "accuracy": "points.accuracy",
    "precision": "points.precision",
    "recall": "points.recall",
    "specificity": "points.specificity",
    "F1": "points.f1",
    "true pos.": "points.true_positive",
    "false pos.": "points.false_positive",
    "false neg.": "points.false_negative",
    "true neg.": "points.true_negative",
}
_EVENTS = {
    "events": "events.true",
    "found": "events.found",
    "missed": "events.missed",
    "detections": "events.detections",
    "false": "events.false",
    "precision": "events.precision",
    "recall": "events.recall",
    "F1": "events.f1",
    "median delay (s)": "events.delay_median_s",
    "max delay (s)": "events.delay_max_s",
    "false a day": "events.false_a_day",
}
_RANKING = {
    "ROC-AUC": "ranking.roc_auc",
    "PR-AUC": "ranking.pr_auc",
    "VUS-ROC": "ranking.vus_roc",
    "VUS-PR": "ranking.vus_pr",
    "best F1 (hindsight)": "ranking.best_f1",
    "at score": "ranking.best_f1_threshold",
    "highest inside": "ranking.highest_inside",
}
# VUS is computed per row only.
_WINDOW_RANKING = {name: path for name, path in _RANKING.items() if not path.startswith("ranking.vus")}


def report(evaluation: Evaluation, examined: Sequence[Examined], particulars: Sequence[Section]) -> Report:
    """Make the report of an evaluation.

    Parameters
    ----------
    evaluation
        Content of ``metrics.json``.
    examined
        Scores behind the results.
    particulars
        Sections of single recordings, from `details`.
    """
    sections = [_data(evaluation), *_measured(evaluation, examined)]
    if len(evaluation.results) > 1:
        sections.append(
            Section("Recordings", "Results of the main detector by recording.", (recordings_table(evaluation),))
        )
    else:
        sections.append(
            Section(
                "Alarms",
                "Alarms of each detector; these figures need no labels.",
                (alarms_table(evaluation.results[0]),),
            )
        )
    return Report(
        f"Evaluation of {evaluation.bundle}",
        f"The agent's own step ran over {_some_recordings(len(evaluation.results))}; each row was judged by the rows "
        f"before it. The main detector is {evaluation.main!r}. It is compared with other thresholds, each network "
        "alone, rules without a network, random scores and flagging every row.",
        (*sections, *_notes(evaluation), *particulars),
    )


def details(outcome: Outcome, *, folded: bool) -> Section:
    """Section of one recording: channels with detections, and the distribution of errors."""
    recording = outcome.recording
    counted = slice(outcome.first, None)
    strongest = np.argsort(-outcome.channel_score[counted].max(axis=0), kind="stable")[:_CHANNELS]
    shown = np.sort(strongest)
    series = charts.series_with_detections(
        recording.time if recording.timed else np.arange(recording.rows, dtype=np.float64),
        recording.values[:, shown],
        outcome.bounds[:, :, shown],
        outcome.channel_score[:, shown] >= SCORE_THRESHOLD,
        recording.labels,
        names=[recording.channels[channel].name for channel in shown],
        units=[recording.channels[channel].unit for channel in shown],
        timed=recording.timed,
    )
    strength = error_over_limit(outcome.score[counted])
    wrong = np.zeros(strength.size, bool) if recording.labels is None else recording.labels[counted]
    errors = charts.error_distribution(strength[~wrong], strength[wrong], 1.0)
    some = f"The {shown.size} of {len(recording.channels)} channels with the highest scores. "
    return Section(
        recording.name,
        (some if shown.size < len(recording.channels) else "")
        + f"The first {outcome.first:,} of {recording.rows:,} rows are for learning and are not measured.",
        (series, errors),
        folded,
    )


def short(evaluation: Evaluation) -> list[tuple[str, Table]]:
    """Titled tables for a terminal: main figures of every detector, and every recording."""
    tables = []
    if summary := evaluation.summary:
        if summary.recordings == 1:
            tables.append(("Row by row, event by event, as a ranking", _table(summary.mean, _OVERVIEW)))
        else:
            tables.append((f"All {_some_recordings(summary.recordings)} together", _table(summary.pooled, _OVERVIEW)))
            tables.append((f"Mean over {_some_recordings(summary.recordings)}", _table(summary.mean, _OVERVIEW)))
    elif len(evaluation.results) == 1:
        tables.append(("Alarms; the data has no labels", alarms_table(evaluation.results[0])))
    if len(evaluation.results) > 1:
        tables.append((f"Recordings, by {evaluation.main}", recordings_table(evaluation)))
    return tables


def recordings_table(evaluation: Evaluation) -> Table:
    """Figures of the main detector, one line per recording."""
    rows = []
    for result in evaluation.results:
        alarms = result.alarms[evaluation.main]
        figures = numbers(result.by_point.detectors[evaluation.main]) if result.by_point else {}
        chosen = [figures.get(path) for path in _OVERVIEW.values()]
        rows.append((result.name, result.rows - result.first, alarms.alarms, alarms.alarms_a_day, *chosen))
    return Table(("recording", "rows", "alarms", "alarms a day", *_OVERVIEW), tuple(rows))


def alarms_table(result: Result) -> Table:
    """Alarms and quantiles of the score, one line per detector."""
    levels = list(next(iter(result.alarms.values())).score_quantiles)
    rows = tuple(
        (name, a.alarms, a.alarms_a_day, a.flagged, a.threshold, *a.score_quantiles.values())
        for name, a in result.alarms.items()
    )
    quantiles = ["largest score" if level == "1.0" else f"{float(level):.1%} of scores below" for level in levels]
    return Table(("detector", "alarms", "alarms a day", "rows flagged", "threshold", *quantiles), rows)


def _data(evaluation: Evaluation) -> Section:
    results = evaluation.results
    labelled = [result for result in results if result.by_point]
    facts = {
        "recordings": len(results),
        "measured rows": sum(result.rows - result.first for result in results),
        "days": sum((result.rows - result.first) * result.interval_s for result in results) / 86400.0,
        "channels": ", ".join(sorted({name for result in results for name in result.channels})),
        "labelled recordings": len(labelled),
        "true intervals": sum(result.true_intervals or 0 for result in labelled),
        "rows labelled anomalous": sum(result.anomalous_rows or 0 for result in labelled),
        "bundle": evaluation.bundle,
        **evaluation.settings,
        "thresholds": ", ".join(map(_described, evaluation.settings["thresholds"])),
        "combine": ", ".join(evaluation.settings["combine"]) or None,
    }
    return Section(
        "Data and settings",
        "The rows at the start of a recording are for learning and are not measured.",
        (charts.data_card(facts),),
    )


def _notes(evaluation: Evaluation) -> list[Section]:
    """Corrections of the readers, and recordings that could not be evaluated."""
    notes = [(result.name, note) for result in evaluation.results for note in result.notes]
    notes += [(name, f"left out: {why}") for name, why in evaluation.skipped.items()]
    table = Table(("recording", "note"), tuple(notes))
    return (
        [Section("Notes on the data", "Corrections made on reading, and recordings left out.", (table,), folded=True)]
        if notes
        else []
    )


def _measured(evaluation: Evaluation, examined: Sequence[Examined]) -> list[Section]:
    """Sections of metrics that need labels."""
    summary = evaluation.summary
    if summary is None:
        return []
    main = summary.pooled.detectors[evaluation.main]
    single = summary.recordings == 1
    # VUS is not pooled; for a single recording, the mean has it.
    view = summary.mean if single else summary.pooled
    sections = [
        Section(
            "Row by row",
            "Flagged rows compared with rows labelled anomalous. The lines random and all_positive are the reference.",
            (
                _table(view, _POINTS),
                charts.confusion_matrix(
                    main.points.true_positive,
                    main.points.false_positive,
                    main.points.true_negative,
                    main.points.false_negative,
                ),
                _classes(summary.classes),
            ),
        ),
        Section(
            "Event by event",
            "True intervals with and without a flagged row, the delay of the first one, and detections without an "
            "anomalous row.",
            (_table(view, _EVENTS),),
        ),
        Section(
            "As a ranking",
            "How well scores separate anomalous from normal rows, over all thresholds. The threshold of the best F1 is "
            "chosen in hindsight and unknown in operation.",
            (_table(view, _RANKING), *_curves(examined)),
        ),
        Section(
            "Other thresholds",
            f"Metrics of {evaluation.main!r} for other thresholds; at 1 the error is at its limit.",
            (_sweep(summary.sweep),),
        ),
    ]
    if summary.pooled_windows:
        width = evaluation.settings["label_window"]
        sections.append(
            Section(
                "Per window",
                f"The same metrics, with a row labelled anomalous if any of the {width} rows ending there is, as in "
                "publications on window models.",
                (_table(summary.pooled_windows, _POINTS), _table(summary.pooled_windows, _WINDOW_RANKING)),
            )
        )
    if not single:
        tables = tuple(_table(summary.mean, columns) for columns in (_POINTS, _EVENTS, _RANKING))
        sections.append(
            Section("Mean over recordings", "Each recording has the same weight, regardless of its length.", tables)
        )
    return sections


def _table(view: View, columns: dict[str, str]) -> Table:
    everything: dict[str, DetectionMetrics] = {
        **view.detectors,
        "random": view.random,
        "all_positive": view.all_positive,
    }
    rows = []
    why: dict[str, None] = {}
    for name, metrics in everything.items():
        figures = numbers(metrics)
        rows.append((name, *(figures[path] for path in columns.values())))
        why |= {metrics.undefined[path]: None for path in columns.values() if path in metrics.undefined}
    return Table(("detector", *columns), tuple(rows), f"– means undefined: {'; '.join(why)}." if why else "")


def _classes(classes: dict[str, ClassReport]) -> Table:
    rows = tuple((name, c.precision, c.recall, c.f1, c.support) for name, c in classes.items())
    return Table(("class", "precision", "recall", "F1", "rows"), rows, "Classification report of the main detector.")


def _curves(examined: Sequence[Examined]) -> list[Item]:
    labelled = [each.points for each in examined if each.points]
    labels = np.concatenate([next(iter(points.values())).labels for points in labelled])
    if labels.all() or not labels.any():
        return []
    precision_recall, roc = {}, {}
    for name in labelled[0]:
        score = np.concatenate([points[name].score for points in labelled])
        precision, recall, _ = precision_recall_curve(labels, score, drop_intermediate=True)
        precision_recall[name] = recall, precision
        roc[name] = roc_curve(labels, score)[:2]
    return [charts.precision_recall(precision_recall, float(labels.mean())), charts.roc(roc)]


def _sweep(points: Sequence[SweepPoint]) -> Item:
    columns = {
        name: np.array([getattr(point, name) for point in points], np.float64)
        for name in ("precision", "recall", "f1", "event_recall", "false_a_day")
    }
    strength = error_over_limit(np.array([point.threshold for point in points]))
    drawn = strength > 0  # a logarithmic axis has no 0, where every row is flagged
    kept = {name: column[drawn] for name, column in columns.items()}
    return charts.threshold_sweep(strength[drawn], **kept, working=1.0, unit="error over limit", log=True)


def error_over_limit(score: Float64Array) -> Float64Array:
    """Error over limit from a score, the inverse of `agent.detection.verdict.bounded_score`; float64[n]."""
    strength: Float64Array = (score / (1.0 - score) * (1.0 - SCORE_THRESHOLD) / SCORE_THRESHOLD) ** 0.25
    return strength


def _described(threshold: dict[str, Any]) -> str:
    """Name of a threshold with its parameters: ``mad (k 8.0)``."""
    parameters = " ".join(f"{name} {value}" for name, value in threshold.items() if name != "method")
    return f"{threshold['method']} ({parameters})"


def _some_recordings(count: int) -> str:
    return f"{count:,} recording{'s' if count > 1 else ''}"
