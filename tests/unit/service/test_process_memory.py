"""Memory of the agent's process."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys

import pytest

from agent.service.process_memory import give_back_memory, rss_mib, settle_memory

SCATTERED = """
from agent.service.process_memory import give_back_memory, rss_mib, settle_memory
pieces = [bytes(5000) for _ in range(20_000)]
kept = pieces[::200]
del pieces
before = rss_mib()
give_back_memory()
print(before - rss_mib())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library than glibc")
def test_what_was_freed_between_pieces_in_use_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCATTERED], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 50.0


def test_giving_back_where_there_is_nothing_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    give_back_memory()
    settle_memory()
    gc.unfreeze()
    assert rss_mib() > 1.0
