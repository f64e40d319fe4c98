"""``python -m tools.fault_injection [NAME…]``: run all experiments in full, or the named ones."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.errors import EdgewatchError
from tools.fault_injection import backlog, disk, gateway, kill, network, soak
from tools.fuzzing import fuzz
from tools.testing.findings import Findings

if TYPE_CHECKING:
    from collections.abc import Callable

_EXPERIMENTS: dict[str, Callable[[Findings, Path], None]] = {
    "kill": lambda findings, folder: kill.run(findings, folder, rounds=2000),
    "backlog": lambda findings, folder: backlog.run(findings, folder, alerts=100_000),
    "network": lambda findings, folder: network.run(findings, folder, storm_s=15.0, rounds=2),
    "full": disk.fill,
    "damage": lambda findings, folder: disk.damage(findings, folder, rounds=2000),
    "fuzz": lambda findings, folder: fuzz.run(findings, folder, inputs=1_000_000, seconds=40.0),
    "gateway": lambda findings, folder: gateway.run(findings, folder, sensors=2000, hours=10.0),
    "soak": lambda findings, folder: soak.run(findings, folder, days=30.0),
}


def main() -> int:
    """Run the experiments in turn; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tools.fault_injection", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_EXPERIMENTS)}; all by default")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in _EXPERIMENTS]
    if unknown:
        parser.error(f"unknown experiment {unknown[0]!r}")
    broken = []
    for name in options.names or _EXPERIMENTS:
        begin = time.monotonic()
        findings = Findings(name)
        with tempfile.TemporaryDirectory(prefix="edgewatch-faults-") as folder:
            try:
                _EXPERIMENTS[name](findings, Path(folder))
            except EdgewatchError as error:
                print(f"   skipped: {error}", flush=True)
        findings.figure("seconds", round(time.monotonic() - begin, 1))
        broken += [f"{name}: {promise}" for promise in findings.broken]
    for promise in broken:
        print(f"BROKEN {promise}", flush=True)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
