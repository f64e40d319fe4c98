"""``python -m tools.docs.coverage_table``: writes the coverage of each part of the agent into ``docs/development.md``.

Run it after ``make coverage``, whose last measurement it reads. One row for each module or package directly in
``agent/``; branches are what a decision may lead to.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main", "table", "updated"]

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs" / "development.md"
_BLOCK = re.compile(r"(<!-- coverage -->\n).*?(<!-- end -->)", re.DOTALL)
_COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def table(report: Mapping[str, Any]) -> str:
    """Make the table of a report.

    Parameters
    ----------
    report
        Report of ``coverage json``, measured with branches.

    Examples
    --------
    >>> counts = {"num_statements": 40, "covered_lines": 30, "num_branches": 0, "covered_branches": 0}
    >>> print(table({"files": {"agent/sources/csv.py": {"summary": counts}}}))
    | part | statements | run | branches | taken |
    |---|---:|---:|---:|---:|
    | `agent/sources/` | 40 | 75 % | 0 | |
    | **all** | 40 | 75 % | 0 | |
    <BLANKLINE>
    """
    parts: dict[str, Counter[str]] = {}
    for name, file in sorted(report["files"].items()):
        path = PurePath(name)
        part = f"`{path}`" if len(path.parts) == 2 else f"`{'/'.join(path.parts[:2])}/`"
        counts = {key: file["summary"][key] for key in _COUNTS}
        for row in (part, "**all**"):
            parts.setdefault(row, Counter()).update(counts)
    total = parts.pop("**all**")
    rows = [_row(part, counts) for part, counts in [*sorted(parts.items()), ("**all**", total)]]
    return "\n".join(["| part | statements | run | branches | taken |", "|---|---:|---:|---:|---:|", *rows, ""])


def _row(part: str, counts: Mapping[str, int]) -> str:
    statements, lines, branches, taken = (counts[key] for key in _COUNTS)
    return f"| {part} | {statements} |{_percent(lines, statements)} | {branches} |{_percent(taken, branches)} |"


def _percent(part: int, whole: int) -> str:
    return f" {100 * part // whole} %" if whole else ""


def updated(text: str, report: Mapping[str, Any]) -> str:
    """Fill a page's table."""
    return _BLOCK.sub(lambda match: f"{match[1]}{table(report)}{match[2]}", text)


def main() -> int:
    """Write the table into the page; gives the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        command = [sys.executable, "-m", "coverage", "json", "--quiet", "--fail-under=0", "-o", str(path)]
        done = subprocess.run(command, cwd=_ROOT, check=False)
        if done.returncode:
            print("coverage_table: no measurement here: make coverage", file=sys.stderr)
            return 2
        report = json.loads(path.read_text(encoding="utf-8"))
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
