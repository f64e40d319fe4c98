"""``python -m training evaluate``: measure detection on recordings and compare it with baselines."""

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

_SHOWN = 6  # recordings with charts of their own in the report
_THRESHOLDS = {str(kind.__struct_config__.tag): kind for kind in get_args(ThresholdConfig)}


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("evaluate", help="measure detection on labelled recordings, or count alarms")
    add_data(parser)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for metrics.json, report.html and *.png"
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="models (default: those of --config, else the builtin bundle)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the agent's configuration: detection and alerts")
    parser.add_argument(
        "--thresholds", type=comma_separated, default=(), metavar="A,B",
        help=f"thresholds to compare, of {', '.join(_THRESHOLDS)}; the first is the main detector",
    )  # fmt: skip
    parser.add_argument(
        "--combine",
        type=comma_separated,
        default=(),
        metavar="RULES",
        help="combinations of the thresholds to add: any,all,majority",
    )
    parser.add_argument(
        "--train-share", type=share, metavar="X",
        help="share of each recording for learning, not measured (default: from the data set, else the learning time)",
    )  # fmt: skip
    parser.add_argument("--label-window", type=natural, metavar="ROWS", help="also measure per window of ROWS rows")
    parser.add_argument(
        "--vus-buffer",
        type=natural,
        metavar="ROWS",
        help="largest buffer of VUS (default: median length of the anomalies)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Evaluate, write the results, and print the main figures."""
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
    out.print(f"all results: {options.output / 'report.html'} and metrics.json")


def _bundle(directory: Path | None, config: Config) -> Bundle:
    name = str(directory) if directory else config.models[0]
    return agent_bundle.load_builtin() if name == "builtin" else agent_bundle.load(Path(name))


def _plan(options: argparse.Namespace, config: Config) -> EvaluationPlan:
    from training.evaluation.evaluate import EvaluationPlan  # noqa: PLC0415 - an extra
    from training.evaluation.threshold_voting import RULES  # noqa: PLC0415 - imported with the rest

    for option, names, known in (
        ("--thresholds", options.thresholds, _THRESHOLDS),
        ("--combine", options.combine, RULES),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"unknown name {name!r}", location=option, remedy=f"choose from {', '.join(known)}")
    configured = config.detection.threshold
    named = [_THRESHOLDS[name] for name in dict.fromkeys(options.thresholds)]
    # The configured method keeps its parameters; the other methods have their defaults.
    thresholds = [configured if isinstance(configured, kind) else kind() for kind in named] or [configured]
    if options.combine and len(thresholds) == 1:
        raise UserError(
            "a single threshold cannot be combined", location="--combine", remedy="name two or more --thresholds"
        )
    return EvaluationPlan(
        detection=config.detection,
        alerts=config.alerts,
        thresholds=tuple(thresholds),
        rules=tuple(dict.fromkeys(options.combine)),
        train_share=options.train_share,
        label_window=options.label_window,
        vus_buffer=options.vus_buffer,
    )
