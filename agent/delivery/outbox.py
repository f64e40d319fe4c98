"""The outbox: a queue of alerts on disk until the broker has acknowledged them, in memory while the disk fails.

An alert counts as raised once it is committed, and is deleted after its PUBACK. A crash or a broker outage therefore
loses none. The state of the open incidents is committed in the same transaction, so that both agree after a crash. One
thread at a time may use an outbox.
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
# Default bytes of all payloads, and default seconds that an alert is kept; chosen by hand.
_MAX_BYTES = 128 << 20
_MAX_AGE_S = 30 * 86400.0
# Payload bytes kept in memory while the disk fails; chosen by hand.
_MAX_MEMORY = 4 << 20
# Order in which a full outbox drops alerts: lowest rank first, then the oldest.
_RANK = {"info": 0, "warning": 1, "critical": 2}
# Share of the limit that is freed in addition when full, since finding alerts to drop scans the table; chosen by hand.
_ROOM = 0.02
# Seconds until a failed disk is tried again, and between searches for expired alerts; chosen by hand.
_RETRY_S = 30.0
_AGE_CHECK_S = 3600.0
# A valid instance; it becomes part of topics and identifiers.
_INSTANCE = re.compile(rb"[0-9a-f]{4}")
# A saved count with this many digits or more is ignored as damaged.
_DIGITS = 16


class Outbox:
    """A bounded, durable queue of alerts in order of ``seq``.

    Parameters
    ----------
    directory
        The state directory; created if missing. None keeps everything in memory.
    max_bytes
        Bytes of all payloads at most; beyond that the oldest alerts of the lowest severity are dropped and counted.
    max_age_s
        Seconds after which alerts are dropped and counted; alerts raised with an unsynchronised clock do not expire.
    """

    def __init__(self, directory: Path | None, max_bytes: int = _MAX_BYTES, max_age_s: float = _MAX_AGE_S) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        #: Alerts dropped because the queue was full or they were too old.
        self.dropped = 0
        #: Identifier of this installation, four hexadecimal digits: part of incident and client identifiers.
        self.instance = ""
        #: Number of the next alert.
        self.next_seq = 1
        #: State of the incidents, as committed with the last alert; None before the first.
        self.incidents: bytes | None = None
        # Rows not yet written to disk, by key, in ascending order.
        self._memory: dict[int, Row] = {}
        # Whether the newest alerts or numbers are not on disk yet, because writing failed.
        self._unsaved = False
        # Keys of rows that could not be deleted from disk yet.
        self._undeleted: list[int] = []
        self._store: OutboxStore | None = None
        self._failing = ""
        self._retry_at = self._age_check_at = time.monotonic()
        # Number and payload bytes of the rows on disk.
        self._count = self._bytes = 0
        self._last_rowid = 0
        self._open()
        self.instance = self.instance or os.urandom(2).hex()
        # Start from the wall clock, so that keys increase across restarts even if the old file cannot be read.
        self._last_rowid = max(self._last_rowid, time.time_ns() // 1000)
        self._save()
        # Alerts up to this key are published with `replayed`; at the start these are all alerts of earlier runs.
        self._late_up_to = self._last_rowid

    @property
    def durable(self) -> bool:
        """Whether all alerts are on disk and thus survive this process."""
        return self._store is not None and not self._unsaved

    @property
    def depth(self) -> int:
        """Number of alerts that wait for acknowledgement."""
        return self._count + len(self._memory) - len(self._undeleted)

    def append(self, alerts: Sequence[Alert], incidents: bytes = b"") -> None:
        """Commit alerts and the state of their incidents.

        If the disk cannot be written, they are kept in memory and `tend` tries again.

        Parameters
        ----------
        alerts
            At least one alert, in order of ``seq``.
        incidents
            State of the incidents after these alerts.
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
        """Row and payload of the oldest waiting alerts with a row above ``after``, at most ``limit``."""
        rows = self._read(after, limit)
        rows += [row for rowid, row in self._memory.items() if rowid > after][: limit - len(rows)]
        late = [row for row in rows if row.rowid <= self._late_up_to]
        replayed = {row.rowid: _as_replayed(row) for row in late}
        self._forget([rowid for rowid, payload in replayed.items() if not payload])
        payloads = ((row.rowid, replayed.get(row.rowid, row.payload)) for row in rows)
        return [(rowid, payload) for rowid, payload in payloads if payload]

    def mark_late(self) -> None:
        """Publish all alerts that wait now with ``replayed: true``, since there is no connection."""
        self._late_up_to = self._last_rowid

    def acknowledge(self, delivered: Iterable[int]) -> None:
        """Delete acknowledged alerts, given by their rows, in one transaction."""
        self._delete([rowid for rowid in delivered if self._memory.pop(rowid, None) is None])

    def tend(self) -> None:
        """Try a failed disk again and drop expired alerts, if due; call this regularly."""
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
        """Open the database and read numbers and state; without it everything stays in memory."""
        if self._store is not None or self._directory is None:
            return
        with self._minding():
            store = OutboxStore(self._directory)
            committed = store.stands
            if committed is not None and not self.instance:
                # Only at the start: a later file must not change the numbers and the instance of this run.
                self.next_seq, state = committed
                instance, _, self.incidents = state.partition(b"\n")
                self.instance = instance.decode() if _INSTANCE.fullmatch(instance) else ""
            dropped = store.meta("dropped") or b""
            self.dropped = max(self.dropped, int(dropped) if dropped.isdigit() and len(dropped) < _DIGITS else 0)
            self._last_rowid = max(self._last_rowid, store.newest())
            self._count, self._bytes = store.totals()
            self._store = store

    def _save(self) -> None:
        """Commit the rows in memory; on an error free the reserve and try once more."""
        self._unsaved = True
        # A failed disk is not tried again with every alert.
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
                    _LOG.warning("outbox: the disk can be written again; %d alerts written", len(rows))
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

    def _forget(self, undecodable: Sequence[int]) -> None:
        """Delete rows with a correct checksum that hold no alert; they could never be sent."""
        if undecodable:
            self.dropped += len(undecodable)
            _LOG.error("outbox: %d entries removed that cannot be read as alerts", len(undecodable))
            self.acknowledge(undecodable)

    def _delete(self, rowids: Sequence[int]) -> None:
        """Delete rows from disk, later if that fails now; a crash in between publishes them again."""
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
                self._drop(
                    self._store.lowest(excess),
                    "the outbox is full, the oldest of the lowest severity are dropped first",
                )

    def _drop(self, victims: Sequence[int], why: str) -> None:
        if victims:
            before = self._count
            self._delete(victims)
            self.dropped += before - self._count
            self._save()  # keeps the number of dropped alerts across restarts
            _LOG.error("outbox: %d alerts dropped: %s", before - self._count, why)

    def _bound_memory(self) -> None:
        """Drop the oldest alerts of the lowest severity beyond the memory limit."""
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
        """Log each new disk error once and schedule a retry; close a damaged database, to be reopened at once."""
        try:
            yield
        except (OSError, Damaged) as error:
            text = str(error)
            if text != self._failing:
                self._failing = text
                _LOG.error(
                    "outbox: cannot use %s (%s); alerts are kept in memory, free space or make the folder writable",
                    self._directory,
                    text,
                )
            self._retry_at = time.monotonic() + _RETRY_S
            if isinstance(error, Damaged) and self._store is not None:
                self._retry_at = time.monotonic()
                self.close()
                self._count = self._bytes = 0


def _as_replayed(row: Row) -> bytes:
    """Payload of an alert with ``replayed: true``; empty if it cannot be read as an alert."""
    try:
        alert = msgspec.json.decode(row.payload, type=Alert)
    except UNREADABLE:
        return b""
    return msgspec.json.encode(msgspec.structs.replace(alert, replayed=True))
