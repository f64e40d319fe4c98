"""Alerts wait here until the broker has acknowledged them: on disk, or in memory for as long as the disk fails.

An alert counts as raised once it is committed, and is deleted after its PUBACK, so that neither a crash nor a broker
that is away loses one. Along with alerts, in the same transaction, goes the state of the incidents that they tell of:
after a crash the two are never at odds. One thread at a time may use an outbox.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from typing import TYPE_CHECKING

import msgspec

from agent.core.errors import UNREADABLE
from agent.delivery.outbox_records import Row
from agent.delivery.outbox_store import Damaged, OutboxStore
from agent.messages.alert import Alert

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Outbox"]

_LOG = logging.getLogger(__name__)
_MAX_BYTES = 128 << 20
_MAX_AGE_S = 30 * 86400.0
# Payload bytes kept in memory while the disk fails.
_MAX_MEMORY = 4 << 20
# Dropped first when full: info before warning before critical, oldest first.
_RANK = {"info": 0, "warning": 1, "critical": 2}
# Dropping makes room for some more, since it has to look at all that waits.
_ROOM = 0.02
# A disk that failed is tried again this often, and what is too old is looked for.
_RETRY_S = 30.0
_AGE_CHECK_S = 3600.0
_INSTANCE = re.compile(rb"[0-9a-f]{4}")
# Of a count that can be one.
_DIGITS = 16


class Outbox:
    """A bounded, durable queue of alerts in order of ``seq``.

    Parameters
    ----------
    directory
        The state directory; created when missing. None keeps everything in memory.
    max_bytes
        Payload bytes held at most; beyond that the oldest alerts of the lowest severity are dropped and counted.
    max_age_s
        Alerts older than this are dropped and counted; those raised while the clock could not be believed have no age.
    """

    def __init__(self, directory: Path | None, max_bytes: int = _MAX_BYTES, max_age_s: float = _MAX_AGE_S) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        #: Alerts dropped because the queue was full or they were too old.
        self.dropped = 0
        #: Distinguishes this installation's incidents and connections from another's of the same name.
        self.instance = ""
        #: Number of the next alert.
        self.next_seq = 1
        #: State of the incidents as of the alert before that, None when there is none.
        self.incidents: bytes | None = None
        # Rows that could not be written yet, in order of their keys.
        self._memory: dict[int, Row] = {}
        self._unsaved = False
        # Keys of rows that are done with and could not be deleted yet.
        self._undeleted: list[int] = []
        self._store: OutboxStore | None = None
        self._failing = ""
        self._retry_at = self._age_check_at = time.monotonic()
        # Of what lies on disk.
        self._count = self._bytes = 0
        self._last_rowid = 0
        self._open()
        self.instance = self.instance or os.urandom(2).hex()
        # Over all runs: the clock tells, where the disk cannot, what came after an earlier run.
        self._last_rowid = max(self._last_rowid, time.time_ns() // 1000)
        self._save()
        # Whatever an earlier run left behind will arrive late.
        self._late_up_to = self._last_rowid

    @property
    def durable(self) -> bool:
        """Whether all alerts so far survive this process."""
        return self._store is not None and not self._unsaved

    @property
    def depth(self) -> int:
        """Alerts waiting."""
        return self._count + len(self._memory) - len(self._undeleted)

    def append(self, alerts: Sequence[Alert], incidents: bytes = b"") -> None:
        """Commit alerts and the state of their incidents; when this returns they are raised.

        A disk that cannot be written leaves them in memory, and is tried again later.
        """
        for alert in alerts:
            self._last_rowid += 1
            at = alert.ts if alert.clock_synced else 0.0
            row = Row(self._last_rowid, alert.seq, _RANK[alert.severity], at, msgspec.json.encode(alert))
            self._memory[row.rowid] = row
        self.next_seq = alerts[-1].seq + 1
        self.incidents = incidents
        self._save()
        if self._bytes > self._max_bytes:
            self._make_room()

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Row and payload of the oldest alerts that wait behind the row ``after``."""
        rows = self._read(after, limit)
        rows += [row for rowid, row in self._memory.items() if rowid > after][: limit - len(rows)]
        late = [row for row in rows if row.rowid <= self._late_up_to]
        replayed = {row.rowid: _as_replayed(row) for row in late}
        self._forget([rowid for rowid, payload in replayed.items() if not payload])
        told = ((row.rowid, replayed.get(row.rowid, row.payload)) for row in rows)
        return [(rowid, payload) for rowid, payload in told if payload]

    def mark_late(self) -> None:
        """Say that whatever waits now will be published late: the broker was away."""
        self._late_up_to = self._last_rowid

    def acknowledge(self, delivered: Iterable[int]) -> None:
        """Delete alerts that the broker has taken, by their rows, in one transaction."""
        self._delete([rowid for rowid in delivered if self._memory.pop(rowid, None) is None])

    def tend(self) -> None:
        """Do what is due from time to time: try a failing disk again, drop what is too old."""
        now = time.monotonic()
        if self._directory is not None and now >= self._retry_at and (self._undeleted or not self.durable):
            self._open()
            self._save()
            self._delete([])
        if now >= self._age_check_at and self._store is not None:
            self._age_check_at = now + _AGE_CHECK_S
            with self._minding():
                self._drop(self._store.oldest(before=time.time() - self._max_age_s), "too old")

    def close(self) -> None:
        """Close the database."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _open(self) -> None:
        """Open the database, or leave everything in memory for now."""
        if self._store is not None or self._directory is None:
            return
        with self._minding():
            store = OutboxStore(self._directory)
            stands = store.stands
            if stands is not None and not self.instance:
                # Otherwise this run has an identity already, and numbers of its own.
                self.next_seq, state = stands
                instance, _, self.incidents = state.partition(b"\n")
                # Part of topics and identifiers: nothing but what this made itself.
                self.instance = instance.decode() if _INSTANCE.fullmatch(instance) else ""
            dropped = store.meta("dropped") or b""
            self.dropped = max(self.dropped, int(dropped) if dropped.isdigit() and len(dropped) < _DIGITS else 0)
            self._last_rowid = max(self._last_rowid, store.newest())
            self._count, self._bytes = store.totals()
            self._store = store

    def _save(self) -> None:
        """Commit what is in memory only; a full disk is given its reserve, and one more try."""
        self._unsaved = True
        # A disk that failed just now is not tried again with every alert.
        if self._store is not None and not (self._failing and time.monotonic() < self._retry_at):
            rows = list(self._memory.values())
            state = self.instance.encode() + b"\n" + (self.incidents or b"")
            meta = {"dropped": str(self.dropped).encode(), **self._store.standing(self.next_seq, state)}
            with self._minding():
                try:
                    self._store.insert(rows, meta)
                except OSError:
                    if not self._store.free_ballast():
                        raise
                    self._store.insert(rows, meta)
                self._unsaved = False
                self._count += len(rows)
                self._bytes += sum(len(row.payload) for row in rows)
                self._memory.clear()
                if self._failing:
                    self._failing = ""
                    _LOG.warning("outbox: the disk can be written again; %d alerts saved", len(rows))
        self._bound_memory()

    def _read(self, after: int, limit: int) -> list[Row]:
        rows: list[Row] = []
        if self._store is not None and self._count:
            with self._minding():
                rows = self._store.rows(after, limit)
                lost = self._store.take_lost()
                if lost:
                    self.dropped += lost
                    self._count, self._bytes = self._store.totals()
        return rows

    def _forget(self, nonsense: Sequence[int]) -> None:
        """Delete what is whole but no alert, which would be in the way for ever."""
        if nonsense:
            self.dropped += len(nonsense)
            _LOG.error("outbox: %d entries that are no alerts removed", len(nonsense))
            self.acknowledge(nonsense)

    def _delete(self, rowids: Sequence[int]) -> None:
        """Delete rows from disk, or later where that fails now; after a crash before that they are published again."""
        self._undeleted += rowids
        if self._undeleted and self._store is not None:
            with self._minding():
                count, size = self._store.delete(self._undeleted)
                self._undeleted.clear()
                self._count -= count
                self._bytes -= size

    def _make_room(self) -> None:
        if self._store is not None:
            with self._minding():
                excess = self._bytes - self._max_bytes + round(_ROOM * self._max_bytes)
                self._drop(self._store.lowest(excess), "full, the oldest of the lowest severity go")

    def _drop(self, victims: Sequence[int], why: str) -> None:
        if victims:
            before = self._count
            self._delete(victims)
            self.dropped += before - self._count
            self._save()  # how many were dropped is known also after a restart
            _LOG.error("outbox: %d alerts dropped: %s", before - self._count, why)

    def _bound_memory(self) -> None:
        """Drop the oldest of the lowest severity while more is in memory than should be."""
        excess = sum(len(row.payload) for row in self._memory.values()) - _MAX_MEMORY
        if excess > 0:
            for row in sorted(self._memory.values(), key=lambda r: (r.rank, r.rowid)):
                del self._memory[row.rowid]
                self.dropped += 1
                excess -= len(row.payload)
                if excess <= 0:
                    break

    @contextlib.contextmanager
    def _minding(self) -> Iterator[None]:
        """Errors of the disk are said once; a database found damaged is opened anew with the next try."""
        try:
            yield
        except (OSError, Damaged) as error:
            text = str(error)
            if text != self._failing:
                self._failing = text
                _LOG.error("outbox: cannot use %s (%s); alerts are kept in memory meanwhile", self._directory, text)
            self._retry_at = time.monotonic() + _RETRY_S
            if isinstance(error, Damaged) and self._store is not None:
                self._retry_at = time.monotonic()
                self.close()
                self._count = self._bytes = 0


def _as_replayed(row: Row) -> bytes:
    """What an earlier run left behind, with a word that it is late; empty where it is no alert."""
    try:
        alert = msgspec.json.decode(row.payload, type=Alert)
    except UNREADABLE:
        return b""
    return msgspec.json.encode(msgspec.structs.replace(alert, replayed=True))
