"""Report of a fit: text, tables and charts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from agent.alerting.settings import AlertsConfig
from agent.detection.settings import DetectionConfig
from training.evaluation.run import judge
from training.reports.evaluation import details, error_over_limit
from training.reports.page import charts
from training.reports.page.document import Report, Section
from training.reports.page.table import Table

if TYPE_CHECKING:
    from training.data.recording import Recording
    from training.networks.dataset import Part
    from training.recipes.fit import Fit
    from training.reports.page.document import Item

__all__ = ["lines", "report"]

# Largest numbers in the report, chosen by hand.
_SHOWN_ROWS = 5000  # rows of the test part
_SHOWN_CHANNELS = 6
_SHOWN_NOTES = 20
_NETWORKS = ("forecaster", "autoencoder")


def lines(fit: Fit) -> list[str]:
    """Lines of the summary that the command prints after a fit."""
    manifest = fit.bundle.manifest
    found = manifest.verification
    test = manifest.calibration["test"]
    size = manifest.forecaster.size + manifest.autoencoder.size
    summary = [
        (
            f"{fit.bundle.label} in {fit.bundle.directory}: {len(manifest.channels)} channels every "
            f"{manifest.interval_s:g} s, {size / 1000:.1f} kB of networks ({manifest.quantisation})"
        ),
        f"digest {manifest.digest}",
    ]
    for network in _NETWORKS:
        deviates = found[network]
        summary.append(
            f"{network}: best epoch {fit.curves[network].best + 1} of {len(fit.curves[network].training)}, deviates "
            f"from Keras by {deviates['mean_deviation']} (mean), {deviates['max_deviation']} (max)"
        )
    summary.append(f"{manifest.quantisation} changes scores by {found['score_shift']['mean']} on average")
    summary.append(_second_runtime(found))
    if test["rows"]:
        summary.append(f"alerts on the test part of {test['days']:g} days: {test['alerts']}")
    summary += _notes(fit)
    summary.append(
        f"to use it: models: [{fit.bundle.directory}] and interval_s: {manifest.interval_s:g} in config.yaml"
    )
    return summary


def report(fit: Fit) -> Report:
    """Report for the folder of the bundle."""
    manifest = fit.bundle.manifest
    return Report(
        f"Bundle {fit.bundle.label}",
        f"Trained on {', '.join(part.recording.name for part in fit.prepared.parts[:5])}; verified against Keras and "
        "calibrated on data not used for training. All results below come from the exported networks, run by the "
        "agent's own step.",
        (
            _data(fit),
            Section(
                "Training",
                "The weights of the epoch with the best validation loss are used.",
                (charts.loss_curves({n: (c.training, c.validation) for n, c in fit.curves.items()}),),
            ),
            _windows(fit),
            *_tests(fit),
            Section(
                "Start values of thresholds",
                "Errors on normal calibration data, on the scale of each channel; limits of a new device start here.",
                (_starts(fit),),
            ),
            Section(
                "Number formats",
                f"The bundle holds {manifest.quantisation}. Deviations are from Keras, on scaled values; times were "
                f"measured in turns on {manifest.measured['machine']}.",
                (_forms(fit), *_verification(manifest.verification)),
            ),
            Section("Settings", "Options and automatic choices.", (_settings(fit),), folded=True),
        ),
    )


def _data(fit: Fit) -> Section:
    prepared = fit.prepared
    rows = [(part.recording, part.split) for part in prepared.parts]
    facts: dict[str, Any] = {
        "recordings": len(rows),
        "channels": len(prepared.channels),
        "interval (s)": prepared.interval_s,
        "rows": sum(recording.rows for recording, _ in rows),
        "days": sum(recording.rows for recording, _ in rows) * prepared.interval_s / 86400.0,
        "training rows": sum(split.train.stop - split.train.start for _, split in rows),
        "validation rows (early stopping)": sum(s.validation.stop - s.validation.start for _, s in rows),
        "calibration rows": sum(s.calibration.stop - s.calibration.start for _, s in rows),
        "test rows": sum(split.test.stop - split.test.start for _, split in rows),
        "missing readings": f"{1.0 - np.mean([part.present.mean() for part in prepared.parts]):.2%}",
        "rows labelled anomalous": sum(int(r.labels.sum()) if r.labels is not None else 0 for r, _ in rows),
        "period (rows)": fit.windows.period or "none",
        "features of the time": ", ".join(prepared.clock) or "none",
        "data (SHA-256)": fit.bundle.manifest.provenance["data_sha256"],
    }
    scaling = prepared.scaling
    channels = Table(
        ("channel", "unit", "centre", "spread", "scale"),
        tuple(
            (c.name, c.unit, centre, spread, "logarithmic" if c.log_reference else "linear")
            for c, centre, spread in zip(prepared.channels, scaling.centre, scaling.spread, strict=True)
        ),
        f"Scaling {scaling.method}, from the training part.",
    )
    items: tuple[Item, ...] = (charts.data_card(facts), channels, *_notes(fit))
    return Section("Data", "The parts are consecutive in time and do not overlap.", items)


def _notes(fit: Fit) -> list[str]:
    """Corrections on reading, and remarks on the data; at most 20 of each."""
    recordings = [part.recording for part in fit.prepared.parts]
    notes = [(recording.name, note) for recording in recordings for note in recording.notes]
    named = [f"{name}: {note}" if len(recordings) > 1 else note for name, note in notes]
    return [*named[:_SHOWN_NOTES], *fit.prepared.notes[:_SHOWN_NOTES]]


def _windows(fit: Fit) -> Section:
    shown, redrawn = fit.shown, fit.redrawn
    lanes = min(shown.shape[2], 2)
    pictures = [(k, lane) for k in range(len(shown)) for lane in range(lanes)][:6]
    joint = fit.bundle.manifest.layout == "joint"
    titles = [f"{fit.prepared.channels[lane].name if joint else 'a channel'}, window {k + 1}" for k, lane in pictures]
    chart = charts.reconstructions(
        np.stack([shown[k, :, lane] for k, lane in pictures]),
        np.stack([redrawn[k, :, lane] for k, lane in pictures]),
        titles,
    )
    windows = fit.windows
    size = (
        f"A window is {windows.points} points of {windows.block} rows"
        if windows.block > 1
        else (f"A window is {windows.points} rows")
    )
    return Section("Reconstruction", f"{size}, scaled. None of them was used for training.", (chart,))


def _tests(fit: Fit) -> list[Section]:
    """Forecasts with their band on the test part, and the distribution of errors or detections."""
    part = max(fit.prepared.parts, key=lambda p: p.recording.rows - p.split.test.start)
    begin = part.split.test.start
    if part.recording.rows - begin < 2:
        return []
    labels = part.recording.labels
    labelled = labels is not None and bool(labels[begin : begin + _SHOWN_ROWS].any())
    # With labels, show the whole recording. Without, the calibration part only fills windows and states.
    judged, first = (part.recording, begin) if labelled else (_test_part(part), _lead(part))
    outcome = judge(judged, fit.bundle, DetectionConfig(), AlertsConfig(), first=first)
    recording = outcome.recording
    counted = slice(first, first + _SHOWN_ROWS)
    time = (recording.time if recording.timed else np.arange(recording.rows, dtype=np.float64))[counted]
    forecasts = tuple(
        charts.forecast_band(
            time,
            recording.values[counted, k],
            outcome.bounds[0, counted, k],
            outcome.bounds[1, counted, k],
            outcome.bounds[2, counted, k],
            channel.name,
            unit=channel.unit,
            timed=recording.timed,
        )
        for k, channel in enumerate(recording.channels[:_SHOWN_CHANNELS])
    )
    sections = [Section("Forecast", "Forecast of each row of the test part from the rows before it.", forecasts)]
    if labelled:
        return [*sections, details(outcome, folded=False)]
    chart = charts.error_distribution(error_over_limit(outcome.score[counted]), np.zeros(0), 1.0)
    return [*sections, Section("Test part", "Errors of the test part relative to their limits.", (chart,))]


def _lead(part: Part) -> int:
    return int(part.split.test.start - part.split.calibration.start)


def _test_part(part: Part) -> Recording:
    """Start of the test part after the calibration part, which fills windows and states."""
    recording = part.recording
    rows = slice(part.split.test.start - _lead(part), part.split.test.start + _SHOWN_ROWS)
    return replace(
        recording,
        time=recording.time[rows],
        values=np.asarray(recording.values[rows]),
        labels=None if recording.labels is None else recording.labels[rows],
        train_rows=None,
    )


def _starts(fit: Fit) -> Table:
    errors = fit.bundle.manifest.calibration["errors"]
    header = ("channel", *next(iter(errors.values())))
    return Table(
        tuple(name.replace("_", " ") for name in header),
        tuple((name, *figures.values()) for name, figures in errors.items()),
    )


def _forms(fit: Fit) -> Item:
    manifest = fit.bundle.manifest
    rows = []
    for network in _NETWORKS:
        forms = manifest.verification["forms"][network]
        times = manifest.measured["microseconds"][network]
        exact = forms["float32"].get("size")
        for form, figures in forms.items():
            rows.append(
                {
                    "network": network,
                    "form": form,
                    "bytes": figures.get("size"),
                    "of float32": f"{figures['size'] / exact:.0%}" if exact and "size" in figures else "–",
                    "mean deviation": figures.get("mean_deviation"),
                    "max deviation": figures.get("max_deviation"),
                    "microseconds": times.get(form),
                    "remark": figures.get("unavailable", ""),
                }
            )
    return charts.quantisation_table(rows)


def _verification(found: dict[str, Any]) -> list[str]:
    forecaster, autoencoder, shift = found["forecaster"], found["autoencoder"], found["score_shift"]
    return [
        (
            f"Verified over {forecaster['steps']:,} consecutive steps of {forecaster['series']} series and "
            f"{autoencoder['windows']:,} consecutive windows. The tolerance is {found['mean_tolerance']} for the mean "
            f"and {found['max_tolerance']} for the maximum."
        ),
        (
            f"Scores of this format and of float32 differ by {shift['mean']} on average and {shift['max']} at most, "
            f"over {shift['rows']:,} rows."
        ),
        _second_runtime(found),
    ]


def _second_runtime(found: dict[str, Any]) -> str:
    theirs = found.get("tflite-runtime")
    if theirs is None:
        return "not run with tflite-runtime; its version 2.14 supports all operators"
    return "tflite-runtime deviates from Keras by " + ", ".join(
        f"{theirs[network]['mean_deviation']} ({network}, mean)" for network in _NETWORKS
    )


def _settings(fit: Fit) -> Item:
    provenance = fit.bundle.manifest.provenance
    versions = {key: provenance[key] for key in ("python", "tensorflow", "keras", "numpy", "ai-edge-litert")}
    return charts.data_card({**provenance["plan"], **msgspec.to_builtins(fit.windows), **versions})
