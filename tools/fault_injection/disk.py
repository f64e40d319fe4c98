"""Full, read-only and damaged disks: the agent continues, and no intact alert is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.core.errors import EnvironmentFault
from agent.core.persistent_state import Unusable
from agent.delivery import outbox as outbox_module
from agent.delivery.outbox import Outbox
from agent.messages.alert import Alert
from agent.service import snapshot_file
from agent.service.snapshot_file import FORMAT, Moment, Saved
from tools.testing.alerts import alert

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.testing.findings import Findings

__all__ = ["damage", "fill"]

# Alerts in the outbox that is damaged, and changes to it at most; chosen by hand.
_WAITING = 60
_MOST_CHANGES = 8
# Alerts left of 2000 after the broker acknowledged fifty.
_LEFT = 1950


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small file system in memory during the block.

    Raises
    ------
    EnvironmentFault
        Mounting is not permitted.
    """
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        raise EnvironmentFault(f"cannot mount a file system: {mounted.stderr.strip()}", remedy="run it as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Let the outbox retry a failed disk at every call instead of twice a minute."""
    usual, outbox_module._RETRY_S = outbox_module._RETRY_S, 0.0  # noqa: SLF001 - only needed here
    try:
        yield
    finally:
        outbox_module._RETRY_S = usual  # noqa: SLF001 - as above


def fill(findings: Findings, folder: Path) -> None:
    """Fill the disk of an outbox, free it, make it read-only, and make it writable again."""
    with _impatient(), _small_disk(folder / "disk", "24m") as disk:
        outbox = Outbox(disk / "state")
        outbox.append([alert(seq) for seq in range(1, 101)], b"100")
        filler = disk / "filler"
        _fill(filler)
        for seq in range(101, 2001):
            outbox.append([alert(seq)], b"%d" % seq)
        findings.figure("alerts kept in memory while the disk is full", outbox.depth - _on_disk(outbox))
        findings.promise("full: all alerts are still queued", _waiting(outbox) == list(range(1, 2001)))
        findings.promise("full: durable is false", not outbox.durable)
        outbox.acknowledge([rowid for rowid, _ in outbox.pending(0, 50)])
        filler.unlink()
        outbox.tend()
        findings.promise("space again: durable is true", outbox.durable)
        outbox.close()
        outbox = Outbox(disk / "state")
        kept = _waiting(outbox)
        findings.promise("space again: all alerts are on disk", kept[-_LEFT:] == list(range(51, 2001)))
        findings.promise("space again: the latest state of the incidents is on disk", outbox.incidents == b"2000")

        outbox.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        outbox = Outbox(disk / "state")
        outbox.append([alert(1)])
        findings.promise(
            "read-only: alerts are queued in memory and durable is false", outbox.depth >= 1 and not outbox.durable
        )
        try:
            snapshot_file.write(disk / "state" / "s", _SAVED, {})
            code = 0
        except OSError as error:
            code = error.errno or 0
        findings.promise("read-only: a failed snapshot gives its reason", code == errno.EROFS)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        outbox.tend()
        findings.promise("writable again: old and new alerts are on disk", outbox.durable and outbox.depth == _LEFT + 1)
        outbox.close()


def damage(findings: Findings, folder: Path, *, rounds: int) -> None:
    """Change random bytes of an outbox and of a snapshot, and open them."""
    sound = folder / "sound"
    outbox = Outbox(sound)
    outbox.append([alert(seq) for seq in range(1, _WAITING + 1)], b"state")
    outbox.close()
    content = (sound / "outbox.db").read_bytes()
    payloads = {seq: msgspec.json.encode(alert(seq)) for seq in range(1, _WAITING + 1)}
    rng = np.random.default_rng(0)
    lost, stopped, with_incidents = 0, 0, 0
    for number in range(rounds):
        changed, changes = _damage(rng, content)
        state = folder / f"outbox{number}"
        state.mkdir()
        (state / "outbox.db").write_bytes(changed)
        intact = {seq for seq, payload in payloads.items() if payload in changed}
        try:
            again = Outbox(state)
            again.append([alert(1000)])
            kept = set(_waiting(again))
            again.close()
        except Exception:  # noqa: BLE001 - any exception is a finding
            stopped += 1
            continue
        with_incidents += again.incidents is not None
        # A change may hit the marker of a record instead of its payload: it loses at most one alert.
        lost += max(0, len(intact - kept) - changes)
        findings.progress(number, 2 * rounds)
    findings.figure("damaged outboxes", rounds)
    findings.promise("outbox: no damage stops the agent", stopped == 0)
    findings.promise("outbox: no intact alert is lost", lost == 0)
    _damage_snapshots(findings, folder, rounds)


def _damage_snapshots(findings: Findings, folder: Path, rounds: int) -> None:
    rng = np.random.default_rng(1)
    path = folder / "s"
    snapshot_file.write(path, _SAVED, {"array": rng.normal(size=(20, 64)), "part": {"list": [{"x": 1}], "text": "t"}})
    content = path.read_bytes()
    refused, other = 0, 0
    for number in range(rounds):
        path.write_bytes(_damage(rng, content)[0])
        try:
            snapshot_file.read(path)
        except Unusable:
            refused += 1
        except Exception:  # noqa: BLE001 - any exception is a finding
            other += 1
        findings.progress(rounds + number, 2 * rounds)
    findings.figure("damaged snapshots", rounds)
    findings.promise("snapshot: every damaged one is refused", (refused, other) == (rounds, 0))


_SAVED = Saved(FORMAT, "1", {"models": "m"}, Moment("boot", 1, 2.0), 3, 4, "7f3a")


def _damage(rng: np.random.Generator, content: bytes) -> tuple[bytes, int]:
    """Change up to `_MOST_CHANGES` runs of bytes; return the content and the number of changes."""
    changed = bytearray(content)
    changes = int(rng.integers(1, _MOST_CHANGES + 1))
    for _ in range(changes):
        start = int(rng.integers(len(changed)))
        end = min(start + int(rng.choice((1, 1, 1, 16, 64))), len(changed))
        changed[start:end] = bytes(byte ^ int(rng.integers(1, 256)) for byte in changed[start:end])
    return bytes(changed), changes


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(os.urandom(size))
        finally:
            os.fsync(file.fileno())


def _waiting(outbox: Outbox) -> list[int]:
    return [msgspec.json.decode(payload, type=Alert).seq for _, payload in outbox.pending(0, 1_000_000)]


def _on_disk(outbox: Outbox) -> int:
    return outbox._count  # noqa: SLF001 - a figure to print
