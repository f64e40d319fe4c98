"""``python -m tools.benchmark NAME``: runs one benchmark, prints it, and writes its figures as JSON if asked to."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# As the agent does, before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec

from agent import __version__
from agent.core.errors import EdgewatchError
from training.export.processor import processor
from training.optional_imports import importing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.benchmark.results import Results

BENCHMARKS = {
    "step": "one step of ten channels against its bare invokes, and against Keras' model.predict",
    "footprint": "memory, CPU and start-up of the daemon, beside other agents where they can be had",
    "scale": "what many channels cost, to 10,000 by MQTT; beside river's half-space trees",
    "sources": "what reading costs, by source; how many MQTT readings a second before a tick is late",
    "workarounds": "the gain of each work-around that reaches into a library's private parts",
    "dashboard": "a fleet on the dashboard: its server's CPU time and memory, the page's frames a second",
    "growth": "memory after many steps against memory after few",
    "kinds": "anomalies of each simulated kind: how many lead to an alert, how many are called by their right name",
    "quantisation": "int8 against float32: scores over real series, size; the fused LSTM against Keras' own conversion",
    "nab": "detection on the Numenta Anomaly Benchmark, beside published detectors",
    "parts": "what each part of the detector buys on NAB, and what it costs in a step",
    "smd": "detection on the Server Machine Dataset, 13 machines, beside published detectors",
    "ucr": "detection on the UCR Anomaly Archive, beside published detectors",
    "skab": "detection on the Skoltech Anomaly Benchmark, valves, beside published detectors",
    "aiops": "events found in the KPIs of the AIOps challenge at one false alarm a day",
    "host": "stresses found on this machine, which it records for more than an hour first",
    "planetlab": "alerts a day on the CPU use of 1,052 virtual machines that nobody complained of",
}


_COST = ("step", "footprint", "scale", "sources", "workarounds", "dashboard", "growth")
# Commands whose file has another name.
_FILES = {"parts": "ablation"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m tools.benchmark", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="name", metavar="NAME")
    try:
        for name, text in BENCHMARKS.items():
            command = commands.add_parser(name, help=text, description=text)
            command.add_argument("--output", type=Path, metavar="JSON", help="where to write the figures")
            if name in given[:1]:  # the libraries of the others may not be there
                with importing("evaluation"):
                    _module(name).add_arguments(command)
        options = parser.parse_args(given)
        figures: dict[str, Any] | Results = _module(options.name).run(options)
    except EdgewatchError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("benchmark: interrupted, nothing is written", file=sys.stderr)
        return 130
    text = "" if isinstance(figures, dict) else _shown(figures)
    if options.output:
        _write(options.output, options.name, figures, text)
    return 0


def _module(name: str) -> Any:
    return import_module(f"tools.benchmark.{'cost' if name in _COST else 'accuracy'}.{_FILES.get(name, name)}")


def _shown(results: Results) -> str:
    """Print the table; give it as Markdown."""
    from tools.benchmark.results import markdown, table  # noqa: PLC0415 - with the libraries of an extra
    from training.reports.page.terminal import console, show  # noqa: PLC0415 - the same

    show(table(results), results.title, console())
    return markdown(results)


def _write(output: Path, name: str, figures: dict[str, Any] | Results, text: str) -> None:
    """Write figures as JSON and the table, if there is one, beside it as Markdown."""
    output.parent.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": name, "version": __version__, "machine": machine(), "figures": msgspec.to_builtins(figures)}
    output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"written to {output}")
    if text:
        beside = output.with_suffix(".md")
        beside.write_text(text, encoding="utf-8")
        print(f"its table to {beside}")


def machine() -> str:
    """Processor, cores and Python of this machine, as results state them."""
    return f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    raise SystemExit(main())
