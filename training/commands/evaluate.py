"""``python -m training evaluate``: how good detection is on recordings, beside what needs no model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from agent.config import loader
from agent.config.schema import Config
from agent.core.errors import UserError
from agent.detection.settings import ThresholdConfig
from agent.models import loader as agent_bundle
from training.commands.arguments import comma_separated, natural, share
from training.commands.data import add_data, recordings
from training.files.atomic_folder import EVALUATION, refuse_foreign_folder, staged
from training.optional_imports import importing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from agent.models.bundle import Bundle
    from training.evaluation.evaluate import EvaluationPlan
    from training.evaluation.outcome import Outcome
    from training.reports.page.document import Section

__all__ = ["add"]

# Recordings that the report shows one by one.
_SHOWN = 6
_THRESHOLDS = {str(kind.__struct_config__.tag): kind for kind in get_args(ThresholdConfig)}


def add(commands: Any) -> None:
    """Put the command on the command line."""
    parser = commands.add_parser("evaluate", help="measure detection on labelled recordings, or count alarms")
    add_data(parser)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="for metrics.json, report.html, *.png"
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="models (default: the config's, else what ships)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the agent's configuration: detection and alerts")
    parser.add_argument(
        "--thresholds", type=comma_separated, default=(), metavar="A,B",
        help=f"compare several of {', '.join(_THRESHOLDS)}; the first is the main one",
    )  # fmt: skip
    parser.add_argument(
        "--combine", type=comma_separated, default=(), metavar="RULES", help="of the thresholds: any,all,majority"
    )
    parser.add_argument(
        "--train-share", type=share, metavar="X",
        help="share of each recording to learn from only (default: as the data says, else while the agent is silent)",
    )  # fmt: skip
    parser.add_argument("--label-window", type=natural, metavar="ROWS", help="measure per window of so many rows too")
    parser.add_argument(
        "--vus-buffer", type=natural, metavar="ROWS", help="for VUS (default: median length of the anomalies)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Evaluate, write, and print the figures that matter most."""
    with importing("evaluation"):
        from rich.progress import Progress  # noqa: PLC0415 - an extra

        from training.evaluation.evaluate import evaluate  # noqa: PLC0415 - the same
        from training.reports import evaluation as reports_evaluation  # noqa: PLC0415 - the same
        from training.reports.page import document  # noqa: PLC0415 - the same
        from training.reports.page.terminal import COLUMNS, console, show  # noqa: PLC0415 - the same

    refuse_foreign_folder(options.output, EVALUATION)
    config = loader.load(options.config) if options.config else Config()
    models, plan = _bundle(options.bundle, config), _plan(options, config)
    out = console()
    sections: list[Section] = []

    def seen(outcome: Outcome) -> None:
        if len(sections) < _SHOWN:
            sections.append(reports_evaluation.details(outcome, folded=bool(sections)))

    with Progress(*COLUMNS, console=out, transient=True) as progress:
        bar = progress.add_task("reading", total=None)

        def stage(name: str, rows: int) -> Callable[[int], object]:
            progress.reset(bar, total=rows, description=name)
            return lambda done: progress.advance(bar, done)

        evaluation, examined = evaluate(recordings(options), models, plan, stage, seen)
        progress.reset(bar, total=None, description="report")
        with staged(options.output, EVALUATION) as folder:
            text = msgspec.json.format(msgspec.json.encode(evaluation), indent=1)
            (folder / "metrics.json").write_bytes(text + b"\n")
            document.write(reports_evaluation.report(evaluation, examined, sections), folder)
    for title, table in reports_evaluation.short(evaluation):
        show(table, title, out)
    for why in evaluation.skipped.values():
        out.print(f"left out: {why}")
    out.print(f"{options.output / 'report.html'} shows all of it, metrics.json holds it")


def _bundle(directory: Path | None, config: Config) -> Bundle:
    name = str(directory) if directory else config.models[0]
    return agent_bundle.load_builtin() if name == "builtin" else agent_bundle.load(Path(name))


def _plan(options: argparse.Namespace, config: Config) -> EvaluationPlan:
    from training.evaluation.evaluate import EvaluationPlan  # noqa: PLC0415 - an extra
    from training.evaluation.threshold_voting import RULES  # noqa: PLC0415 - numpy only, but with the rest

    for option, names, known in (
        ("--thresholds", options.thresholds, _THRESHOLDS),
        ("--combine", options.combine, RULES),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"unknown {name!r}", location=option, remedy=f"known are {', '.join(known)}")
    configured = config.detection.threshold
    named = [_THRESHOLDS[name] for name in dict.fromkeys(options.thresholds)]
    # The config's own parameters hold for its own method, the defaults for the others.
    thresholds = [configured if isinstance(configured, kind) else kind() for kind in named] or [configured]
    if options.combine and len(thresholds) == 1:
        raise UserError("there is nothing to combine", location="--combine", remedy="name two or more --thresholds")
    return EvaluationPlan(
        detection=config.detection,
        alerts=config.alerts,
        thresholds=tuple(thresholds),
        rules=tuple(dict.fromkeys(options.combine)),
        train_share=options.train_share,
        label_window=options.label_window,
        vus_buffer=options.vus_buffer,
    )
