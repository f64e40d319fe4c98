"""Tables of recordings and bundles, for a terminal or a pipe."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from agent.core.text import quantity
from agent.models.manifest import RunningScaling
from training.data.labels import moment
from training.reports.page.terminal import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from agent.core.arrays import Float32Array
    from agent.models.bundle import Bundle
    from agent.models.manifest import Manifest
    from training.data.recording import Recording

__all__ = ["show_bundle", "show_recordings"]

_LAYOUTS = {"shared": "one network over each channel", "joint": "one network over all channels"}
_IN_FULL = 3  # largest number of recordings shown with all channels


def show_recordings(recordings: Iterable[Recording]) -> None:
    """Print recordings: up to three with all channels, more with one line each."""
    out = console()
    rest = iter(recordings)
    head = list(islice(rest, _IN_FULL + 1))
    if len(head) <= _IN_FULL:
        for recording in head:
            _show_one(recording, out)
    else:
        _show_many(chain(_released(head), rest), out)


def show_bundle(bundle: Bundle) -> None:
    """Print content, verification and provenance of a bundle."""
    manifest = bundle.manifest
    channels = manifest.channels if isinstance(manifest.channels, str) else ", ".join(manifest.channels)
    interval = manifest.interval_s if isinstance(manifest.interval_s, str) else f"{manifest.interval_s:g} s"
    forecaster, autoencoder = manifest.forecaster, manifest.autoencoder
    table = _facts(bundle.label)
    for name, value in (
        ("folder", bundle.directory),
        ("created", manifest.created),
        ("format", manifest.format),
        ("channels", channels),
        ("sampling interval", interval),
        ("layout", f"{manifest.layout}: {_LAYOUTS[manifest.layout]}"),
        ("features", f"{', '.join(manifest.features)}, {_scaling(manifest)}"),
        ("quantisation", manifest.quantisation),
        ("forecaster", f"{forecaster.size / 1000:.1f} kB, {forecaster.units} units, one row a step"),
        (
            "autoencoder",
            f"{autoencoder.size / 1000:.1f} kB, windows of {autoencoder.window} points"
            + (f" of {autoencoder.block} rows" if autoencoder.block > 1 else "")
            + f" every {autoencoder.stride} rows"
            + (", shapes instead of levels" if autoencoder.centred else ""),
        ),
        ("digest", manifest.digest or "none"),
    ):
        table.add_row(name, str(value))
    for section in ("calibration", "verification", "provenance", "measured"):
        for path, value in _leaves(getattr(manifest, section), section):
            table.add_row(path, value)
    console().print(table)


def _scaling(manifest: Manifest) -> str:
    scaling = manifest.scaling
    if isinstance(scaling, RunningScaling):
        return f"normalised over {scaling.rows} rows"
    return f"{scaling.method} scaling from training"


def _show_one(recording: Recording, out: Console) -> None:
    facts = _facts(recording.name)
    facts.add_row("rows", f"{recording.rows:,}, every {recording.interval_s:g} s")
    facts.add_row("span", _span(recording))
    facts.add_row("labels", _labels(recording))
    training = "not defined by the data" if recording.train_rows is None else f"the first {recording.train_rows:,} rows"
    facts.add_row("for training", training)
    facts.add_row("notes", "\n".join(recording.notes) or "none")
    out.print(facts)
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(("channel", "minimum", "median", "maximum", "missing", "")):
        table.add_column(column, justify="right" if 1 <= number <= 4 else "left", overflow="fold")
    for channel, values in zip(recording.channels, recording.values.T, strict=True):
        table.add_row(channel.name, *_summary(values))
    out.print(table)


def _show_many(recordings: Iterable[Recording], out: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(("recording", "rows", "every", "span", "channels", "labels", "training", "notes")):
        table.add_column(column, justify="right" if number in {1, 2, 4, 6, 7} else "left", overflow="fold")
    count = 0
    for recording in recordings:
        count += 1
        table.add_row(
            recording.name,
            f"{recording.rows:,}",
            f"{recording.interval_s:g} s",
            _span(recording),
            str(len(recording.channels)),
            _labels(recording),
            "–" if recording.train_rows is None else f"{recording.train_rows:,}",
            str(len(recording.notes)),
        )
    out.print(table)
    out.print(f"{count} recordings; name a single one to see its channels and notes.")


def _released(head: list[Recording]) -> Iterator[Recording]:
    """Yield and release each recording, so that only one is in memory at a time."""
    while head:
        yield head.pop(0)


def _summary(values: Float32Array) -> tuple[str, str, str, str, str]:
    """Minimum, median, maximum, share of missing readings, and a remark."""
    valid = values[~np.isnan(values)]
    missing = f"{100 * (1 - valid.size / values.size):.2g} %" if valid.size < values.size else "–"
    if not valid.size:
        return "–", "–", "–", missing, "no readings"
    low, middle, high = float(valid.min()), float(np.median(valid)), float(valid.max())
    return quantity(low), quantity(middle), quantity(high), missing, "constant" if low == high else ""


def _span(recording: Recording) -> str:
    if not recording.timed:
        return "no time stamps"
    ends = (moment(float(recording.time[at]), timed=True) for at in (0, -1))
    return " – ".join(ends)


def _labels(recording: Recording) -> str:
    """Number of labelled events, and share of rows in them."""
    if recording.labels is None:
        return "none"
    events = int(np.count_nonzero(np.diff(recording.labels.astype(np.int8), prepend=0) == 1))
    share = 100 * np.count_nonzero(recording.labels) / recording.rows
    return f"{events} {'event' if events == 1 else 'events'}, {share:.2g} % of rows"


def _facts(title: str) -> Table:
    """Empty table of names and values."""
    table = Table(title, "", box=box.SIMPLE_HEAD)
    table.columns[1].overflow = "fold"
    return table


def _leaves(tree: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Yield the values of nested mappings with their paths; plain values of one mapping share a line."""
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    if plain:
        yield path, ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in plain.items())
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}, {key.replace('_', ' ')}")
