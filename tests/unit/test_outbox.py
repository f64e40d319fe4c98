from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.outbox import Outbox
from agent.types import Alert
from tests.conftest import ROOT


def alert(seq: int, severity: Any = "warning", summary: str = "") -> Alert:
    return Alert(1, f"n-i-{seq:06d}", seq, "n", "open", severity, 0.0, 0.0, False, 1.0, 0.995, (), summary, "m")


def seqs(outbox: Outbox) -> list[int]:
    return [seq for seq, _ in outbox.pending(0, 1000)]


def test_alerts_wait_in_order_until_acknowledged(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([alert(1), alert(2)])
    outbox.append([alert(3)])
    assert seqs(outbox) == [1, 2, 3]
    assert [seq for seq, _ in outbox.pending(1, 1)] == [2]
    outbox.acknowledge([1, 3])
    assert seqs(outbox) == [2]
    assert outbox.depth == 1


def test_what_waits_numbering_and_instance_survive_a_restart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "deep" / "state")
    outbox.append([alert(1), alert(2)])
    instance = outbox.instance
    outbox.close()
    again = Outbox(tmp_path / "deep" / "state")
    assert (again.next_seq, again.instance, again.depth) == (3, instance, 2)
    payloads = [msgspec.json.decode(payload, type=Alert) for _, payload in again.pending(0, 10)]
    assert all(p.replayed for p in payloads)
    again.append([alert(3)])
    assert not msgspec.json.decode(again.pending(2, 1)[0][1], type=Alert).replayed


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom agent.outbox import Outbox\n"
        "from tests.unit.test_outbox import alert\n"
        f"outbox = Outbox(Path({str(tmp_path)!r}))\noutbox.append([alert(outbox.next_seq)])\nos.kill(os.getpid(), 9)\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    outbox = Outbox(tmp_path)
    assert seqs(outbox) == [1, 2, 3]
    assert outbox.next_seq == 4


def test_when_full_the_oldest_of_the_lowest_severity_go_first_and_are_counted(tmp_path: Path) -> None:
    size = len(msgspec.json.encode(alert(1, "critical", "x" * 500)))
    outbox = Outbox(tmp_path, max_bytes=4 * size)
    for seq, severity in enumerate(["critical", "info", "warning", "info", "critical", "warning"], 1):
        outbox.append([alert(seq, severity, "x" * 500)])
    assert seqs(outbox) == [1, 3, 5, 6]
    assert outbox.dropped == 2


def test_a_damaged_file_is_put_aside_and_a_new_one_begun(tmp_path: Path, caplog: Any) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([alert(1)])
    outbox.close()
    (tmp_path / "outbox.db").write_bytes(b"no database at all" * 100)
    fresh = Outbox(tmp_path)
    fresh.append([alert(1)])
    assert fresh.durable
    assert seqs(fresh) == [1]
    assert (tmp_path / "outbox.damaged").exists()
    assert "damaged" in caplog.text


def test_without_a_directory_to_write_alerts_are_kept_in_memory(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "file").write_text("")
    outbox = Outbox(tmp_path / "file" / "state")
    outbox.append([alert(1)])
    assert not outbox.durable
    assert seqs(outbox) == [1]
    assert "kept in memory" in caplog.text


def test_when_the_disk_fails_what_was_there_goes_on_in_memory(tmp_path: Path, caplog: Any) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([alert(1)])
    outbox._connection.execute("PRAGMA query_only = ON")
    outbox.append([alert(2)])
    assert seqs(outbox) == [1, 2]
    assert not outbox.durable
    assert "cannot write" in caplog.text


@pytest.mark.parametrize("position", range(0, 12_000, 1500))
def test_a_flipped_byte_never_stops_the_outbox(tmp_path: Path, position: int) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([alert(seq) for seq in range(1, 30)])
    outbox.close()
    path = tmp_path / "outbox.db"
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 0xFF
    path.write_bytes(content)
    try:
        again = Outbox(tmp_path)
        again.append([alert(max(again.next_seq, 100))])
        assert again.pending(99, 10)
    except sqlite3.Error as error:
        pytest.fail(f"{error}")
