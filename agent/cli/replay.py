"""The command ``replay``: runs detection over a recorded file at full speed, with the verdicts of a live run."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import time
from typing import IO, TYPE_CHECKING

import msgspec
import numpy as np

from agent.alerting.incidents import Incidents
from agent.cli.replay_plot import Tape, plotter
from agent.core.atomic_file import atomic_file
from agent.core.errors import EdgewatchError, UserError
from agent.detection.ensemble import Ensemble
from agent.models import bundle, loader
from agent.models.last_good import load_bundles
from agent.sampling.channel_rules import ChannelRules, Plausible
from agent.sources.csv_reader import CsvReader
from agent.sources.registry import source_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.config.schema import Config
    from agent.core.channel import Channel
    from agent.core.frame import Frame
    from agent.detection.verdict import Verdict
    from agent.messages.alert import Alert, HeldBack

__all__ = ["replay"]

_LOG = logging.getLogger(__name__)
# Alert budgets in the summary's comparison, as shares of the configured one; chosen by hand.
_SHARES = (0.01, 0.1, 0.3, 1.0)
_COLUMNS = ("value", "expected", "lower", "upper", "score", "threshold", "state")


def replay(
    config: Config,
    source: Path,
    *,
    bundle_directory: Path | None = None,
    output: Path | None = None,
    incidents: Path | None = None,
    held: bool = False,
    plot: Path | None = None,
) -> str:
    """Replay a CSV file and return a summary in text.

    Parameters
    ----------
    config
        Settings of detection and alerts. Columns named like a channel of its sources get that channel's unit, scale,
        smallest effect and range.
    source
        CSV file, see `agent.sources.csv_reader.CsvReader`; its sampling interval replaces the configuration's.
    bundle_directory
        Model bundle that replaces the configuration's.
    output
        CSV file for scores, expectations and thresholds, one row a tick.
    incidents
        File for the alerts, one JSON object a line.
    held
        Add incidents suppressed by the alert budget to `incidents`, in lines whose ``phase`` is ``held``.
    plot
        File for a plot: ``.html``, ``.png`` or ``.gif``.

    Raises
    ------
    UserError
        The file, the bundle or an output cannot be used.
    EnvironmentFault
        `plot` is given, and the plotting libraries are not installed.
    """
    models = [loader.load(bundle_directory)] if bundle_directory else load_bundles(config)
    draw = plotter() if plot else None
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(CsvReader(source))
        channels = _described(reader.channels, config)
        monitor = Ensemble(channels, models, config.detection, config.alerts, reader.interval_s)
        ledger = Incidents(
            channels, config.alerts, reader.interval_s, node=config.node, model=bundle.labels(models), instance="replay"
        )
        table = stack.enter_context(_writing(output)) if output else None
        lines = stack.enter_context(_writing(incidents)) if incidents else None
        if table:
            table.write(_header(channels))
        tape = Tape() if plot else None
        opened = 0
        trials = [_Trial(share, config.alerts.budget_per_day) for share in _SHARES]
        steps = 0
        begin = time.perf_counter()
        plausible = Plausible(channels)
        for frame in reader:
            plausible.clean(frame.values)
            verdict = monitor.step(frame)
            alerts = ledger.step(frame, verdict)
            opened += sum(alert.phase == "open" for alert in alerts)
            steps = frame.seq + 1
            candidates = ledger.candidates()
            for trial in trials if candidates else ():
                trial.offer(candidates)
            if lines:
                _write_lines(lines, alerts, ledger.take_suppressed() if held else ())
            if table:
                table.write(_row(frame, verdict))
            if tape:
                tape.add(frame, verdict, alerts)
        seconds = time.perf_counter() - begin
    days = steps * reader.interval_s / 86400.0
    drawn = ""
    if plot and tape and draw:
        drawn = "\n" + draw(tape.replayed(source.name, channels, reader.interval_s, bundle.labels(models)), plot)
    return (
        f"{source}: {len(channels)} channels every {reader.interval_s:g} s, {reader.report.summary()}\n"
        f"{opened} incidents at a budget of {config.alerts.budget_per_day:g} a day in {days:.3g} days, "
        f"{ledger.count - opened} held back, {len(ledger.open)} still open; {seconds:.1f} s\n"
        f"{_table(trials, ledger.count)}{drawn}"
    )


class _Trial:
    """A smaller alert budget, applied to the same incidents for comparison.

    Parameters
    ----------
    share
        Share of the configured budget.
    per_day
        The configured budget.
    """

    def __init__(self, share: float, per_day: float) -> None:
        self.per_day = share * per_day
        # Strength is the root of the rarity over that at the configured budget.
        self._needed = math.sqrt(1.0 / share)
        self.sent: set[int] = set()

    def offer(self, candidates: list[tuple[int, float]]) -> None:
        """Count incidents that are rare enough or at a hard limit; see `Incidents.candidates`."""
        self.sent.update(number for number, strength in candidates if strength >= self._needed)


def _table(trials: list[_Trial], count: int) -> str:
    """Incidents that each budget would have sent, as two lines of text with a column a budget."""
    columns = [(f"{trial.per_day:g}", str(len(trial.sent))) for trial in trials] + [("all", str(count))]
    widths = [max(map(len, column)) + 2 for column in columns]
    lines = zip(("budget a day", "incidents"), zip(*columns, strict=True), strict=True)
    return "\n".join(
        f"{head:<12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for head, cells in lines
    )


def _write_lines(file: IO[str], alerts: Sequence[Alert], held: Sequence[HeldBack]) -> None:
    file.writelines(msgspec.json.encode(line).decode() + "\n" for line in (*alerts, *held))


def _described(columns: tuple[Channel, ...], config: Config) -> tuple[Channel, ...]:
    """Replace columns named like a channel of the configured sources by that channel; apply channel rules."""
    known = {}
    for part in config.sources:
        try:
            source = source_class(part.type)(part, config.interval_s)
        except EdgewatchError as error:
            # A recording may be replayed on a machine without its sources.
            _LOG.warning("channels of the source %s have default properties: it cannot be opened: %s", part.type, error)
            continue
        known.update({channel.name: channel for channel in source.channels})
        source.close()
    rules = ChannelRules(config.channels)
    return tuple(rules.applied(known.get(column.name, column)) for column in columns)


def _header(channels: tuple[Channel, ...]) -> str:
    names = [f"{channel.name}.{column}" for channel in channels for column in _COLUMNS]
    quoted = ['"' + name.replace('"', '""') + '"' if set(name) & set(',;"') else name for name in names]
    return ",".join(("timestamp", "score", "state_score", "anomalous", *quoted)) + "\n"


def _row(frame: Frame, verdict: Verdict) -> str:
    """Format a tick as a CSV row; numbers keep full precision, missing ones are empty."""
    score = verdict.score()
    columns = (verdict.value, *verdict.bounds(), score, np.full(score.size, verdict.threshold), verdict.state)
    cells = np.stack([np.asarray(column, np.float64) for column in columns], axis=1).ravel().tolist()
    anomalous = int(verdict.anomalous.any())
    head = f"{frame.wall!r},{float(score.max())!r},{verdict.state_score!r},{anomalous}"
    return head + "," + ",".join("" if math.isnan(cell) else repr(cell) for cell in cells) + "\n"


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[IO[str]]:
    """Open a file for writing; it gets its name only once it is complete."""
    try:
        with atomic_file(path, durable=False) as file, io.TextIOWrapper(file, encoding="utf-8") as text:
            yield text
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror or error}",
            location=str(path),
            remedy="check that the folder exists and is writable, and that the disk is not full",
        ) from error
