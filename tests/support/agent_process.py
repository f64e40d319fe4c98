from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path


class AgentProcess:
    """The daemon as a process of its command line."""

    def __init__(self, config: Path, *arguments: str) -> None:
        self.log = config.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "run", "--config", str(config), *arguments],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def words(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def end(self, timeout_s: float = 5.0) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout_s)
