"""CPU use of PlanetLab's virtual machines, a day each at 5 minutes: how many alerts a day are raised on normal load.

A ``.tar.xz``, ``.tar.gz`` or ``.tar``, or a folder, of one text a machine, one percentage a line. Nothing is labelled:
all of it is taken as normal.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import numpy as np

from agent.core.channel import Channel
from agent.core.errors import UserError
from tools.benchmark.accuracy import runner
from tools.benchmark.cost.opens import all_opens
from tools.benchmark.results import Entry, Results, mean_of
from training.data.recording import Recording
from training.evaluation.baselines import range_novelty
from training.evaluation.metrics.events import intervals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path


__all__ = ["add_arguments", "read_recordings", "run"]

_INTERVAL_S = 300.0
_DAY_S = 86400.0
# As the agent reads it from a host.
_CHANNEL = Channel("cpu.percent", unit="%", effect=10.0, minimum=0.0, maximum=100.0)
_COLUMNS = {"alerts a channel-day": 2, "machines without %": 1}
_CAPTION = (
    "Incidents that open a machine and day, over all of the day, and the share of machines without any. Each machine "
    "is watched from its first reading on."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's arguments."""
    runner.add_arguments(parser)


def run(options: argparse.Namespace) -> Results:
    """Watch every machine, count what was raised."""
    how = runner.setting(options)
    recordings = list(read_recordings(options.data))
    days = sum(one.rows for one in recordings) * _INTERVAL_S / _DAY_S
    draws = [_figures([len(rows) for rows in all_opens(recordings, bundle, how)], days) for bundle in how.bundles]
    novel = [len(intervals(range_novelty(one.values[:, 0].astype(np.float64)) >= 1.0)) for one in recordings]
    entries = (
        mean_of("alerts", "ours", draws),
        Entry("range novelty of values and 24-row means, from 1 on", "no model", _figures(novel, days)),
    )
    return Results(f"PlanetLab, {len(recordings):,} virtual machines", _COLUMNS, entries, caption=_CAPTION)


def _figures(counts: Sequence[int], days: float) -> dict[str, float]:
    figures = (sum(counts) / days, 100.0 * float(np.mean(np.array(counts) == 0)))
    return dict(zip(_COLUMNS, figures, strict=True))


def read_recordings(path: Path) -> Iterator[Recording]:
    """Recordings of an archive or a folder, one a machine."""
    try:
        texts = dict(_texts(path))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(
            f"cannot be read: {error}", location=str(path), remedy="give the archive or its folder"
        ) from error
    if not texts:
        raise UserError("no machine in it", location=str(path), remedy="give the archive of texts, or its folder")
    for name in sorted(texts):
        try:
            values = np.array(texts[name].split(), np.float32).reshape(-1, 1)
        except ValueError as error:
            raise UserError(
                f"not one number a line: {error}", location=f"{path}: {name}", remedy="get it again"
            ) from error
        time = _INTERVAL_S * np.arange(len(values), dtype=np.float64)
        yield Recording(name, (_CHANNEL,), _INTERVAL_S, time, values, timed=False)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Name and content of each text; nothing is unpacked to disk."""
    if path.is_dir():
        for file in path.iterdir():
            if file.is_file():
                yield file.name, file.read_text(encoding="utf-8", errors="replace")
        return
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content.read().decode(errors="replace")
