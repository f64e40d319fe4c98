"""``python -m tools.behaviour``: compare the agent's behaviour with the stored digest, bit for bit.

Exit codes: 0 no difference, 1 differences, 2 invalid arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# One BLAS thread, as in the agent; must be set before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tools.behaviour import stored as storing
from tools.behaviour.comparing import exactly, within
from tools.behaviour.driving import PACKAGE
from tools.behaviour.fingerprint import fingerprint
from tools.behaviour.outcome import digest, write
from tools.behaviour.public import data_folder
from tools.behaviour.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.behaviour.scenarios import Scenario

__all__ = ["compared", "how_to_compare", "main"]


def how_to_compare(machine: Mapping[str, str], stored: Mapping[str, str]) -> tuple[bool, str]:
    """Decide whether digests must agree bit for bit; give the decision and its reason in one line.

    Parameters
    ----------
    machine, stored
        Fingerprints of this machine's arithmetic and of the stored digest's.
    """
    others = [name for name in machine if machine[name] != stored.get(name)]
    if not others:
        return True, "compared bit for bit: same arithmetic as on the machine of the stored digest"
    if "models" in others:
        # Other networks give other answers anyway; library versions and functions still tell machines apart.
        others = [name for name in others if name not in {"models", "networks"}]
        if not others:
            return True, "compared bit for bit: same arithmetic, other shipped networks"
    return False, f"compared within tolerances: arithmetic differs on this machine ({', '.join(others)})"


def compared(new: Mapping[str, Any], before: Mapping[str, Any] | None, *, exact: bool) -> list[str]:
    """List the differences between a new digest of a scenario and the stored one."""
    if before is None:
        return ["no digest is stored: store one with --update"]
    return exactly(new, before) if exact else within(new, before)


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Run scenarios, compare or store their digests, and return the exit code."""
    options = _parser().parse_args(arguments)
    unknown = [name for name in options.only if name not in SCENARIOS]
    if unknown:
        say(f"unknown scenario {unknown[0]!r}; choose from {', '.join(SCENARIOS)}")
        return 2
    stored, machine = storing.read(options.stored), fingerprint(PACKAGE)
    exact, how = how_to_compare(machine, stored["fingerprint"])
    scenarios = [SCENARIOS[name] for name in options.only] or list(SCENARIOS.values())
    if options.update:
        return _update(scenarios, stored, machine, options, say)
    say(how)
    # A stored scenario that no longer exists counts as a difference.
    gone = [] if options.only else [name for name in stored["scenarios"] if name not in SCENARIOS]
    for name in gone:
        say(f"{name}: stored, but no longer defined; remove it with --update")
    differing = len(gone)
    for scenario in scenarios:
        new, seconds = _run(scenario, options, say)
        if new is None:
            continue
        differences = compared(new, stored["scenarios"].get(scenario.name), exact=exact)
        differing += bool(differences)
        say(_line(scenario, new, seconds, "DIFFERS" if differences else "same" if exact else "alike"))
        for line in differences:
            say(f"    {line}")
    if differing:
        say(f"{differing} of {len(scenarios)} scenarios differ; --dump DIR writes the full outputs for diff -r")
    return 1 if differing else 0


def _run(
    scenario: Scenario, options: argparse.Namespace, say: Callable[[str], None]
) -> tuple[dict[str, Any] | None, float]:
    """Run a scenario; give its digest, None if its public data are missing, and the seconds it took."""
    missing = scenario.missing(options.data)
    if missing:
        say(f"{scenario.name:<22} skipped: {missing}")
        return None, 0.0
    begin = time.perf_counter()
    outcome = scenario.outcome(options.data)
    seconds = time.perf_counter() - begin
    if options.dump:
        write(outcome, options.dump / scenario.name)
    return digest(outcome), seconds


def _line(scenario: Scenario, new: Mapping[str, Any], seconds: float, verdict: str) -> str:
    summary = new["summary"]
    return (
        f"{scenario.name:<22} {verdict:<8} {summary['rows']:>5} rows {len(summary['incidents']):>3} messages "
        f"{seconds:>5.1f} s  {scenario.about}"
    )


def _update(
    scenarios: Sequence[Scenario],
    stored: dict[str, Any],
    machine: dict[str, str],
    options: argparse.Namespace,
    say: Callable[[str], None],
) -> int:
    """Store new digests; keep those of scenarios that were not run if they have the same fingerprint."""
    kept = {name: each for name, each in stored["scenarios"].items() if name in SCENARIOS}
    made = {}
    for scenario in scenarios:
        new, seconds = _run(scenario, options, say)
        if new is not None:
            made[scenario.name] = new
            is_same = not compared(new, kept.get(scenario.name), exact=True)
            say(_line(scenario, new, seconds, "same" if is_same else "stored"))
    left = kept.keys() - made.keys()
    if left and stored["fingerprint"] != machine:
        say(f"nothing was stored: {min(left)} was not run, and its digest is from a machine with other arithmetic")
        return 2
    order = [name for name in SCENARIOS if name in made or name in kept]
    scenarios_now = {name: made.get(name) or kept[name] for name in order}
    storing.write({"format": storing.FORMAT, "fingerprint": machine, "scenarios": scenarios_now}, options.stored)
    say(f"wrote {options.stored}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.behaviour", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="run only these scenarios")
    parser.add_argument("--update", action="store_true", help="store the digests instead of comparing them")
    parser.add_argument("--dump", type=Path, metavar="DIR", help="write the full outputs, to compare two checkouts")
    parser.add_argument("--data", type=Path, metavar="DIR", default=data_folder(), help="folder of public data")
    parser.add_argument("--stored", type=Path, metavar="JSON", default=storing.STORED, help="file of the stored digest")
    return parser


if __name__ == "__main__":
    sys.exit(main())
