from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from agent.delivery import outbox as outbox_module
from agent.delivery.outbox import Outbox
from agent.delivery.outbox_store import OutboxStore
from agent.messages.alert import Alert
from tests.support.alerts import alert
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def waiting(outbox: Outbox) -> list[Alert]:
    return [msgspec.json.decode(payload, type=Alert) for _, payload in outbox.pending(0, 1_000_000)]


def seqs(outbox: Outbox) -> list[int]:
    return [a.seq for a in waiting(outbox)]


def take(outbox: Outbox, *which: int) -> None:
    outbox.acknowledge([rowid for rowid, payload in outbox.pending(0, 1000) if alert_seq(payload) in which])


def alert_seq(payload: bytes) -> int:
    return msgspec.json.decode(payload, type=Alert).seq


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A switch that makes every write fail as on a full disk."""
    state = {"full": False, "tries": 0}
    insert = OutboxStore.insert

    def maybe(self: OutboxStore, rows: Any, meta: Any) -> None:
        if state["full"]:
            state["tries"] += 1
            raise OSError("database or disk is full")
        insert(self, rows, meta)

    monkeypatch.setattr(OutboxStore, "insert", maybe)
    monkeypatch.setattr(outbox_module, "_RETRY_S", 0.0)
    return state


def test_alerts_wait_in_order_until_acknowledged(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([alert(1), alert(2)])
    outbox.append([alert(3)])
    assert seqs(outbox) == [1, 2, 3]
    (first, _), (_, second) = outbox.pending(0, 2)
    assert outbox.pending(first, 1)[0][1] == second
    take(outbox, 1, 3)
    assert seqs(outbox) == [2]
    assert outbox.depth == 1


def test_what_waits_numbering_incidents_and_instance_survive_a_restart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "deep" / "state")
    outbox.append([alert(1), alert(2)], b"two are open")
    instance = outbox.instance
    outbox.close()
    again = Outbox(tmp_path / "deep" / "state")
    assert (again.next_seq, again.instance, again.depth, again.incidents) == (3, instance, 2, b"two are open")
    assert all(a.replayed for a in waiting(again))
    again.append([alert(3)])
    assert [a.replayed for a in waiting(again)] == [True, True, False]


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom agent.delivery.outbox import Outbox\n"
        "from tests.support.alerts import alert\n"
        f"outbox = Outbox(Path({str(tmp_path)!r}))\noutbox.append([alert(outbox.next_seq)])\nos.kill(os.getpid(), 9)\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    outbox = Outbox(tmp_path)
    assert seqs(outbox) == [1, 2, 3]
    assert outbox.next_seq == 4


def test_when_full_the_oldest_of_the_lowest_severity_go_first_and_are_counted(tmp_path: Path) -> None:
    size = len(msgspec.json.encode(alert(1, "critical", "x" * 500)))
    outbox = Outbox(tmp_path, max_bytes=round(4.2 * size))
    for seq, severity in enumerate(["critical", "info", "warning", "info", "critical", "warning"], 1):
        outbox.append([alert(seq, severity, "x" * 500)])
    assert seqs(outbox) == [1, 3, 5, 6]
    assert outbox.dropped == 2
    outbox.append([alert(7, "critical", "x" * 500)])
    outbox.close()
    assert Outbox(tmp_path).dropped == 3  # also after a restart


def test_what_is_too_old_is_dropped_but_not_what_a_wrong_clock_dated(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, max_age_s=3600.0)
    outbox.append([alert(1, ts=1_000_000.0), alert(2), alert(3, ts=4e9), alert(4, ts=1_000_000.0)])
    outbox.tend()
    assert seqs(outbox) == [2, 3, 4]  # the fourth is seen when the third is gone
    assert outbox.dropped == 1


def test_a_file_that_is_no_database_is_put_aside_and_a_new_one_begun(tmp_path: Path, caplog: Any) -> None:
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


def test_a_database_without_its_first_page_gives_back_every_alert_that_it_holds(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([alert(seq, summary="x" * 300) for seq in range(1, 200)], b"state")
    take(outbox, 1, 2, 3)
    outbox.close()
    path = tmp_path / "outbox.db"
    path.write_bytes(bytes(4096) + path.read_bytes()[4096:])
    again = Outbox(tmp_path)
    assert seqs(again) == list(range(4, 200))
    assert (again.next_seq, again.incidents) == (200, b"state")


def test_without_a_directory_to_write_alerts_are_kept_in_memory(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "file").write_text("")
    outbox = Outbox(tmp_path / "file" / "state")
    outbox.append([alert(1)])
    assert not outbox.durable
    assert seqs(outbox) == [1]
    assert "kept in memory" in caplog.text


def test_a_directory_that_comes_back_takes_what_was_in_memory_and_keeps_what_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_RETRY_S", 0.0)
    before = Outbox(tmp_path / "state")
    before.append([alert(1, summary="before"), alert(2, summary="before")])
    before.close()
    shutil.move(tmp_path / "state", tmp_path / "away")
    (tmp_path / "state").write_text("in the way")
    outbox = Outbox(tmp_path / "state")
    outbox.append([alert(1, summary="meanwhile")])
    (tmp_path / "state").unlink()
    shutil.move(tmp_path / "away", tmp_path / "state")
    outbox.tend()
    assert outbox.durable
    assert [a.summary for a in waiting(outbox)] == ["before", "before", "meanwhile"]
    assert outbox.instance != before.instance  # the same numbers must not make the same identifiers


def test_a_full_disk_is_waited_for_and_nothing_is_lost(tmp_path: Path, failing_disk: Any, caplog: Any) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([alert(1)])
    failing_disk["full"] = True
    outbox.append([alert(2)])
    outbox.append([alert(3)])
    assert not outbox.durable
    assert seqs(outbox) == [1, 2, 3]
    assert caplog.text.count("disk is full") == 1
    failing_disk["full"] = False
    outbox.tend()
    assert outbox.durable
    outbox.close()
    assert seqs(Outbox(tmp_path)) == [1, 2, 3]


def test_a_full_disk_gets_the_reserve_back_before_anything_stays_in_memory(tmp_path: Path, failing_disk: Any) -> None:
    outbox = Outbox(tmp_path)
    assert (tmp_path / "ballast").stat().st_size == 256 << 10
    failing_disk["full"] = True
    outbox.append([alert(1)])
    assert not (tmp_path / "ballast").exists()
    assert failing_disk["tries"] == 2  # once with the ballast, once without


def test_what_a_failing_disk_leaves_in_memory_is_bounded(
    tmp_path: Path, failing_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_MAX_MEMORY", 20_000)
    outbox = Outbox(tmp_path)
    failing_disk["full"] = True
    for seq in range(1, 101):
        outbox.append([alert(seq, "critical" if seq % 10 == 0 else "info", "x" * 500)])
    kept = seqs(outbox)
    assert 10 < len(kept) < 40
    assert outbox.dropped == 100 - len(kept)
    assert set(range(10, 101, 10)) <= set(kept)


def test_an_alert_whose_bytes_have_changed_is_not_sent_but_counted(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([alert(seq) for seq in (1, 2, 3)])
    with sqlite3.connect(tmp_path / "outbox.db") as other:
        rowid, record = other.execute("SELECT place, record FROM alert ORDER BY place LIMIT 1").fetchone()
        other.execute(
            "UPDATE alert SET record = ? WHERE place = ?", (record.replace(b"n-i-000001", b"n-i-000002"), rowid)
        )
    other.close()
    assert seqs(outbox) == [2, 3]
    assert (outbox.depth, outbox.dropped) == (2, 1)


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_stops_the_outbox_and_whole_alerts_are_kept(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outbox = Outbox(tmp_path)
    outbox.append([alert(seq, summary="x" * 200) for seq in range(1, 60)], b"state")
    outbox.close()
    path = tmp_path / "outbox.db"
    content = bytearray(path.read_bytes())
    damage(rng, content)
    path.write_bytes(content)
    held = {seq for seq in range(1, 60) if msgspec.json.encode(alert(seq, summary="x" * 200)) in bytes(content)}
    again = Outbox(tmp_path)
    again.append([alert(max(again.next_seq, 100))])
    kept = set(seqs(again))
    assert max(kept) >= 100
    # A change may also hit a record's marker or checksum: at most one alert is lost for each.
    assert len(held - kept) <= CHANGES


CHANGES = 8


def damage(rng: np.random.Generator, content: bytearray) -> None:
    """Change up to eight bytes or runs of bytes, or cut the end off."""
    for _ in range(int(rng.integers(1, CHANGES + 1))):
        start = int(rng.integers(len(content)))
        length = int(rng.choice((1, 1, 1, 16, 64)))
        content[start : start + length] = rng.bytes(len(content[start : start + length]))
    if rng.random() < 0.1:
        del content[int(rng.integers(4096, len(content))) :]
