"""``python -m tools.benchmark NAME``: run a benchmark, print its figures, and write them to a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# One BLAS thread, as in the agent; must be set before numpy is imported.
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
    "step": "time of a step of ten channels, beside its bare TFLite invokes and Keras' model.predict",
    "footprint": "memory, CPU and start-up time of the daemon, beside other agents",
    "scale": "time and memory for up to 10,000 channels, also by MQTT, beside river's half-space trees",
    "sources": "time of a reading for each source; MQTT readings a second before a tick is late",
    "workarounds": "gain of each workaround that uses private parts of a library",
    "dashboard": "CPU and memory of the dashboard's server for a fleet, and frames a second of its page",
    "growth": "growth of memory over many steps",
    "kinds": "simulated anomalies: share found and share named correctly, by kind",
    "quantisation": "int8 against float32: scores on real series, file size; fused LSTM against Keras' conversion",
    "nab": "detection on the Numenta Anomaly Benchmark, beside published detectors",
    "parts": "benefit on NAB and cost a step of each part of the detector",
    "smd": "detection on the Server Machine Dataset, 13 machines, beside published detectors",
    "ucr": "detection on the UCR Anomaly Archive, beside published detectors",
    "skab": "detection on the Skoltech Anomaly Benchmark, valves, beside published detectors",
    "aiops": "events found in the KPIs of the AIOps challenge at one false alarm a day",
    "host": "stresses found on this machine; makes a recording of more than an hour first",
    "alerts": "alerts sent on public sets and simulated hosts: events told, delay, false alerts, all-clears, truth",
    "planetlab": "alerts a day on the CPU use of 1,052 virtual machines without labelled faults",
}


_COST = ("step", "footprint", "scale", "sources", "workarounds", "dashboard", "growth")
# Modules whose name differs from the command.
_FILES = {"parts": "ablation"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark and return the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m tools.benchmark", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="name", metavar="NAME")
    try:
        for name, text in BENCHMARKS.items():
            command = commands.add_parser(name, help=text, description=text)
            command.add_argument(
                "--output", type=Path, metavar="JSON", help="file for the figures; the table is written beside it"
            )
            if name in given[:1]:  # libraries of the other benchmarks may be missing
                with importing("evaluation"):
                    _module(name).add_arguments(command)
        options = parser.parse_args(given)
        figures: dict[str, Any] | Results = _module(options.name).run(options)
    except EdgewatchError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("benchmark: interrupted, nothing written", file=sys.stderr)
        return 130
    text = "" if isinstance(figures, dict) else _shown(figures)
    if options.output:
        _write(options.output, options.name, figures, text)
    return 0


def _module(name: str) -> Any:
    return import_module(f"tools.benchmark.{'cost' if name in _COST else 'accuracy'}.{_FILES.get(name, name)}")


def _shown(results: Results) -> str:
    """Print the table, and return it as Markdown."""
    from tools.benchmark.results import markdown, table  # noqa: PLC0415 - with the libraries of an extra
    from training.reports.page.terminal import console, show  # noqa: PLC0415 - the same

    show(table(results), results.title, console())
    return markdown(results)


def _write(output: Path, name: str, figures: dict[str, Any] | Results, text: str) -> None:
    """Write the figures as JSON and a non-empty table beside them as Markdown."""
    output.parent.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": name, "version": __version__, "machine": machine(), "figures": msgspec.to_builtins(figures)}
    output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"figures written to {output}")
    if text:
        beside = output.with_suffix(".md")
        beside.write_text(text, encoding="utf-8")
        print(f"table written to {beside}")


def machine() -> str:
    """Describe this machine: processor, number of cores, Python version."""
    return f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    raise SystemExit(main())
