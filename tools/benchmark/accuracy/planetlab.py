"""CPU use of PlanetLab's virtual machines, a day each at 5 minutes: alerts a day on unlabelled, mostly normal load.

The data are a folder or a ``.tar``, ``.tar.gz`` or ``.tar.xz`` archive with one text a machine, one percentage a line.
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

# Sampling interval of the data set, in seconds.
_INTERVAL_S = 300.0
_DAY_S = 86400.0
# Same properties as the host source's `cpu.percent`.
_CHANNEL = Channel("cpu.percent", unit="%", effect=10.0, minimum=0.0, maximum=100.0)
_COLUMNS = {"alerts a channel-day": 2, "machines without %": 1}
_CAPTION = (
    "Incidents opened a machine and day, and the share of machines without any. Each machine is monitored from its "
    "first reading on."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options of this benchmark."""
    runner.add_arguments(parser)


def run(options: argparse.Namespace) -> Results:
    """Count incidents on every machine, for the agent and a rule without a model."""
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
    """Read an archive or a folder, one recording a machine, sorted by name.

    Raises
    ------
    UserError
        It cannot be read, is empty, or holds a line that is not a number.
    """
    try:
        texts = dict(_texts(path))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(
            f"cannot be read: {error}", location=str(path), remedy="name the archive or its folder"
        ) from error
    if not texts:
        raise UserError("contains no file", location=str(path), remedy="name the archive of texts or its folder")
    for name in sorted(texts):
        try:
            values = np.array(texts[name].split(), np.float32).reshape(-1, 1)
        except ValueError as error:
            raise UserError(
                f"expected one number a line: {error}", location=f"{path}: {name}", remedy="download it again"
            ) from error
        time = _INTERVAL_S * np.arange(len(values), dtype=np.float64)
        yield Recording(name, (_CHANNEL,), _INTERVAL_S, time, values, timed=False)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Name and content of each text; an archive is not unpacked to disk."""
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
