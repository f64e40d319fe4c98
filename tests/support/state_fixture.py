"""Write the state directory of this version of the agent: `python -m tests.support.state_fixture DIR`.

Each release adds one under ``tests/fixtures/state/<version>/``, written from a checkout of that release. A later agent
must continue from every one of them: see ``tests/integration/test_upgrade.py``.

The daemon runs over a deterministic recording with a clock that jumps from tick to tick. No broker listens, so all
alerts stay in the outbox. The recording ends in the middle of an incident.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.loader import parse
from agent.core.clock import ManualClock
from agent.delivery.outbox import Outbox
from agent.service.daemon import Daemon

#: Seconds since 1970 of the first reading.
START = 1_780_000_000.0
#: Rows before the stop, and rows that a later version is given to continue with.
LEARNED, CONTINUED = 1500, 400

#: Configurations by name: channels of one pace, and channels of two paces.
CONFIGS = {
    "one_pace": "sources: [{{type: csv, path: {csv}}}]\n",
    "two_paces": "sources: [{{type: csv, path: {csv}}}, {{type: csv, path: {slow}, interval_s: 5}}]\n",
}
_COMMON = (
    "node: upgraded\n"
    "state_dir: {state}\n"
    "interval_s: 1\n"
    "mqtt: {{port: 1}}\n"  # nothing listens there
    "outbox: {{max_age_s: 1000000000}}\n"  # the recording is of the past
    "detection: {{block_s: 1}}\n"
    "alerts: {{learning_s: 120, confirm_s: 3, clear_s: 5, merge_s: 10, cooldown_s: 20, budget_per_day: 1000000}}\n"
    "channels: [{{names: [disk], log_reference: 1000, effect: 1.5, unit: B/s}}, {{names: [load], effect: 1}}]\n"
)


def readings() -> np.ndarray:
    """Make the recording, float64[LEARNED + CONTINUED, 3]: load, disk and a temperature that follows the load."""
    rng = np.random.default_rng(11)
    n = LEARNED + CONTINUED
    rows = np.arange(n)
    load = 30.0 + 8.0 * np.sin(rows / 40.0) + rng.normal(0.0, 1.0, n)
    disk = 5000.0 * np.exp(rng.normal(0.0, 0.3, n))
    temperature = 40.0 + 0.3 * load + rng.normal(0.0, 0.4, n)
    load[700:730] += 50.0
    disk[1100:1130] *= 60.0
    load[LEARNED - 20 : LEARNED + 60] += 45.0  # open when the agent stops
    temperature[LEARNED + 200 : LEARNED + 240] += 25.0
    disk[200:210] = np.nan
    return np.stack((load, disk, temperature), axis=1)


def write_csv(path: Path, rows: np.ndarray, names: tuple[str, ...], first: int, step: int = 1) -> None:
    """Write rows as a CSV file; NaN as an empty cell."""
    lines = [",".join(("time", *names))]
    for number, row in enumerate(rows):
        cells = ["" if np.isnan(value) else f"{value:.4f}" for value in row]
        lines.append(",".join((f"{START + first + number * step:.0f}", *cells)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(name: str, state: Path, workspace: Path, part: slice, wall: float) -> None:
    """Run the daemon over a part of the recording to its end, continuing from ``state``."""
    rows = readings()[part]
    first = part.start or 0
    csv, slow = workspace / "readings.csv", workspace / "slow.csv"
    write_csv(csv, rows, ("load", "disk", "temperature"), first)
    write_csv(slow, rows[::5, 2:] + 1.0, ("outside",), first, 5)
    text = (_COMMON + CONFIGS[name]).format(state=state, csv=csv, slow=slow)
    Daemon(parse(text.encode()), ManualClock(wall)).run()


def waiting(state: Path) -> list[dict[str, Any]]:
    """Read the alerts that wait in a state directory, oldest first."""
    outbox = Outbox(state, 1_000_000, 1e9)
    try:
        return [json.loads(payload) for _, payload in outbox.pending(0, 1000)]
    finally:
        outbox.close()


def main(target: Path) -> None:
    """Write one state directory a configuration."""
    workspace = target / "workspace"
    workspace.mkdir(parents=True)
    for name in CONFIGS:
        run(name, target / name, workspace, slice(LEARNED), START)
        for ballast in (target / name).glob("*ballast*"):
            ballast.unlink()
    shutil.rmtree(workspace)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
